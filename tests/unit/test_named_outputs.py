"""Named outputs and branches: who gets which rows, what it costs when nobody does, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.batch import Column, rows, sorted_batch
from elastic.connectors.base import LogEntry
from elastic.errors import QueryError, UserCodeError
from elastic.functions import contains, startswith
from elastic.keys import KeyInterval, groups_of
from elastic.operators.apply import Apply
from elastic.operators.base import ColumnState, Context, Operator, ProcessorContext, TickInput, ValueState
from elastic.plan import MAIN, Plan
from elastic.testing.reference import ReferenceRun
from elastic.testing.simulator import simulate

GROUPS = 16


class Parse(Operator):
    """Gives numbers; what is none goes to an output of its own."""

    outputs = ("errors", "notes")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        if value.isdigit():
            yield key, int(value)
        else:
            ctx.emit("errors", (key, value))
        if value == "note":
            ctx.emit("notes", "noted")


class ParseColumns(Operator):
    """The same in columns."""

    outputs = ("errors",)

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        pairs = list(zip(rows(keys), rows(values), strict=True))
        wrong = [(key, value) for key, value in pairs if not value.isdigit()]
        right = [(key, int(value)) for key, value in pairs if value.isdigit()]
        ctx.emit_columns("errors", [key for key, _ in wrong], [value for _, value in wrong])
        return [key for key, _ in right], [value for _, value in right]


def emitted(
    operator: Operator, *values: Any, read: tuple[str, ...] = (MAIN, "errors", "notes")
) -> dict[str, list[Any]]:
    """What each output gives for the values, which are their own keys."""
    whole = KeyInterval(0, GROUPS)
    target = Apply(operator).make(ProcessorContext("op", whole, GROUPS, 10, 0.0, 0, frozenset(read)))
    batch = sorted_batch(groups_of(list(values), GROUPS), list(values), list(values))
    outputs = target.process(TickInput(1, [(0, batch)]))
    assert all(o.keys is not None and o.groups.tolist() == groups_of(o.keys, GROUPS).tolist() for o in outputs)
    return {o.name: sorted(rows(o.values)) for o in outputs}


@pytest.mark.parametrize("operator", [Parse(), ParseColumns()])
def test_a_row_goes_to_the_output_that_it_was_emitted_on(operator: Operator) -> None:
    assert emitted(operator, "1", "x", "22", "yy") == {
        MAIN: [("1", 1), ("22", 22)],
        "errors": [("x", "x"), ("yy", "yy")],
    }


def test_one_record_may_emit_on_several_outputs() -> None:
    assert emitted(Parse(), "note") == {"errors": [("note", "note")], "notes": ["noted"]}


@pytest.mark.parametrize("operator", [Parse(), ParseColumns()])
def test_what_nobody_reads_is_not_kept(operator: Operator) -> None:
    assert emitted(operator, "1", "x", read=(MAIN,)) == {MAIN: [("1", 1)]}


class Emits(Operator):
    """Calls what it was made with."""

    outputs: tuple[str, ...] = ("errors",)

    def __init__(self, call: Any) -> None:
        self.call = call

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        self.call(ctx)


class EmitsColumns(Emits):
    """The same for columns."""

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> None:
        self.call(ctx)


@pytest.mark.parametrize("read", [("errors",), ()])
@pytest.mark.parametrize(
    ("operator", "says"),
    [
        (Emits(lambda ctx: ctx.emit("error", 1)), "no output 'error'; did you mean 'errors'?"),
        (Emits(lambda ctx: ctx.emit("late", 1)), "no output 'late'; it declares 'errors'"),
        (Emits(lambda ctx: ctx.emit(MAIN, 1)), "no output 'main'"),
        (Emits(lambda ctx: ctx.emit_columns("errors", [1], [1])), "use ctx.emit"),
        (EmitsColumns(lambda ctx: ctx.emit("errors", 1)), "use ctx.emit_columns"),
    ],
)
def test_mistakes_with_outputs_are_explained(operator: Operator, says: str, read: tuple[str, ...]) -> None:
    with pytest.raises(UserCodeError) as caught:
        emitted(operator, "a", read=read)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "values", "says"),
    [(["elsewhere"], [1], "of which the tick had no row"), (["a"], [1, 2], "1 keys for 2 values")],
)
def test_columns_on_an_output_are_held_to_the_rules_of_the_main_one(keys: Any, values: Any, says: str) -> None:
    with pytest.raises(UserCodeError, match=says):
        emitted(EmitsColumns(lambda ctx: ctx.emit_columns("errors", keys, values)), "a")


def test_an_operator_without_outputs_says_how_to_declare_one() -> None:
    class Plain(Emits):
        outputs: tuple[str, ...] = ()

    with pytest.raises(UserCodeError, match=r'write outputs = \("errors",\) in its class'):
        emitted(Plain(lambda ctx: ctx.emit("errors", 1)), "a")


# -- in a query --------------------------------------------------------------------------------------------------------


def result(query: Query, seed: int = 1) -> dict[str, list[Any]]:
    """What each sink holds after a simulated run in which a worker dies."""
    found = simulate(query, seed, faults=1, kinds=("crash",), within_s=0.5)
    assert (found.status, found.wrong) == ("done", None)
    return {name: sorted(row for part in ticks.values() for row in part) for name, ticks in found.sinks.items()}


def test_each_output_of_an_operator_leads_to_its_own_sink() -> None:
    query = Query("outputs")
    values = ["1", "x", "2", "note"] * 10
    parsed = query.source(sources.from_list(values, rate="60/s")).key_by().apply(Parse())
    parsed.sink(sinks.discard(), name="right")
    errors = parsed.output("errors")
    errors.map(str).sink(sinks.discard(), name="wrong")
    errors.key_by(lambda row: row[0]).count(emit="end").sink(sinks.discard(), name="counted")

    assert result(query) == {
        "right": sorted([("1", 1), ("2", 2)] * 10),
        "wrong": sorted([str(("x", "x")), str(("note", "note"))] * 10),
        "counted": [("note", 10), ("x", 10)],
    }


def test_nothing_need_read_the_main_output_when_another_is_read() -> None:
    query = Query("outputs")
    parsed = query.source(sources.from_list(["1", "x"])).key_by().apply(Parse())
    parsed.output("errors").sink(sinks.discard())

    assert result(query) == {"discard": [("x", "x")]}


def test_an_output_that_nobody_reads_is_no_part_of_the_plan() -> None:
    query = Query("outputs")
    query.source(sources.from_list(["1"])).key_by().apply(Parse()).sink(sinks.discard())

    plan = query.plan()

    assert {edge.output for edge in plan.edges} == {MAIN}
    assert ProcessorContext.of(plan, "Parse", KeyInterval(0, 256)).read == {MAIN}


def refused(build: Any) -> str:
    with pytest.raises(QueryError, match=r"test_named_outputs\.py:\d+: ") as caught:
        build(Query("q").source(sources.from_list(["1"])))
    return str(caught.value).partition(": ")[2]


def test_an_output_that_is_not_declared_is_refused() -> None:
    said = refused(lambda stream: stream.key_by().apply(Parse()).output("late"))
    assert "has no output 'late'; it has 'errors', 'notes'" in said
    assert "output() follows an operator" in refused(lambda s: s.key_by().apply(Parse()).map(str).output("errors"))
    assert "output() follows an operator" in refused(lambda s: s.map(str).output("errors"))
    assert "an operator's class declares them" in refused(lambda s: s.output("errors"))


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ("errors", "write outputs = ('errors',)"),
        (7, "Bad.outputs is 7, not a sequence of names"),
        (("a", "a"), "twice"),
        (("main",), "the output that apply() gives"),
        (("an error",), "is not a name for one of its outputs"),
    ],
)
def test_declared_outputs_must_be_names(outputs: Any, says: str) -> None:
    class Bad(Parse):
        pass

    Bad.outputs = outputs

    assert says in refused(lambda stream: stream.key_by().apply(Bad()))


def test_an_output_that_is_taken_must_be_read() -> None:
    query = Query("q")
    parsed = query.source(sources.from_list(["1"])).key_by().apply(Parse())
    parsed.sink(sinks.discard())
    parsed.output("errors")

    with pytest.raises(QueryError, match=r"nothing reads what comes from output 'errors' of 'Parse'"):
        query.check()


# -- branches ----------------------------------------------------------------------------------------------------------


def branched(**predicates: Any) -> dict[str, list[Any]]:
    query = Query("branches")
    stream = query.source(sources.from_list(["a1", "b1", "ab", "c", "a2"] * 6, rate="60/s")).map(lambda row: row)
    for name, branch in stream.branch(**predicates).items():
        branch.sink(sinks.discard(), name=name)
        branch.key_by().count(emit="end").sink(sinks.discard(), name=f"{name}-counted")
    return {name: held for name, held in result(query).items() if not name.endswith("counted")}


@pytest.mark.parametrize(
    ("with_a", "with_b"),
    [
        (contains("a"), contains("b")),
        (lambda row: "a" in row, lambda row: "b" in row),
        (startswith("a"), contains("b")),
    ],
)
def test_a_row_goes_to_the_first_branch_that_takes_it(with_a: Any, with_b: Any) -> None:
    assert branched(first=with_a, second=with_b, rest=None) == {
        "first": sorted(["a1", "ab", "a2"] * 6),
        "second": ["b1"] * 6,
        "rest": ["c"] * 6,
    }


def test_what_no_branch_takes_is_dropped() -> None:
    assert branched(first=contains("a")) == {"first": sorted(["a1", "ab", "a2"] * 6)}


def test_a_predicate_is_asked_once_for_a_row_whoever_reads_the_branches() -> None:
    asked: list[str] = []
    query = Query("branches")

    def short(row: str) -> bool:
        asked.append(row)
        return len(row) < 2

    branches = query.source(sources.from_list(["a", "bb"])).branch(short=short, long=None)
    for name, branch in branches.items():
        branch.sink(sinks.discard(), name=name)

    run_once(query.plan(workers=1))

    assert asked == ["a", "bb"]


def run_once(plan: Plan, source: str = "from_list") -> None:
    """The plan's chains over all that its source has, in one tick."""
    (partition,) = plan.operators[source].partitions
    chunk = partition.open().read(1 << 20, None)
    entry = LogEntry(1, 0, chunk.position, chunk.records, chunk.size_bytes, 0.0, finished=True, final=True)
    ReferenceRun(plan).replay({(source, 0): [entry]})


def test_branches_that_cannot_be_are_refused() -> None:
    assert "branch() takes predicates by name" in refused(lambda stream: stream.branch())
    assert "must come last" in refused(lambda stream: stream.branch(rest=None, short=str.isdigit))
    assert "branch(short)() takes a function" in refused(lambda stream: stream.branch(short=3))


def test_a_branch_must_be_read() -> None:
    query = Query("q")
    branches = query.source(sources.from_list(["1"])).branch(short=str.isdigit, rest=None)
    branches["short"].sink(sinks.discard())

    with pytest.raises(QueryError, match="branch rest"):
        query.check()
