"""What all streams are: the paths that rows take through the query graph, and the outputs beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from elastic import nodes
from elastic.arguments import check_on_error
from elastic.callables import caller, check_function, describe, shortened
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.graph import Graph, Node, Path
from elastic.operators.lookup import How
from elastic.plan import ERRORS, OnError, Step, StepKind
from elastic.surface import surface

if TYPE_CHECKING:
    from elastic.streams.keyed import KeyedStream
    from elastic.streams.plain import Stream


class NamedOutput(NamedTuple):
    """A named output: how its rows come, what it is called, and who waits in the graph for it to be read."""

    paths: tuple[Path, ...]
    origin: str
    waits: int | None = None


def named_outputs(graph: Graph, node: Node) -> dict[str, NamedOutput]:
    """The named outputs of an operator."""
    names: Sequence[str] = getattr(node.logic, "outputs", ())
    return {name: NamedOutput((graph.path(node, name),), f"output {name!r} of {node}") for name in names}


def diverted(graph: Graph, where: str, paths: Sequence[Path]) -> dict[str, NamedOutput]:
    """The output that records are diverted to, which must be read."""
    origin, waits = f"output {ERRORS!r} of {where}, which diverts", graph.next_id()
    graph.opened(waits, origin)
    return {ERRORS: NamedOutput(tuple(paths), origin, waits)}


@surface
class BaseStream:
    """What streams with and without keys have in common: the paths that their rows take.

    Args:
        graph: Of the query.
        paths: The ways by which rows come here.
        origin: What the stream is called in errors.
        outputs: What else comes from where this stream does, by name; None where nothing can.

    Attributes:
        without_keys: The class of what operators give.
        with_keys: The class of what ``key_by`` gives. Streams of the two make each other: so each module enters its
            class here, and none imports one that imports it.
    """

    without_keys: ClassVar[type[Stream]]
    with_keys: ClassVar[type[KeyedStream]]

    def __init__(
        self, graph: Graph, paths: Sequence[Path], origin: str, outputs: Mapping[str, NamedOutput] | None = None
    ) -> None:
        self._graph, self._paths, self._origin, self._outputs = graph, tuple(paths), origin, outputs
        self._id = graph.next_id()
        graph.opened(self._id, origin)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._origin}>"

    def output(self, name: str) -> Stream:
        """A named output of the operator or step that gives this stream.

        Those that an operator's class declares; and ``errors``, where ``on_error="divert"`` is asked for. The main
        output need not be read then.

        Raises:
            QueryError: There is no such output.
        """
        if self._outputs is None:
            raise QueryError(
                f"{caller()}: output() follows an operator, as in .apply(…).output({name!r}), or what is written with "
                f"on_error='divert'; this stream is {self._origin}"
            )
        if (found := self._outputs.get(name)) is None:
            known = ", ".join(map(repr, self._outputs))
            hint = f"it has {known}" if known else f"an operator's class declares them: outputs = ({name!r},)"
            raise QueryError(f"{caller()}: {self._origin} has no output {shortened(name)}; {hint}")
        self._read()
        if found.waits is not None:
            self._graph.read(found.waits)
        return self.without_keys(self._graph, found.paths, found.origin)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[Path, ...]:
        """The paths, for something that goes on from here."""
        self._graph.read(self._id)
        return self._paths

    def _united(self, others: Sequence[BaseStream], *kinds: type[BaseStream]) -> tuple[list[Path], str]:
        """The paths of this stream and of others, which are of these kinds, and what they are called together."""
        self._check_kin("union", others, *kinds)
        return [path for stream in (self, *others) for path in stream._read()], f"union ({caller()})"

    def _check_kin(self, verb: str, others: Sequence[BaseStream], *kinds: type[BaseStream]) -> None:
        """Return if the others are of these kinds, by default of this stream's, and of the same query.

        Raises:
            QueryError: They are not.
        """
        kind = type(self)
        for other in others:
            if not isinstance(other, kinds or kind):
                raise QueryError(
                    f"{caller()}: {verb}() of a {kind.__name__} takes others of its kind, not {shortened(other)}"
                )
            self._check_one_query(verb, other)

    def _check_one_query(self, verb: str, other: BaseStream) -> None:
        """Return if the other stream is of the same query.

        Raises:
            QueryError: It is not.
        """
        if other._graph is not self._graph:
            names = f"{self._graph.query!r} and {other._graph.query!r}"
            raise QueryError(f"{caller()}: {verb}() of streams of two queries, {names}; build both from one query")

    # -- operators -----------------------------------------------------------------------------------------------------

    def _of(self, node: Node, diverted: Mapping[str, NamedOutput] | None = None) -> Stream:
        """What an operator emits on its main output; its named ones, and what it diverts, are beside that."""
        outputs = {**named_outputs(self._graph, node), **(diverted or {})}
        return self.without_keys(self._graph, [self._graph.path(node)], str(node), outputs)

    def _applied(self, node: Node) -> Stream:
        """What an operator emits that may divert records."""
        if node.on_error != "divert":
            return self._of(node)
        return self._of(node, diverted(self._graph, str(node), [self._graph.path(node, ERRORS)]))

    # -- steps ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _checked(verb: str, kind: StepKind, function: Callable[[Any], Any], on_error: OnError = "fail") -> Step:
        """A step that the user calls ``verb``, if the function can serve in it."""
        check_function(verb, function, one_row=not kind.startswith("flat_map"))
        check_on_error(verb, on_error)
        return Step(kind, f"{verb}({describe(function)})", function, 0, on_error)

    def _stepped(self, paths: Sequence[Path], step: Step) -> list[Path]:
        """The paths with one more step.

        An identity per path, not per step: on two paths the same step has different rows before it.
        """
        return [replace(p, steps=(*p.steps, replace(step, identity=self._graph.next_id()))) for p in paths]

    def _lookup_step(
        self,
        table: Mapping[Any, Any],
        key: Callable[[Any], Any],
        function: Callable[[Any, Any], Any] | None,
        how: How,
        on_error: OnError,
    ) -> Step:
        check_on_error("lookup", on_error)
        lookup = nodes.looked_up(table, key, function, how)
        return Step("flat_map", f"lookup({describe(key)})", lookup, 0, on_error)

    def _outputs_of(self, step: Step, paths: Sequence[Path], where: str) -> dict[str, NamedOutput] | None:
        """The outputs of a step, given the paths that end with it."""
        if step.on_error != "divert":
            return None
        failed = Step("failed", f"errors of {step.name}", identity(), 0)
        plain = [replace(p, keyed=False, key=None, has_keys=False) for p in paths]
        if step.kind == "event_time":  # of these rows it could not be read
            plain = [replace(p, event_time=None, has_times=False) for p in plain]
        return diverted(self._graph, where, self._stepped(plain, failed))
