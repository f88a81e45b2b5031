"""Records on which user code raises: they end the job, are skipped, or are diverted; and nothing of them is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elastic import Query, sinks, sources
from elastic.batch import Column, columnar, rows, sorted_batch
from elastic.errors import QueryError, UserCodeError
from elastic.functions import apply_column, identity
from elastic.functions import columnar as column_function
from elastic.keys import KeyInterval, groups_of
from elastic.nodes import keyable, ranked
from elastic.operators.apply import Apply
from elastic.operators.base import ColumnState, Context, Operator, ProcessorContext, TickInput, ValueState
from elastic.operators.failure import Failures, failed_record
from elastic.operators.snapshot import thaw
from elastic.operators.steps import Flow, stepped
from elastic.plan import ERRORS, MAIN, OnError, Settings, Step
from elastic.report import FailedRecords
from elastic.testing.simulator import simulate
from tests.unit.test_named_outputs import run_once

GROUPS = 16


class Careless(Operator):
    """Keeps what it was given, emits it, and only then looks at it."""

    outputs = ("seen",)

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        seen = state.get() or []
        seen.append(value)
        state.set(seen)
        ctx.emit("seen", value)
        yield key, list(seen)
        if value < 0:
            state.clear()
            raise ValueError(f"{value} is below zero")


class CarelessColumns(Operator):
    """The same in columns."""

    outputs = ("seen",)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        seen = dict(zip(rows(keys), (list(old or []) for old in state.get_many(keys)), strict=True))
        out = []
        for key, value in zip(rows(keys), rows(values), strict=True):
            seen[key] = [*seen[key], value]
            out.append(seen[key])
        ctx.emit_columns("seen", keys, values)
        state.set_many(list(seen), list(seen.values()))
        assert len(ctx.inputs) == len(keys)
        if min(rows(values)) < 0:
            raise ValueError(f"{min(rows(values))} is below zero")
        return keys, out


class Run:
    """One instance, given ticks of rows."""

    def __init__(self, operator: Operator, on_error: OnError, read: tuple[str, ...] = (MAIN, "seen", ERRORS)) -> None:
        self.failures, self.tick = Failures(), 0
        whole = KeyInterval(0, GROUPS)
        context = ProcessorContext("op", whole, GROUPS, 10, 0.0, 0, frozenset(read), failures=self.failures)
        self.target = Apply(operator, on_error).make(context)

    def give(self, *pairs: tuple[Any, Any]) -> dict[str, list[Any]]:
        """Rows by output, in the order of their keys."""
        self.tick += 1
        keys, values = columnar([key for key, _ in pairs]), columnar([value for _, value in pairs])
        outputs = self.target.process(TickInput(self.tick, [(0, sorted_batch(groups_of(keys, GROUPS), keys, values))]))
        found: dict[str, list[Any]] = {}
        for output in outputs:
            assert output.groups.tolist() == sorted(output.groups.tolist())
            found.setdefault(output.name, []).extend(rows(output.values))
        return found

    def state(self) -> dict[Any, Any]:
        """What each key has."""
        table = self.target.full()
        return dict(zip(rows(table.keys), thaw(table.fields["value"]), strict=True))


BOTH = pytest.mark.parametrize("make", [Careless, CarelessColumns])
MIXED = [("a", 1), ("b", -1), ("a", -2), ("c", 3), ("a", 4), ("b", 5)]


@BOTH
def test_a_bad_record_ends_the_job_unless_something_else_was_asked_for(make: Any) -> None:
    with pytest.raises(UserCodeError, match="below zero"):
        Run(make(), "fail").give(*MIXED)


@BOTH
@pytest.mark.parametrize("on_error", ["skip", "divert"])
def test_nothing_of_a_bad_record_is_left_and_the_others_are_as_if_it_had_not_come(make: Any, on_error: OnError) -> None:
    tolerant, without = Run(make(), on_error), Run(make(), "fail")
    ticks: list[list[tuple[Any, Any]]] = [MIXED, [("a", -3)], [("a", 6), ("b", -6), ("d", -7)], [("b", 7)]]
    for tick in ticks:
        found = tolerant.give(*tick)
        found.pop(ERRORS, None)
        good = [(key, value) for key, value in tick if value >= 0]
        expected = without.give(*good) if good else {}
        assert {name: sorted(map(repr, each)) for name, each in found.items()} == {
            name: sorted(map(repr, each)) for name, each in expected.items()
        }

    assert tolerant.state() == without.state() == {"a": [1, 4, 6], "b": [5, 7], "c": [3]}


@BOTH
def test_a_diverted_record_says_what_where_and_why(make: Any) -> None:
    run = Run(make(), "divert")
    run.give(("a", 1))

    (told,) = run.give(("a", -1), ("b", 2))[ERRORS]

    line = told.pop("line")
    assert line.startswith("test_on_error.py:")
    assert told == {
        "operator": "op", "tick": 2, "key": "a", "record": -1, "cause": "ValueError: -1 is below zero",
        "place": None,
    }  # fmt: skip


@BOTH
@pytest.mark.parametrize(("on_error", "counts"), [("skip", (2, 0)), ("divert", (0, 2))])
def test_bad_records_are_counted_with_an_example(make: Any, on_error: OnError, counts: tuple[int, int]) -> None:
    run = Run(make(), on_error)
    run.give(*MIXED)

    (found,) = run.failures.found()

    assert (found.where, found.skipped, found.diverted) == ("op", *counts)
    assert found.example.startswith("ValueError: -")
    assert "(test_on_error.py:" in found.example
    assert " on record -" in found.example


class Strange(Operator):
    """Does what its function says."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Any:
        return self.function(value)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (lambda value: "text", "TypeError: process returned a str"),
        (lambda value: 5, "TypeError: process returned an int"),
        (lambda value: next(iter(())), "StopIteration"),
        (lambda value: (1 / 0 for _ in range(2)), "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_goes_wrong_with_a_record_is_its_own_fault(function: Any, cause: str) -> None:
    run = Run(Strange(lambda value: function(value) if value < 0 else [value]), "divert")

    found = run.give(("a", -1), ("a", 2))

    assert found[MAIN] == [2]
    assert [told["cause"].partition(",")[0] for told in found[ERRORS]] == [cause]


def test_an_address_in_memory_is_left_out_since_a_replay_has_another() -> None:
    def fails(value: Any) -> Any:
        raise KeyError(object())

    (told,) = Run(Strange(fails), "divert").give(("a", 1))[ERRORS]

    assert told["cause"] == "KeyError: <object object at 0x...>"


def test_the_line_is_the_users_even_if_a_library_of_theirs_raised() -> None:
    def parses(value: Any) -> Any:
        return json.loads(value)

    (told,) = Run(Strange(parses), "divert").give(("a", "{"))[ERRORS]

    assert told["line"].startswith("test_on_error.py:")


def test_columns_that_fail_are_given_in_ever_smaller_parts() -> None:
    sizes: list[int] = []

    class Measured(CarelessColumns):
        def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
            sizes.append(len(keys))
            return super().process_columns(keys, values, state, ctx)

    Run(Measured(), "skip").give(*((key, -1 if key == 700 else 1) for key in range(1000)))

    assert len(sizes) <= 2 * 10 + 2
    assert sizes[0] == 1000


def test_good_rows_of_a_key_are_given_together_though_a_bad_one_came_between_them() -> None:
    class Batches(Operator):
        def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
            if min(rows(values)) < 0:
                raise ValueError
            return rows(keys)[:1], [rows(values)]

    assert Run(Batches(), "skip").give(("a", 1), ("a", -1), ("a", 2))[MAIN] == [("a", [1, 2])]


def test_rows_that_fail_together_only_all_count_as_bad() -> None:
    class Sociable(Operator):
        def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
            if len(keys) == 2:
                raise ValueError("two")
            return keys, values

    found = Run(Sociable(), "divert").give(("a", 1), ("a", 2))

    assert [told["record"] for told in found[ERRORS]] == [1, 2]


def test_what_an_operator_diverts_itself_and_what_is_diverted_for_it_go_one_way() -> None:
    class Both(Operator):
        outputs = ("errors",)

        def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
            if value == 0:
                ctx.emit("errors", "zero")
            1 / value

    found = Run(Both(), "divert").give(("a", 0), ("a", 1))

    assert [row["record"] for row in found[ERRORS]] == [0]


# -- steps -------------------------------------------------------------------------------------------------------------


def halves(row: Any) -> Any:
    return 10 / row


def both(row: Any) -> Iterator[float]:
    yield 1.0
    yield 10 / row


@column_function(lambda values: pc.greater(pc.divide_checked(pa.scalar(10), values), 1))
def goes_twice(row: Any) -> bool:
    return bool(10 // row > 1)


def is_even(row: Any) -> bool:
    return bool(row % 2 == 0)


def outcome(build: Any, records: list[Any], settings: Settings | None = None) -> dict[str, list[Any]]:
    query = Query("q")
    build(query.source(sources.from_list(records, rate=f"{len(records) * 2}/s"), name="in"))
    found = simulate(query, 4, faults=1, kinds=("crash",), within_s=0.5, settings=settings)
    assert (found.status, found.wrong) == ("done", None), found.error
    return {name: [row for part in ticks.values() for row in part] for name, ticks in found.sinks.items()}


@pytest.mark.parametrize(
    ("verb", "function", "expected"),
    [
        ("map", halves, [10.0, 5.0, 2.5]),
        ("filter", halves, [1, 2, 4]),
        ("flat_map", both, [1.0, 10.0, 1.0, 5.0, 1.0, 2.5]),
    ],
)
def test_a_step_gives_what_it_makes_of_the_good_rows_and_diverts_the_others(
    verb: str, function: Any, expected: list[Any]
) -> None:
    def build(stream: Any) -> None:
        made = getattr(stream, verb)(function, on_error="divert")
        made.sink(sinks.discard(), name="good")
        made.key_by(lambda row: 1).count(emit="end").sink(sinks.discard(), name="counted")
        made.output("errors").map(lambda told: (told["record"], told["operator"], told["key"])).sink(
            sinks.discard(), name="bad"
        )

    found = outcome(build, [1, 0, 2, "x", 4, 0])

    assert sorted(found["good"]) == sorted(expected)
    assert found["counted"] == [(1, len(expected))]
    name = f"{verb}({function.__name__})"
    assert sorted(found["bad"], key=repr) == sorted([(0, name, None), (0, name, None), ("x", name, None)], key=repr)


@pytest.mark.parametrize("verb", ["map_values", "filter", "flat_map_values"])
def test_a_step_after_the_key_diverts_with_the_key(verb: str) -> None:
    def build(stream: Any) -> None:
        keyed = stream.key_by(lambda row: row % 2).filter(lambda row: row < 9)
        made = getattr(keyed, verb)(both if verb.startswith("flat") else halves, on_error="divert")
        made.count(emit="end").sink(sinks.discard(), name="counted")
        made.sum(emit="end").sink(sinks.discard(), name="summed")
        made.output("errors").map(lambda told: (told["record"], told["key"])).sink(sinks.discard(), name="bad")

    found = outcome(build, [1, 2, 0, 3, 11, 0])

    times = 2 if verb.startswith("flat") else 1
    assert sorted(found["counted"]) == [(0, times), (1, 2 * times)]
    assert found["bad"] == [(0, 0), (0, 0)]


def test_a_row_that_is_no_pair_is_diverted_by_steps_that_want_pairs() -> None:
    def build(stream: Any) -> None:
        made = stream.map_values(halves, on_error="divert")
        made.sink(sinks.discard(), name="good")
        made.output("errors").map(lambda told: told["record"]).sink(sinks.discard(), name="bad")

    found = outcome(build, [("a", 2), "ab", ("b", 0)])

    assert (found["good"], sorted(found["bad"], key=repr)) == ([("a", 5.0)], ["ab", ("b", 0)])


def test_a_bad_key_is_diverted_whether_the_function_raises_or_gives_what_is_no_key() -> None:
    def build(stream: Any) -> None:
        keyed = stream.key_by(lambda row: [row] if row == 3 else 10 / row, on_error="divert")
        keyed.count(emit="end").sink(sinks.discard(), name="counted")
        keyed.output("errors").map(lambda told: (told["record"], told["cause"][:12])).sink(sinks.discard(), name="bad")

    found = outcome(build, [1, 0, 3, 1])

    assert found["counted"] == [(10.0, 2)]
    assert sorted(found["bad"]) == [(0, "ZeroDivision"), (3, "elastic.erro")]


def test_steps_that_skip_leave_rows_out() -> None:
    def build(stream: Any) -> None:
        stream.map(halves, on_error="skip").filter(halves, on_error="skip").sink(sinks.discard())

    assert outcome(build, [1, 0, 2])["discard"] == [10.0, 5.0]


@pytest.mark.parametrize("name", ["rows", "columns"])
def test_a_branch_diverts_rows_on_which_its_function_fails_and_they_go_to_no_branch(name: str) -> None:
    function = goes_twice if name == "columns" else halves

    def build(stream: Any) -> None:
        branches = stream.branch(on_error="divert", whole=function, half=is_even, rest=None)
        for branch, made in branches.items():
            made.sink(sinks.discard(), name=branch)
        for branch in ("whole", "half"):
            told = branches[branch].output("errors").map(lambda told: (told["record"], told["operator"]))
            told.sink(sinks.discard(), name=f"{branch}-bad")

    found = outcome(build, [5, 0, 7, 1, 0, 6])

    expected = ([5, 1], [6], [7]) if name == "columns" else ([5, 7, 1, 6], [], [])
    assert (found["whole"], found.get("half", []), found.get("rest", [])) == expected
    assert found["whole-bad"] == [(0, f"branch(whole)({function.__name__})")] * 2
    assert not found.get("half-bad")


@pytest.mark.parametrize("values", [[5, 0, 2, "x", 5, 2], [5, 0, 2, 5, 2]], ids=["rows", "columns"])
@pytest.mark.parametrize("keyed", [False, True])
def test_distinct_diverts_rows_for_which_its_function_fails_or_gives_no_key(keyed: bool, values: list[Any]) -> None:  # noqa: FBT001
    def build(stream: Any) -> None:
        given = stream.key_by(lambda row: 1) if keyed else stream
        made = given.distinct(lambda row: [row] if row == 2 else 10 / row, on_error="divert")
        made.sink(sinks.discard(), name="good")
        made.output("errors").map(lambda told: (told["record"], told["key"])).sink(sinks.discard(), name="bad")

    found = outcome(build, values)

    assert found["good"] == ([(1, 2.0)] if keyed else [5])
    key = 1 if keyed else None
    assert sorted(found["bad"], key=repr) == sorted([(v, key) for v in values if v != 5], key=repr)


@pytest.mark.parametrize("values", [[1, 0, 2, "x", None, 4], [1, 0, 2, 4]], ids=["rows", "columns"])
@pytest.mark.parametrize("keyed", [False, True])
def test_top_k_diverts_rows_whose_rank_fails_or_is_none(keyed: bool, values: list[Any]) -> None:  # noqa: FBT001
    def rank(row: Any) -> Any:
        value = row if keyed else row[1]
        return None if value is None else 10 / value

    def build(stream: Any) -> None:
        given = stream.key_by(str) if keyed else stream.map(lambda row: (str(row), row))
        made = given.top_k(2, by=rank, emit="end", on_error="divert")
        made.sink(sinks.discard(), name="good")
        made.output("errors").map(lambda told: (told["record"], told["key"])).sink(sinks.discard(), name="bad")

    found = outcome(build, values)

    assert found["good"] == [(1, "1", 1), (2, "2", 2)]
    bad = [(v, str(v)) if keyed else ((str(v), v), None) for v in values if v not in (1, 2, 4)]
    assert sorted(found["bad"], key=repr) == sorted(bad, key=repr)


def test_ranks_and_values_that_are_columns_stay_columns_where_none_of_them_fails() -> None:
    numbers = pa.array([3, 1, 2])

    for function in (ranked(None, pairs=False), keyable(identity())):
        assert apply_column(function, numbers) is numbers
        assert apply_column(function, pa.array([3, None])) is None


def test_a_failure_is_counted_at_the_step_where_it_was_and_at_none_after_it() -> None:
    query = Query("q")
    made = query.source(sources.from_list([1, 0, 2, 0]), name="in").map(halves, on_error="skip")
    made.map(abs).map(abs).sink(sinks.discard())

    report = query.run(workers=1, display=False)

    assert [(f.where, f.skipped, f.diverted) for f in report.failures] == [("map(halves)", 2, 0)]


def test_a_kernel_that_fails_on_a_column_costs_no_row_but_the_bad_ones() -> None:
    @column_function(lambda values: pc.divide_checked(pa.scalar(10), values))
    def tenth(value: int) -> int:
        return 10 // value

    step = Step("map", "map(tenth)", tenth, 0, "divert")

    flow = stepped(step, Flow(pa.array([1, 0, 2])), 3)

    assert rows(flow.column) == [10, 5]
    assert flow.diverted is not None
    assert [told["record"] for told in rows(flow.diverted.column)] == [0]


def test_a_function_is_called_once_for_a_good_tick_however_many_read_it() -> None:
    calls: list[int] = []

    def counted(row: int) -> int:
        calls.append(row)
        return row

    query = Query("q")
    made = query.source(sources.from_list([1, 2, 3]), name="in").map(counted, on_error="divert")
    made.sink(sinks.discard(), name="good")
    made.key_by().count().sink(sinks.discard(), name="counted")
    made.output("errors").sink(sinks.discard(), name="bad")
    run_once(query.plan(workers=1), "in")

    assert calls == [1, 2, 3]


# -- what is refused, and what a setting changes -----------------------------------------------------------------------


def stream() -> Any:
    return Query("q").source(sources.from_list([1]), name="in")


@pytest.mark.parametrize("verb", ["branch", "distinct", "top_k"])
def test_a_policy_must_be_one_where_rows_are_chosen_too(verb: str) -> None:
    arguments: dict[str, dict[str, Any]] = {"branch": {"large": halves}, "distinct": {"by": halves}, "top_k": {"k": 3}}
    with pytest.raises(QueryError, match=r"\(on_error='ignore'\): write 'fail', 'skip' or 'divert'"):
        getattr(stream(), verb)(on_error="ignore", **arguments[verb])


@pytest.mark.parametrize("verb", ["map", "filter", "flat_map", "map_values", "flat_map_values", "key_by"])
def test_a_policy_must_be_one(verb: str) -> None:
    with pytest.raises(QueryError, match=rf"{verb}\(on_error='ignore'\): write 'fail', 'skip' or 'divert'"):
        getattr(stream(), verb)(halves, on_error="ignore")


def test_diverted_records_must_be_read() -> None:
    query = Query("q")
    query.source(sources.from_list([1])).map(halves, on_error="divert").sink(sinks.discard())
    with pytest.raises(QueryError, match=r"output 'errors' of map\(halves\) \(.*test_on_error.py:\d+\), which diverts"):
        query.check()

    query = Query("q")
    query.source(sources.from_list([1])).key_by().apply(Careless(), on_error="divert").sink(sinks.discard())
    with pytest.raises(QueryError, match="output 'errors' of 'Careless'"):
        query.check()


def test_a_setting_takes_the_place_of_a_querys_policy() -> None:
    def build(stream: Any) -> None:
        made = stream.map(halves).key_by(lambda row: 10 / (row - 5)).apply(Careless(), on_error="divert")
        made.map(len).sink(sinks.discard(), name="good")
        made.output("errors").sink(sinks.discard(), name="bad")

    policies: dict[str, OnError] = {"map(halves)": "skip", "Careless": "skip"}
    key = next(s for s in named(build) if s.startswith("key_by"))
    settings = Settings(tick_ms=10, checkpoint_ms=100, key_groups=16, on_error=policies | {key: "skip"})

    found = outcome(build, [1, 0, 2, -1], settings)

    assert (found["good"], found["bad"]) == ([2], [])


def named(build: Any) -> list[str]:
    query = Query("q")
    build(query.source(sources.from_list([1]), name="in"))
    plan = query.plan()
    return [edge.key_name for edge in plan.edges if edge.keyed]


@pytest.mark.parametrize(
    ("on_error", "says"),
    [
        (
            {"map(parse)": "skip"},
            r"'map\(parse\)', which is no operator or step with a policy; there are 'map\(halves\)'",
        ),
        ({"map(halves)": "divert"}, "cannot be made to divert from outside"),
    ],
)
def test_a_setting_that_fits_no_query_is_refused(on_error: Any, says: str) -> None:
    query = Query("q")
    query.source(sources.from_list([1])).map(halves).sink(sinks.discard())

    with pytest.raises(QueryError, match=says):
        query.plan(settings=Settings(on_error=on_error))


# -- counting ----------------------------------------------------------------------------------------------------------


def test_counts_of_one_place_are_added() -> None:
    failures = Failures()
    told = failed_record("map(f)", 1, "x", ValueError("no"))

    failures.note("map(f)", "skip", [told, told])
    failures.note("map(g)", "divert", [told])
    failures.add([FailedRecords("map(f)", 1, 4, "last")])

    assert failures.take() == [
        (0, FailedRecords("map(f)", 3, 4, "last")),
        (0, FailedRecords("map(g)", 0, 1, "ValueError: no on record 'x'")),
    ]
    assert failures.found() == ()
