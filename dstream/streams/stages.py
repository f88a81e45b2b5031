"""Stages as methods of streams add them: where a stream's rows come from, and what becomes of it with each step."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from dstream.datasets import ROWS, Grouped, Merged, Union
from dstream.flow import Channel, Piece
from dstream.flow import Kind as PieceKind
from dstream.graph import ONE, Draft, StreamGraph
from dstream.pairs import Merging
from dstream.plan import Input, Kind, Reach
from elastic.callables import add_query_room, caller, check_function, describe
from elastic.connectors.base import Source
from elastic.errors import QueryError

add_query_room(__file__)

COUNTING = Merging("count", operator.add, "sum")

_EXACT: Mapping[Any, Any] = {operator.add: "sum", min: "min", max: "max"}


class Builds(Protocol):
    """Where streams belong: a streaming context, or a batch of RDDs."""

    @property
    def graph(self) -> StreamGraph:
        """The stages so far."""

    @property
    def interval_ms(self) -> int:
        """Length of an interval."""

    @property
    def key_groups(self) -> int:
        """Units in which key space is cut."""

    @property
    def outputs(self) -> Any:
        """Calls users' functions with datasets: ``add(stream, function, name)``."""


@dataclass(frozen=True, eq=False)
class At:
    """Where a stream's rows come from.

    Attributes:
        view: Which of the stage's datasets.
        pieces: Narrow steps after it.
        by_key: Its partitions are by key group, and the pieces have left keys alone.
        every: It has rows in intervals only that are multiples of this.
        tasks: How many partitions by key it has; None for the usual number.
    """

    draft: Draft
    view: str = ROWS
    pieces: tuple[Piece, ...] = ()
    by_key: bool = False
    every: int = 1
    tasks: int | None = None

    def then(self, kind: PieceKind, name: str, function: Any, *, keeps_keys: bool = False) -> At:
        """After one more narrow step, which errors call by ``name``."""
        pieces = (*self.pieces, Piece(kind, name, function))
        return replace(self, pieces=pieces, by_key=self.by_key and keeps_keys)

    def feed(self, *, keyed: bool, merging: Merging | None = None, call: str = "") -> tuple[int, int]:
        """The stage and channel that a reader of the rows reads; errors name the call."""
        step = f"{call}() at {caller()}"
        return self.draft.id, self.draft.channel(Channel(self.view, self.pieces, keyed, merging, step))

    def shuffled(self, call: str, tasks: int | None, merging: Merging | None = None) -> Input:
        """All of a key in one of so many partitions; where they lie so already, without a shuffle."""
        if self.by_key and self.tasks == tasks:
            return Input(*self.feed(keyed=True, call=call), Reach.SAME)
        return Input(*self.feed(keyed=True, merging=merging, call=call), Reach.KEYS)

    def before(self, merging: Merging) -> Input | None:
        """What the stage reads, if all that it does is merging in the same way; so who merges on may read that too."""
        made = self.draft.logic.args[0] if isinstance(self.draft.logic, partial) else None
        if self.pieces or not isinstance(made, Merged) or made.merging.exact is None:
            return None
        return self.draft.inputs[0] if made.merging.exact == merging.exact and len(self.draft.inputs) == 1 else None


def source_at(context: Builds, source: Source, name: str, *, given: str | None = None) -> At:
    """Where a source's records are."""
    return At(context.graph.add(name, Kind.SOURCE, source, given=given))


def wide(
    context: Builds, call: str, dataset: Any, inputs: Sequence[tuple[At, Merging | None]], *,
    name: str | None = None, tasks: int | None = None,
) -> At:  # fmt: skip
    """A stage by key: behind a shuffle, unless the rows are by key already, in as many partitions as asked for."""
    tasks = tasks or next((at.tasks for at, _ in inputs if at.by_key), None)
    found = [at.shuffled(call, tasks, merging) for at, merging in inputs]
    every = slide_of(call, [at for at, _ in inputs])
    draft = context.graph.add(call, Kind.TASK, plain(dataset), found, every=every, tasks=tasks, given=name)
    return At(draft, by_key=True, every=every, tasks=tasks)


def slide_of(call: str, ats: Sequence[At]) -> int:
    """Of how many intervals a number is a multiple in which some streams have rows together.

    Raises:
        QueryError: They have them in different ones.
    """
    if len({at.every for at in ats}) > 1:
        raise QueryError(f"{caller()}: {call}() of streams with different slides; give their windows the same slide")
    return ats[0].every


def stateful(
    context: Builds, call: str, dataset: Any, at: At, merging: Merging | None = None, *, name: str | None = None
) -> At:
    """A stage by key whose state stays on its worker."""
    tasks = at.tasks if at.by_key else None
    merged_before = None if merging is None else at.before(merging)
    inputs = [merged_before or at.shuffled(call, tasks, merging)]
    draft = context.graph.add(call, Kind.STATE, dataset, inputs, every=at.every, tasks=tasks, given=name)
    return At(draft, by_key=True, every=at.every, tasks=tasks)


def reduced(context: Builds, at: At, merging: Merging, *, call: str | None = None, name: str | None = None) -> At:
    """One pair per key: its values merged, first those of each partition."""
    dataset = Merged(merging, context.key_groups)
    return wide(context, call or merging.name.partition("(")[0], dataset, [(at, merging)], name=name)


def narrow(context: Builds, call: str, dataset: Any, at: At, *, name: str | None = None) -> At:
    """A stage by key over rows that are by key."""
    inputs = [Input(*at.feed(keyed=True, call=call), Reach.SAME)]
    draft = context.graph.add(call, Kind.TASK, plain(dataset), inputs, like=at.draft.id, every=at.every, given=name)
    return At(draft, by_key=True, every=at.every, tasks=at.tasks)


def moved(context: Builds, call: str, at: At, back: tuple[int, ...] = (0,), *, keyed: bool, every: int) -> At:
    """The same rows in the same partitions, of other intervals: those so many intervals back, oldest first."""
    inputs = [Input(*at.feed(keyed=keyed, call=call), Reach.SAME, back)]
    draft = context.graph.add(call, Kind.TASK, plain(Union()), inputs, like=at.draft.id, every=every)
    return At(draft, by_key=at.by_key and keyed, every=every, tasks=at.tasks)


def all_in_one(context: Builds, at: At, merging: Merging) -> At:
    """One row: all rows merged, first those of each partition."""
    keyed = at.then("map", merging.name, with_none)
    inputs = [Input(*keyed.feed(keyed=True, merging=merging), Reach.KEYS)]
    dataset = Merged(merging, context.key_groups)
    draft = context.graph.add(
        merging.name.partition("(")[0], Kind.TASK, plain(dataset), inputs, like=ONE, every=at.every
    )
    return At(draft, every=at.every).then("map", merging.name, second)


def gathered(context: Builds, call: str, at: At) -> At:
    """One pair, of None and the list of all rows; none where there are none."""
    inputs = [Input(*at.then("map", f"{call}()", with_none).feed(keyed=True), Reach.KEYS)]
    draft = context.graph.add(call, Kind.TASK, plain(Grouped(context.key_groups)), inputs, like=ONE, every=at.every)
    return At(draft, every=at.every)


def counted(context: Builds, at: At) -> At:
    """One row: how many rows there are."""
    return all_in_one(context, at.then("count", "count()", len), COUNTING)


def checked_merging(call: str, function: Any) -> Merging:
    """An associative function of two values.

    Raises:
        QueryError: It is none.
    """
    check_function(call, function, called="two values", arguments=2)
    return Merging(f"{call}({describe(function)})", function, _exact(function))


def _exact(function: Any) -> Any:
    try:
        return _EXACT.get(function)
    except TypeError:  # not hashable
        return None


def plain(dataset: Any) -> Callable[[Any], Any]:
    """Makes the dataset of any partition: one without state is the same for all."""
    return partial(_same, dataset)


def _same(dataset: Any, _: Any) -> Any:
    return dataset


def with_none(row: Any) -> tuple[None, Any]:
    """The row under the one key None."""
    return None, row


def first(pair: tuple[Any, Any]) -> Any:
    """The key of a pair."""
    return pair[0]


def second(pair: tuple[Any, Any]) -> Any:
    """The value of a pair."""
    return pair[1]
