"""The query graph while it is built: operators, the streams between them, and what is refused before it can run.

A stream is a set of *paths*: where its rows come from, and the stateless steps on the way. So there is no graph to cut
later: a path that ends at an operator *is* an edge of the plan. And there is no cycle to look for, since a stream
exists before anything reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

from elastic.arguments import check_name
from elastic.callables import caller, is_built_in
from elastic.connectors.base import Partition, Source
from elastic.errors import QueryError, SourceError
from elastic.keys import even_intervals
from elastic.operators.aggregates import Aggregate
from elastic.operators.apply import Apply
from elastic.operators.base import Operator
from elastic.operators.event_clock import Timed, TimedInput
from elastic.operators.failure import connector_error
from elastic.operators.intake import Taking
from elastic.operators.join import STREAM, TableJoin
from elastic.operators.window_results import LATE
from elastic.operators.windowing import Windowing
from elastic.plan import (
    FALLIBLE,
    MAIN,
    Combine,
    Edge,
    EventTime,
    Folding,
    OnError,
    OperatorPlan,
    Plan,
    Route,
    Settings,
    Step,
)
from elastic.units import parse_duration_ms

KEEP_TIMES = frozenset({"apply", "join", "rebalance", "window"})
"""What becomes an operator whose rows have event times if those that it is given do; of a join, those of the stream.
Rows on outputs beside the main one have the times of those that they were made of, whatever the operator."""

_WITH_POLICY = (Operator, TableJoin, Aggregate, Windowing)
"""What has a policy for rows on which it fails."""


@dataclass(frozen=True)
class Path:
    """Where rows come from and what happens to them on the way; once they are keyed, the rest of it holds.

    Attributes:
        output: Which of the producer's outputs.
        has_keys: One of the steps gives the rows their keys, and ``key`` is not called any more.
        route: How rows without keys are routed at the path's end.
        event_time: Its ticks have marks.
        has_times: Its rows have event times.
    """

    producer: str
    steps: tuple[Step, ...] = ()
    keyed: bool = False
    key: Callable[[Any], Any] | None = None
    key_name: str = "key_by"
    has_keys: bool = False
    output: str = MAIN
    route: Route = "group"
    event_time: EventTime | None = None
    has_times: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """An operator of the query, before it is known how many workers run it and how long a tick is.

    Attributes:
        logic: The ``Source``, ``Sink`` or ``Operator``; or what makes the processors of an operator that is ours.
        verb: Method of the stream that made it.
        line: Where, as ``file:line``.
        emit: Of an operator that emits in periods, as the user wrote it.
        single: It has one instance.
        on_error: Of a user's operator.
    """

    name: str
    kind: Literal["source", "keyed", "sink"]
    logic: Any
    verb: Any
    line: str
    emit: str | None = None
    single: bool = False
    on_error: OnError = "fail"

    def __str__(self) -> str:
        return f"{self.name!r} ({self.line})"


class Graph:
    """Operators and edges of one query, in the order in which they were written, which is a topological one."""

    def __init__(self, query: str) -> None:
        check_name("a query", query)
        self.query = query
        self.nodes: dict[str, Node] = {}
        self._edges: list[Edge] = []
        self._has_times: dict[int, bool] = {}
        self._unread: dict[int, str] = {}
        self._ids = count()

    def next_id(self) -> int:
        """A number that this query has not used before."""
        return next(self._ids)

    def opened(self, stream: int, origin: str) -> None:
        """A stream exists that nothing reads yet."""
        self._unread[stream] = origin

    def read(self, stream: int) -> None:
        """Something reads the stream."""
        self._unread.pop(stream, None)

    def add(
        self,
        kind: Literal["source", "keyed", "sink"],
        logic: Any,
        *,
        verb: str,
        name: str | None,
        default: str,
        emit: str | None = None,
        single: bool = False,
        before: Node | None = None,
        on_error: OnError = "fail",
    ) -> Node:
        """A new operator under ``name``; without one under ``default``, the second of which is ``default-2``.

        ``before`` is the newest operator so far, if that is to come after this one.

        Raises:
            QueryError: The name is taken, or is none.
        """
        if name is None:
            names = (default, *(f"{default}-{i}" for i in range(2, len(self.nodes) + 3)))
            name = next(n for n in names if n not in self.nodes)
        check_name("an operator", name)
        if name in self.nodes:
            raise QueryError(f"{caller()}: the name of operator {self.nodes[name]} is taken; give this one another")
        node = self.nodes[name] = Node(name, kind, logic, verb, caller(), emit, single, on_error)
        if before is not None:
            self.nodes[before.name] = self.nodes.pop(before.name)
        return node

    def connect(
        self,
        node: Node,
        paths: Sequence[Path],
        *,
        value: Callable[[Any], Any] | None = None,
        combine: Combine | None = None,
        route: Route | None = None,
        inputs: Sequence[int] | None = None,
    ) -> None:
        """Let every path end at the node, as one edge each: its inputs 0, 1 … in the order given, or those named."""
        for number, path in zip(inputs or range(len(paths)), paths, strict=True):
            edge = Edge(
                len(self._edges), path.producer, node.name, number, path.steps, path.key, path.key_name, path.keyed,
                value, combine, path.output, route or path.route,
                None if node.kind == "sink" else path.event_time,
            )  # fmt: skip
            self._edges.append(edge)
            self._has_times[edge.id] = path.has_times

    def path(self, node: Node, output: str = MAIN) -> Path:
        """The rows of one of an operator's outputs, with event time if it has any."""
        edges = [e for e in self._edges if e.consumer == node.name and e.route != "broadcast"]
        giving = [e for e in edges if e.input == STREAM] if isinstance(node.logic, TableJoin) else edges
        keeps = (node.verb in KEEP_TIMES or output != MAIN) and all(self._has_times[edge.id] for edge in giving)
        event_time = EventTime() if any(edge.event_time is not None for edge in edges) else None
        return Path(node.name, output=output, event_time=event_time, has_times=bool(edges) and keeps)

    def check(self) -> None:
        """Return if every stream leads from a source to a sink.

        Raises:
            QueryError: There is no source, or nothing reads a stream.
        """
        if not self.nodes:
            raise QueryError(
                f"query {self.query!r} has no source; begin with query.source(sources.text_files('logs/*.txt'))"
            )
        if self._unread:
            raise QueryError(
                f"query {self.query!r}: nothing reads what comes from {', '.join(self._unread.values())}; "
                "go on from there, end it with .sink(…), or take it out"
            )

    def plan(self, workers: int, settings: Settings) -> Plan:
        """The plan for so many workers. Sources look at their input.

        Raises:
            QueryError: An ``emit`` period is not a whole number of ticks.
            SourceError: There is nothing to read.
        """
        instances = min(workers, settings.key_groups)
        self._check_policies(settings.on_error)
        operators = {name: self._operator(node, instances, settings) for name, node in self.nodes.items()}
        for edge in self._edges:
            if edge.event_time is not None and not isinstance(operators[edge.consumer].logic, Timed):
                operators[edge.consumer] = self._timed(operators, edge.consumer, settings)
        edges = tuple(_with_policies(self._carrying(edge, settings), settings.on_error) for edge in self._edges)
        return Plan(self.query, operators, edges, settings)

    def _check_policies(self, on_error: Mapping[str, OnError]) -> None:
        """Return if every policy has its operator or step, and if what is to be diverted is read."""
        policies = {n.name: n.on_error for n in self.nodes.values() if isinstance(n.logic, _WITH_POLICY)}
        policies |= {n.name: n.logic.errors for n in self.nodes.values() if n.kind == "source" and n.logic.errors}
        policies |= {e.key_name: "fail" for e in self._edges if e.key is not None}
        policies |= {s.name: s.on_error for e in self._edges for s in e.steps if s.kind in FALLIBLE}
        for name, policy in on_error.items():
            if name not in policies:
                raise QueryError(
                    f"query {self.query!r}: on_error names {name!r}, which is no operator or step with a policy; "
                    f"there are {', '.join(map(repr, policies)) or 'none'}"
                )
            if policy == "divert" and policies[name] != "divert":
                raise QueryError(
                    f"query {self.query!r}: {name!r} cannot be made to divert from outside, since nothing reads what "
                    "it would divert; write on_error='divert' in the query and read .output('errors')"
                )

    def _carrying(self, edge: Edge, settings: Settings) -> Edge:
        """The edge as it has to be: where its consumer may have to tell of a row, rows travel whole."""
        node = self.nodes[edge.consumer]
        return replace(edge, value=None, combine=None) if self._tells(node, settings) else edge

    def _tells(self, node: Node, settings: Settings) -> bool:
        """Whether somebody reads what an aggregate takes for late, or it leaves out rows on which it fails."""
        if not isinstance(node.logic, Aggregate | Windowing):
            return False
        late = any(e.producer == node.name and e.output == LATE for e in self._edges)
        return late or settings.on_error.get(node.name, node.on_error) != "fail"

    def _timed(self, operators: Mapping[str, OperatorPlan], name: str, settings: Settings) -> OperatorPlan:
        """The operator, told of the watermark that its inputs with event time have together."""
        inputs: dict[int, TimedInput] = {}
        for edge in self._edges:
            if edge.consumer == name and (time := edge.event_time) is not None:
                count = len(operators[edge.producer].partitions)
                origins = [i.low for i in even_intervals(count, settings.key_groups)] if count else [0]
                idle_ticks = 0 if time.idle_ms is None else max(1, time.idle_ms // settings.tick_ms)
                inputs[edge.input] = TimedInput(tuple(origins), time.slack_ms * 1000, idle_ticks)
        plan = operators[name]
        return replace(plan, logic=Timed(plan.logic, inputs))

    def _operator(self, node: Node, instances: int, settings: Settings) -> OperatorPlan:
        logic, on_error = node.logic, settings.on_error.get(node.name, node.on_error)
        if isinstance(logic, Aggregate | Windowing) and self._tells(node, settings):
            (value,) = {e.value for e in self._edges if e.consumer == node.name}
            logic = logic.taking_rows(Taking(value, on_error))
        user_code = _runs_user_code(node.kind, logic) or any(
            _calls_user_code(e) for e in self._edges if e.producer == node.name
        )
        plan = OperatorPlan(node.name, node.kind, node.logic, instances, user_code=user_code)
        if node.kind == "source":
            errors = settings.on_error.get(node.name)
            source = node.logic if errors is None else node.logic.with_errors(errors)
            most = min(settings.partitions or instances, settings.key_groups)
            try:
                partitions = partitions_of(source, node.name, most)
            except SourceError as error:
                raise SourceError(f"{node.line}: {error}") from None
            return replace(plan, logic=source, partitions=partitions, parallelism=min(instances, len(partitions)))
        if node.kind == "sink":
            return replace(plan, parallelism=instances if node.logic.parallel else 1)
        if isinstance(logic, Operator):
            logic = Apply(logic, on_error)
        elif isinstance(logic, TableJoin):
            logic = replace(logic, on_error=on_error)
        if node.single:
            plan = replace(plan, parallelism=1)
        if node.emit is None:
            return replace(plan, logic=logic.make)
        emit_ticks = _emit_ticks(node, node.emit, settings.tick_ms)
        return replace(plan, logic=replace(logic, emit_ticks=emit_ticks).make, emit_ticks=emit_ticks)


def partitions_of(source: Source, name: str, count: int) -> tuple[Partition, ...]:
    """What a source of that name is cut into, so many parts at most.

    Raises:
        SourceError: There is nothing to read.
        ConnectorError: Code of the user's raised.
    """
    try:
        return tuple(source.partitions(count))
    except Exception as error:
        raise connector_error(error, f"source {name!r}") from error


def _with_policies(edge: Edge, on_error: Mapping[str, OnError]) -> Edge:
    """The edge with these policies in place of those that the query says."""
    if edge.key is not None and edge.key_name in on_error:
        key = Step("key", edge.key_name, edge.key, -1 - edge.id)
        edge = replace(edge, steps=(*edge.steps, key), key=None)
    steps = (
        replace(step, on_error=on_error[step.name]) if step.kind in FALLIBLE and step.name in on_error else step
        for step in edge.steps
    )
    return replace(edge, steps=tuple(steps))


def _emit_ticks(node: Node, emit: str, tick_ms: int) -> int:
    """Ticks between two emissions; 0 for the end only."""
    if emit in ("tick", "end"):
        return 1 if emit == "tick" else 0
    ticks, rest_ms = divmod(parse_duration_ms(emit), tick_ms)
    if rest_ms:
        shorter = f"'{ticks * tick_ms}ms'" if ticks else "'tick'"
        raise QueryError(
            f"{node.line}: {node.verb}(emit={emit!r}) is not a whole number of ticks of {tick_ms}ms; "
            f"write emit={shorter} or emit='{(ticks + 1) * tick_ms}ms', or change the tick"
        )
    return ticks


def _runs_user_code(kind: str, logic: Any) -> bool:
    """Whether a keyed operator's own logic is the user's."""
    return kind == "keyed" and not all(map(is_built_in, getattr(logic, "functions", (logic,))))


def _calls_user_code(edge: Edge) -> bool:
    """Whether an edge's chain, which runs in its producer, calls a function of the user's."""
    if isinstance(edge.combine, Folding):
        return True
    return not all(map(is_built_in, (*(s.function for s in edge.steps), edge.key, edge.value)))
