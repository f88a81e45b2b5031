"""A query becomes the plan that it reads like, and its mistakes are refused in the user's words, with their line."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, cast

import cloudpickle
import pytest

from elastic import query as query_module
from elastic import sinks, sources
from elastic.callables import is_built_in
from elastic.connectors.base import Partition, Reader, Sink, SinkContext, Source, Writer
from elastic.errors import QueryError, SourceError
from elastic.functions import columnar, contains, equals, field, identity, length, lower, split, strip
from elastic.keys import KeyInterval
from elastic.operators.base import BroadcastContext, Context, Operator, ProcessorContext, ValueState
from elastic.plan import Folding, Plan, Settings
from elastic.query import Query
from elastic.streams import KeyedStream, Stream

HERE = Path(__file__).name
LOCK = threading.Lock()


@dataclass
class Part(Partition):
    """A partition that is never opened."""

    name: str

    def open(self) -> Reader:
        raise NotImplementedError


@dataclass
class Lines(Source):
    """A source of at most ``most`` partitions."""

    most: int = 100
    name: str = "lines"

    def partitions(self, count: int) -> Sequence[Partition]:
        return [Part(f"part-{i}") for i in range(min(count, self.most))]


@dataclass
class Out(Sink):
    """A sink that is never opened."""

    parallel: bool = True
    name: str = "out"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        raise NotImplementedError


class Sessions(Operator):
    """Counts rows."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any]:
        state.set((state.get() or 0) + 1)
        yield key, state.get()


def parse(line: str) -> str:
    """A user's own function."""
    return line.strip()


def pairs(row: Any) -> Iterable[Any]:
    """A user's own generator."""
    yield row, row


def lines(name: str = "job") -> Stream:
    """A stream to go on from."""
    return Query(name).source(Lines())


def refusal(build: Callable[[], Any]) -> str:
    """What building says, without the place; it must name this file."""
    with pytest.raises(QueryError) as caught:
        build()
    text = str(caught.value)
    assert re.search(rf"\b{re.escape(HERE)}:\d+", text), text
    return text.partition(": ")[2]


def test_word_count_is_a_source_an_aggregate_and_a_sink() -> None:
    query = Query("word-count")
    query.source(Lines()).flat_map(split()).key_by().count(emit="1s").sink(Out())

    plan = query.plan(workers=3)

    assert [(o.name, o.kind, o.parallelism) for o in plan.operators.values()] == [
        ("lines", "source", 3),
        ("count", "keyed", 3),
        ("out", "sink", 3),
    ]
    shuffle, output = plan.edges
    assert [s.name for s in shuffle.steps] == ["flat_map(split())"]
    assert (shuffle.producer, shuffle.consumer, shuffle.keyed, shuffle.key, shuffle.combine) == (
        "lines",
        "count",
        True,
        None,
        "count",
    )
    assert (output.producer, output.consumer, output.keyed, output.steps) == ("count", "out", False, ())


def test_a_plan_is_shipped_with_cloudpickle_and_a_query_is_not() -> None:
    query = Query("job")
    query.source(Lines()).map(lambda row: row).key_by(lambda row: row).reduce(lambda a, b: a + b).sink(Out())

    plan: Plan = cloudpickle.loads(cloudpickle.dumps(query.plan()))

    assert plan.edges[0].steps[0].function(7) == 7
    with pytest.raises(TypeError, match="plan"):
        cloudpickle.dumps(query)


def test_keyed_operators_make_their_processors() -> None:
    query = Query("job")
    keyed = query.source(Lines()).key_by()
    keyed.count().sink(Out())
    keyed.apply(Sessions()).sink(Out())
    plan = query.plan()

    for name in ("count", "Sessions"):
        context = ProcessorContext(name, KeyInterval(0, 256), 256, 10, 0.0, 0)
        assert len(plan.operators[name].logic(context)) == 0


def test_a_source_has_as_many_instances_as_it_gives_partitions() -> None:
    query = Query("job")
    query.source(Lines(most=2)).sink(Out())

    source = query.plan(workers=4).operators["lines"]

    assert source.parallelism == len(source.partitions) == 2


def test_a_sink_that_takes_one_writer_has_one_instance() -> None:
    query = Query("job")
    query.source(Lines()).sink(Out(parallel=False))

    assert query.plan(workers=4).operators["out"].parallelism == 1


def test_there_are_no_more_instances_than_key_groups() -> None:
    query = Query("job")
    query.source(Lines()).key_by().count().sink(Out())

    plan = query.plan(workers=4, settings=Settings(key_groups=2))

    assert {o.parallelism for o in plan.operators.values()} == {2}


@pytest.mark.parametrize(("emit", "ticks"), [("1s", 100), ("tick", 1), ("end", 0), ("10ms", 1), ("250ms", 25)])
def test_emit_counts_ticks(emit: str, ticks: int) -> None:
    query = Query("job")
    query.source(Lines()).key_by().count(emit=emit).sink(Out())

    assert query.plan(settings=Settings(tick_ms=10)).operators["count"].emit_ticks == ticks


def test_emit_is_refused_when_it_is_no_whole_number_of_ticks() -> None:
    query = Query("job")
    query.source(Lines()).key_by().count(emit="15ms").sink(Out())

    assert "ticks of 10ms; write emit='10ms' or emit='20ms'" in refusal(query.plan)
    assert query.plan(settings=Settings(tick_ms=5)).operators["count"].emit_ticks == 3


@pytest.mark.parametrize("emit", ["1", "soon", "0s", 1, None, ["1s"]])
def test_emit_is_refused_when_it_is_no_period(emit: Any) -> None:
    assert "write emit='1s', emit='tick' or emit='end'" in refusal(lambda: lines().key_by().count(emit=emit))


def test_aggregates_pass_on_value_function_and_combination() -> None:
    query = Query("job")
    keyed = query.source(Lines()).key_by(field("user"))
    value = field("bytes")
    for stream in (keyed.sum(value), keyed.min(value), keyed.max(value), keyed.reduce(max, value), keyed.sum()):
        stream.sink(Out())

    plan = query.plan()

    assert [(e.combine, e.value) for e in plan.edges if e.keyed] == [
        ("sum", value),
        ("min", value),
        ("max", value),
        (None, value),
        ("sum", None),
    ]


def test_an_aggregate_is_begun_before_the_shuffle_only_if_it_can_be_merged() -> None:
    query = Query("job")
    keyed = query.source(Lines()).key_by()
    for stream in (keyed.aggregate(list, max), keyed.aggregate(list, max, merge=max, result=len), keyed.mean()):
        stream.sink(Out())

    plan = query.plan()

    assert [e.combine for e in plan.edges if e.keyed] == [None, Folding(list, max, max, len), "mean"]
    assert plan.operators["lines"].user_code
    assert plan.operators["aggregate"].user_code


def test_top_k_is_two_operators_of_which_the_second_has_one_instance() -> None:
    query = Query("job")
    query.source(Lines()).key_by().count().top_k(3, by=parse, emit="100ms", name="best").sink(Out())

    plan = query.plan(workers=3)

    assert list(plan.operators) == ["lines", "count", "best-leaders", "best", "out"]
    assert [plan.operators[name].parallelism for name in ("best-leaders", "best")] == [3, 1]
    assert [plan.operators[name].emit_ticks for name in ("best-leaders", "best")] == [10, None]
    assert [plan.operators[name].user_code for name in ("best-leaders", "best")] == [True, False]
    assert [(e.producer, e.consumer, e.combine) for e in plan.edges[1:3]] == [
        ("count", "best-leaders", "last"),
        ("best-leaders", "best", None),
    ]


def test_steps_after_a_rebalance_run_in_its_instances() -> None:
    query = Query("job")
    query.source(Lines(most=1)).map(parse).rebalance().map(parse).sink(Out())

    plan = query.plan(workers=3)

    before, after = plan.edges
    assert (before.producer, before.consumer, before.keyed, before.route) == ("lines", "rebalance", False, "spread")
    assert (after.producer, after.route, [s.name for s in after.steps]) == ("rebalance", "group", ["map(parse)"])
    assert (plan.operators["lines"].parallelism, plan.operators["rebalance"].parallelism) == (1, 3)


def test_a_keyed_stream_is_not_rebalanced() -> None:
    assert "write it before key_by()" in refusal(partial(getattr, lines().key_by(), "rebalance"))


class Rates(Operator):
    """Handles rows of a broadcast stream."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any]:
        yield key, value * ctx.shared[key]

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        shared[value[0]] = value[1]


class Loud(Rates):
    """Would emit the same in every instance."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> Any:
        yield value


def test_a_broadcast_stream_is_an_input_that_goes_to_all_instances() -> None:
    query = Query("job")
    rates = query.source(Lines(), name="rates").map(parse)
    query.source(Lines()).key_by().union(rates.broadcast()).apply(Rates()).sink(Out())

    plan = query.plan()

    assert [(e.producer, e.keyed, e.route) for e in plan.inputs("Rates")] == [
        ("lines", True, "group"),
        ("rates", False, "broadcast"),
    ]
    assert plan.broadcast_inputs("Rates") == {1}
    assert ProcessorContext.of(plan, "Rates", KeyInterval(0, 256)).broadcast == {1}


class TwoRates(Rates):
    """Has two inputs beside."""

    inputs = ("old", "new")


def test_a_broadcast_stream_beside_connected_ones_is_an_input_of_its_own() -> None:
    query = Query("job")
    rates = query.source(Lines(), name="rates")
    old, new = (query.source(Lines(), name=name).key_by() for name in ("old", "new"))
    old.union(rates.broadcast()).connect(new).apply(TwoRates()).sink(Out())

    plan = query.plan()

    assert [(e.producer, e.input) for e in plan.inputs("TwoRates")] == [("old", 0), ("new", 1), ("rates", 2)]
    assert plan.broadcast_inputs("TwoRates") == {2}


def with_broadcast(stream: Stream) -> KeyedStream:
    """Rows with keys, and the same ones for all instances."""
    return stream.key_by().union(stream.broadcast())


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda s: with_broadcast(s).apply(Sessions()), "come to Sessions, which does not define process_broadcast"),
        (lambda s: s.key_by().apply(Rates()), "no broadcast stream comes to it; write .union(stream.broadcast())"),
        (lambda s: with_broadcast(s).apply(Loud()), "Loud.process_broadcast yields, and every instance would"),
        (lambda s: with_broadcast(s).count(), "count() has no use for the rows of broadcast()"),
        (lambda s: with_broadcast(s).map_values(parse), "write .map_values(…) before the union"),
        (lambda s: with_broadcast(s).top_k(3), "top_k() has no use for"),
        (lambda s: s.broadcast().map(parse), "map() does not follow broadcast(), which ends a stream"),
        (lambda s: s.broadcast().apply(Rates()), "keyed.union(stream.broadcast()).apply(operator)"),
        (lambda s: s.union(s.broadcast()), "union() of a Stream takes others of its kind"),
    ],
)
def test_a_slip_with_a_broadcast_stream_is_refused_where_it_is_made(
    build: Callable[[Stream], Any], problem: str
) -> None:
    assert problem in refusal(lambda: build(lines()))


def test_distinct_is_keyed_by_what_must_differ() -> None:
    query = Query("job")
    source = query.source(Lines())
    source.distinct().sink(Out())
    source.distinct(parse, ttl="1h", name="lately").sink(Out())
    source.key_by(length()).distinct(lower()).sink(Out())

    plan = query.plan()

    assert [(e.consumer, e.key, e.value, e.combine) for e in plan.edges if e.keyed] == [
        ("distinct", None, None, "keys"),
        ("lately", parse, None, "first"),
        ("distinct-2", plan.edges[4].key, plan.edges[4].value, "pairs"),
    ]
    assert not any(plan.operators[name].user_code for name in ("distinct", "lately", "distinct-2"))


def test_second_operators_of_a_kind_are_numbered_and_own_names_are_kept() -> None:
    query = Query("job")
    keyed = query.source(Lines()).key_by()
    for stream in (keyed.count(), keyed.count(), keyed.count(name="words"), keyed.apply(Sessions())):
        stream.sink(Out())

    assert list(query.plan().operators) == [
        *("lines", "count", "count-2", "words", "Sessions"),
        *("out", "out-2", "out-3", "out-4"),
    ]


def test_a_name_that_is_taken_is_refused_with_the_line_of_the_other() -> None:
    keyed = lines().key_by()
    keyed.count()

    assert re.match(
        rf"the name of operator 'count' \(.*{HERE}:\d+\) is taken", refusal(lambda: keyed.sum(name="count"))
    )


@pytest.mark.parametrize("name", ["word count", "", "a/b", "count#0", 7, ".hidden"])
def test_a_name_that_cannot_be_part_of_a_path_is_refused(name: Any) -> None:
    assert "is not a name for a query" in refusal(lambda: Query(name))
    assert "is not a name for an operator" in refusal(lambda: lines().key_by().count(name=name or "a b"))


def test_steps_are_called_what_their_writer_calls_them() -> None:
    query = Query("job")
    stream = query.source(Lines()).map(parse).map(lambda row: row).map(partial(int, base=16)).map(str)
    stream.flat_map(split()).sink(Out())

    names = [step.name for step in query.plan().edges[0].steps]

    assert names[0] == "map(parse)"
    assert re.fullmatch(rf"map\(lambda at {HERE}:\d+\)", names[1])
    assert names[2:] == ["map(partial(int))", "map(str)", "flat_map(split())"]


def test_a_step_that_two_edges_share_has_one_identity() -> None:
    query = Query("job")
    parsed = query.source(Lines()).map(parse)
    parsed.key_by().count().sink(Out())
    parsed.filter(bool).sink(Out())

    to_count, to_sink = (e for e in query.plan().edges if e.producer == "lines")

    assert to_count.steps[0] is to_sink.steps[0]
    assert to_sink.steps[1].identity != to_sink.steps[0].identity


def test_a_step_behind_a_union_has_an_identity_per_path() -> None:
    """The rows before it differ, so what it gives on one path must not be taken for what it gives on the other."""
    query = Query("job")
    source = query.source(Lines())
    source.union(source.map(parse)).map(len).sink(Out())

    first, second = (e.steps[-1] for e in query.plan().edges)

    assert first.name == second.name
    assert first.identity != second.identity


def test_a_union_of_keyed_streams_gives_an_operator_numbered_inputs() -> None:
    query = Query("job")
    left = query.source(Lines(), name="left").key_by(parse)
    right = query.source(Lines(), name="right").key_by()
    left.union(right).apply(Sessions()).sink(Out())

    edges = query.plan().inputs("Sessions")

    assert [(e.input, e.producer, e.key) for e in edges] == [(0, "left", parse), (1, "right", None)]


def test_user_code_is_marked_in_the_operator_that_runs_it() -> None:
    query = Query("job")
    query.source(Lines()).flat_map(split()).key_by().count().map(parse).sink(Out())
    query.source(Lines()).key_by(field("user")).reduce(lambda a, b: a + b).sink(Out())
    query.source(Lines()).key_by().apply(Sessions()).sink(Out())

    plan = query.plan()

    assert [name for name, operator in plan.operators.items() if operator.user_code] == ["count", "reduce", "Sessions"]


@pytest.mark.parametrize(
    "function",
    [split(), split(","), contains("x"), field("a"), length(), lower(), strip(), equals(3), identity(), None],
)
def test_shipped_functions_are_no_user_code(function: Any) -> None:
    assert is_built_in(function)


@pytest.mark.parametrize("function", [parse, len, lambda row: row, columnar(lambda column: None)(parse)])
def test_all_other_functions_are_user_code(function: Any) -> None:
    assert not is_built_in(function)


def test_a_query_without_a_source_is_refused() -> None:
    with pytest.raises(QueryError, match="query 'job' has no source; begin with"):
        Query("job").plan()


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda s: s, "'lines'"),
        (lambda s: s.map(parse), "map(parse)"),
        (lambda s: s.key_by(), "key_by"),
        (lambda s: s.key_by().count(), "'count'"),
    ],
)
def test_a_stream_that_leads_nowhere_is_refused(build: Callable[[Stream], Any], what: str) -> None:
    query = Query("job")
    query.source(Lines(), name="other").sink(Out())
    build(query.source(Lines()))

    with pytest.raises(QueryError, match=rf"nothing reads what comes from {re.escape(what)} \(.*{HERE}:\d+\); go on"):
        query.check()


@pytest.mark.parametrize("verb", ["count", "sum", "mean", "min", "max", "reduce", "aggregate", "apply"])
def test_an_aggregate_without_a_key_is_refused(verb: str) -> None:
    assert f"write .key_by().{verb}(…)" in refusal(partial(getattr, lines(), verb))


@pytest.mark.parametrize("verb", ["map", "flat_map"])
def test_a_step_that_would_lose_the_key_is_refused_with_the_one_that_keeps_it(verb: str) -> None:
    assert f"would lose the key; write .{verb}_values(…)" in refusal(partial(getattr, lines().key_by(), verb))


def test_branches_of_a_keyed_stream_are_refused() -> None:
    assert "write it before key_by()" in refusal(partial(getattr, lines().key_by(), "branch"))


def test_a_sink_of_a_keyed_stream_is_refused() -> None:
    assert "write it before key_by(), or after an aggregate" in refusal(partial(getattr, lines().key_by(), "sink"))


def test_steps_after_the_key_follow_the_step_that_gives_it() -> None:
    query = Query("job")
    keyed = query.source(Lines()).map(parse).key_by(field("user")).filter(bool).map_values(parse)
    keyed.flat_map_values(pairs).count().map_values(parse).sink(Out())

    shuffle, output = query.plan().edges

    assert [(s.kind, s.name) for s in shuffle.steps] == [
        ("map", "map(parse)"),
        ("key", "key_by(field('user'))"),
        ("filter", "filter(bool)"),
        ("map", "map_values(parse)"),
        ("flat_map", "flat_map_values(pairs)"),
    ]
    assert [(s.kind, s.name) for s in output.steps] == [("map_values", "map_values(parse)")]
    assert query.plan().operators["lines"].user_code


def test_a_second_key_is_refused_with_the_first() -> None:
    assert "has a key already, from key_by(parse)" in refusal(partial(getattr, lines().key_by(parse), "key_by"))


def test_what_is_no_method_is_an_attribute_error() -> None:
    """So that Python suggests the right one, and that tools may ask for attributes."""
    assert not hasattr(lines(), "flatmap")
    assert not hasattr(lines().key_by(), "counts")


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda s: s.map(3), "takes a function, not 3 (int)"),
        (
            lambda s: s.key_by("user"),
            "takes a function, not 'user' (str); for the field of that name write field('user')",
        ),
        (lambda s: s.map(pairs), "map(pairs) yields, but must return one value; flat_map takes"),
        (lambda s: s.key_by(pairs), "key_by(pairs) yields"),
        (lambda s: s.map(lambda: 1), "is called with one row"),
        (lambda s: s.key_by().reduce(parse), "reduce(parse) is called with two values"),
        (lambda s: s.flat_map(split), "write flat_map(split(…))"),
        (lambda s: s.map_values(pairs), "map_values(pairs) yields"),
        (lambda s: s.key_by().map_values(3), "map_values() takes a function, not 3 (int)"),
        (lambda s: s.key_by().filter(pairs), "filter(pairs) yields"),
        (lambda s: s.sink(print), "takes one of elastic.sinks"),
        (lambda s: s.key_by().aggregate(0, max), "so it is a function: write aggregate(lambda: 0, …)"),
        (lambda s: s.key_by().aggregate(parse, max), "init(parse) is called with nothing"),
        (lambda s: s.key_by().aggregate(list, parse), "add(parse) is called with an accumulator and a row"),
        (lambda s: s.key_by().aggregate(list, max, merge=3), "merge() takes a function, not 3"),
        (lambda s: s.key_by().aggregate(list, max, result=lambda: 1), "is called with an accumulator"),
        (lambda s: s.top_k(0), "top_k(0) is no number of rows; write top_k(10)"),
        (lambda s: s.top_k(parse), "the function goes after the number, as in top_k(10, by=…)"),
        (lambda s: s.key_by().top_k(True), "top_k(True) is no number of rows"),
        (lambda s: s.top_k(3, by="count"), "top_k() takes a function, not 'count'"),
        (lambda s: s.top_k(3, emit="often"), "write emit='1s'"),
        (lambda s: s.distinct("user"), "distinct() takes a function, not 'user'"),
        (lambda s: s.distinct(ttl="soon"), "distinct(ttl='soon') is no time; write ttl='1h'"),
        (lambda s: s.key_by().distinct(pairs), "distinct(pairs) yields"),
        (lambda s: s.key_by().apply(Sessions), "write apply(Sessions())"),
        (lambda s: s.key_by().apply(parse), "function is not derived from it"),
        (lambda s: s.key_by().apply(Operator()), "defines neither process() nor process_columns()"),
        (lambda s: s.union(lines("other")), "two queries, 'job' and 'other'"),
        (lambda s: s.union(s.key_by()), "takes others of its kind"),
        (lambda s: Query("job").source(cast("Any", [1, 2])), "sources.from_list(…)"),
    ],
)
def test_a_slip_is_refused_where_it_is_made(build: Callable[[Stream], Any], problem: str) -> None:
    assert problem in refusal(lambda: build(lines()))


def test_a_function_that_captures_what_cannot_be_shipped_is_refused_by_the_name_of_that() -> None:
    connection = threading.Lock()

    said = refusal(lambda: lines().map(lambda row: (row, connection)))

    assert f"map(lambda at {HERE}:" in said
    assert "cannot be sent to the workers: it uses connection = <unlocked _thread.lock" in said


def test_an_operator_that_holds_what_cannot_be_shipped_is_refused_by_the_name_of_that() -> None:
    operator = Sessions()
    operator.__dict__["file"] = LOCK

    assert "it uses its attribute file = <unlocked" in refusal(lambda: lines().key_by().apply(operator))


def complete() -> Query:
    """A query that could run."""
    query = Query("job")
    query.source(Lines()).sink(Out())
    return query


def test_run_hands_the_query_to_the_model_and_returns_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("echo", "builtins:dict", "elastic.models")])
    monkeypatch.setattr(query_module, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda *args, **options: (args, options))
    query = complete()

    assert query.run(workers=2, model="echo", quiet=True) == ((query,), {"workers": 2, "spares": 1, "quiet": True})


def test_run_with_an_unknown_model_names_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("elastic", "builtins:dict", "elastic.models")])
    monkeypatch.setattr(query_module, "entry_points", lambda group: points)

    assert "'elastik' is not an execution model; there are elastic" in refusal(lambda: complete().run(model="elastik"))


def test_run_of_an_incomplete_query_is_refused_before_anything_starts() -> None:
    query = Query("job")
    query.source(Lines())

    with pytest.raises(QueryError, match="nothing reads"):
        query.run()


def test_streams_show_where_they_come_from() -> None:
    assert re.fullmatch(rf"<Stream of map\(parse\) \(.*{HERE}:\d+\)>", repr(lines().map(parse)))
    assert isinstance(lines().key_by(), KeyedStream)


def test_a_source_with_nothing_to_read_is_refused_with_the_users_line(tmp_path: Path) -> None:
    query = Query("job")
    query.source(sources.text_files(str(tmp_path / "*.txt"))).sink(sinks.discard())

    with pytest.raises(SourceError, match=r"^tests/unit/test_query\.py:\d+: text_files: no file matches "):
        query.plan()
