"""``transform`` with a function of an interval's time: the steps are the program's, what they do is the interval's.

The function is called when the program is written, and what it writes are stages as any others: the plan is the same
for all intervals. Who computes a part of one calls the function again, with that interval's time, and does what it
writes then. So lineage stays a function of the interval alone, whoever computes it and however often, and no user code
runs where jobs are scheduled. Narrow steps may be other ones for each time; stages behind shuffles may not.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dstream.datasets import Dataset, Merged
from dstream.flow import Channel, Piece
from dstream.graph import ONE, Draft, StreamGraph
from dstream.logic import Given, LogicContext
from dstream.plan import Kind
from dstream.refreshed import Refreshed, transforming
from dstream.streams.base import Bounded, at_of, graph_of
from dstream.streams.by_key import ByKeySteps
from dstream.streams.rows import RowSteps
from dstream.streams.stages import At, Builds, all_in_one, checked_merging, counted
from dstream.streams.tables import TableSteps
from elastic.batch import Column
from elastic.callables import add_query_room, caller, check_shippable, describe, shortened
from elastic.errors import QueryError, UserError
from elastic.operators.failure import user_error

add_query_room(__file__)

ANY_TIME = 0.0
"""With what a function is called to learn its steps."""

KEPT = 4
"""What was written for so many times is kept: intervals overlap."""

Write = Callable[["float | None", Sequence[Any]], Any]
"""Calls the user's function: with a time, if it takes one, and with datasets."""


def arity(call: str, function: Any, forms: Mapping[int, str]) -> int:
    """With how many arguments a function is to be called: the first of the numbers that it takes.

    Args:
        call: Whose function it is.
        function: Whatever the user gave.
        forms: By number of arguments, how the function is called with so many, such as ``(time, rdd)``.

    Raises:
        QueryError: It is no function, or takes others.
    """
    if not callable(function):
        raise QueryError(f"{caller()}: {call}() takes a function, not {shortened(function)}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a built-in
        return next(iter(forms))
    for count in forms:
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    raise QueryError(f"{caller()}: {call}({describe(function)}) calls its function with {' or '.join(forms.values())}")


class IntervalRDD(RowSteps["IntervalRDD"], ByKeySteps["IntervalRDD"], TableSteps["IntervalRDD"]):
    """An interval's dataset, for a function of ``transform`` to write steps with: its rows are not there yet."""

    _context: _Sketch

    @property
    def _reads(self) -> bool:  # type: ignore[override]
        return self._context.reads

    def count(self) -> IntervalRDD:
        """One row: how many rows there are; 0 where there are none."""
        return self._new(counted(self._context, self._at))

    def reduce(self, function: Callable[[Any, Any], Any]) -> IntervalRDD:
        """One row: all rows merged by an associative function; none where there are none."""
        return self._new(all_in_one(self._context, self._at, checked_merging("reduce", function)))

    def _new(self, at: At) -> IntervalRDD:
        return IntervalRDD(self._context, at)

    def at_of(self, made: Any) -> At:
        """Where the rows are of what a function returned."""
        return self._mine("transform", made)

    def _mine(self, call: str, other: Any) -> At:
        if isinstance(other, Bounded):
            return self._table(other)
        if not isinstance(other, IntervalRDD) or graph_of(other) is not self._context.graph:
            raise QueryError(f"{caller()}: {call}() of the interval's RDD takes another one, not {shortened(other)}")
        return at_of(other)


class _Sketch:
    """The stages that a function writes for one time, over inputs that stand for streams.

    Attributes:
        given: The inputs.
        end: What the function returned.
        reads: Data is read while they are written.
    """

    outputs: Any = None

    def __init__(self, inputs: Sequence[_Input], interval_ms: int, key_groups: int, *, reads: bool) -> None:
        self.graph = StreamGraph("transform")
        self.interval_ms, self.key_groups, self.reads = interval_ms, key_groups, reads
        self.given = [
            IntervalRDD(self, At(self.graph.add("given", Kind.TASK, None), **vars(given))) for given in inputs
        ]
        self.end: At | None = None

    def shape(self) -> tuple[Any, ...]:
        """All that must be the same for every time."""
        assert self.end is not None
        end = self.end
        stages = tuple(
            (d.kind, d.inputs, d.like, d.every, d.tasks, _read_by(d.logic),
             tuple((c.view, c.keyed, c.merging is None) for c in d.channels))
            for d in self.graph.drafts
        )  # fmt: skip
        return stages, end.draft.id, end.view, end.every, end.tasks


@dataclass(frozen=True)
class _Input:
    """What a function may know of a stream: as of ``At``."""

    by_key: bool
    every: int
    tasks: int | None


def _read_by(logic: Any) -> Any:
    """Of a source, what it reads."""
    return logic.what if isinstance(logic, Refreshed) else None


class Recipe:
    """A function of ``transform``, and what it writes for a time.

    Args:
        name: What errors call it.
        write: The function, of a time and the inputs.
        inputs: The streams that it is given.

    Raises:
        QueryError: It cannot be shipped, or returns something else.
    """

    def __init__(self, name: str, write: Write, inputs: Sequence[At], context: Builds) -> None:
        self._name, self._write = name, write
        self._inputs = [_Input(at.by_key, at.every, at.tasks) for at in inputs]
        self._interval_ms, self._key_groups = context.interval_ms, context.key_groups
        self._written: OrderedDict[float, _Sketch] = OrderedDict()
        self._first: Any = self._call(ANY_TIME, reads=True)
        self._shape = self._first.shape()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_written": OrderedDict(), "_first": None}

    def at(self, time: float) -> _Sketch:
        """What the function writes for a time.

        Raises:
            UserError: It raised, or writes other stages than it did for other times.
        """
        if (found := self._written.get(time)) is not None:
            return found
        try:
            found = self._call(time, reads=False)
        except UserError:
            raise
        except Exception as error:
            raise user_error(self._name, None, f"time {time}", error) from error
        if found.shape() != self._shape:
            raise QueryError(
                f"{self._name} wrote other steps for the time {time} than when the program was written; what it moves "
                "by key, joins and reads must be the same for every interval, and only functions may differ"
            )
        self._written[time] = found
        if len(self._written) > KEPT:
            self._written.popitem(last=False)
        return found

    def _call(self, time: float, *, reads: bool) -> _Sketch:
        sketch = _Sketch(self._inputs, self._interval_ms, self._key_groups, reads=reads)
        with transforming():
            made = self._write(time, list(sketch.given))
        if not isinstance(made, IntervalRDD | Bounded):
            raise QueryError(f"{caller()}: {self._name} got {shortened(made)} from its function; return an RDD")
        sketch.end = sketch.given[0].at_of(made)
        return sketch

    # -- what the plan has of it ---------------------------------------------------------------------------------------

    def build(self, context: Builds, inputs: Sequence[At]) -> At:
        """The stages of the plan, behind the streams; where what the function returns is."""
        sketch: _Sketch = self._first
        mine: list[Draft] = []
        channels: dict[tuple[int, int], int] = {}
        for draft in sketch.graph.drafts:
            at = inputs[draft.id] if draft.id < len(inputs) else None
            made = self._stage(context, draft, mine, channels) if at is None else at.draft
            mine.append(made)
            for number, channel in enumerate(draft.channels):
                piece = Piece("timed", self._name, partial(self._pieces, draft.id, number))
                before, view = ((), channel.view) if at is None else (at.pieces, at.view)
                behind = Channel(view, (*before, piece), channel.keyed, None, channel.step)
                channels[draft.id, number] = made.channel(behind)
        end = sketch.end
        assert end is not None
        last = Piece("timed", self._name, self._last_pieces)
        if end.draft.id < len(inputs):
            return inputs[end.draft.id].then(last.kind, last.name, last.function)
        at = replace(end, draft=mine[end.draft.id], pieces=(), by_key=end.by_key and not end.pieces)
        return at.then(last.kind, last.name, last.function, keeps_keys=not end.pieces) if end.pieces else at

    def _stage(
        self, context: Builds, draft: Draft, mine: Sequence[Draft], channels: Mapping[tuple[int, int], int]
    ) -> Draft:
        inputs = [replace(i, stage=mine[i.stage].id, channel=channels[i.stage, i.channel]) for i in draft.inputs]
        like = draft.like if draft.like in {None, ONE} else mine[draft.like].id
        logic = draft.logic
        if isinstance(logic, partial) and isinstance(logic.args[0], Merged):  # the one whose functions are the user's
            logic = partial(_timed, self, draft.id)
        return context.graph.add(draft.name, draft.kind, logic, inputs, like=like, every=draft.every, tasks=draft.tasks)

    def _pieces(self, stage: int, channel: int, time: float) -> Sequence[Piece]:
        """What is between a stage and the next, for a time."""
        found = self.at(time).graph.drafts[stage].channels[channel]
        merging = found.merging
        return found.pieces if merging is None else (*found.pieces, Piece("merge", merging.name, merging))

    def _last_pieces(self, time: float) -> Sequence[Piece]:
        end = self.at(time).end
        assert end is not None
        return end.pieces


@dataclass(frozen=True)
class _Timed(Dataset):
    """One partition of a stage whose functions are those of the interval's time."""

    recipe: Recipe
    stage: int
    context: LogicContext

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        now_s = self.context.runtime.now(given.through)
        dataset: Dataset = self.recipe.at(now_s).graph.drafts[self.stage].logic(self.context)
        return dataset.compute(given, wanted)


def _timed(recipe: Recipe, stage: int, context: LogicContext) -> Dataset:
    return _Timed(recipe, stage, context)


def timed(call: str, function: Any, write: Write, context: Builds, inputs: Sequence[At]) -> At:
    """What a function of the time makes of some streams.

    Raises:
        QueryError: It cannot be shipped, or makes no RDD.
    """
    name = f"{call}({describe(function)})"
    context.graph.refuse_started(call)
    check_shippable(name, function)
    return Recipe(name, write, inputs, context).build(context, inputs)


def one_by_one(function: Any, time: float | None, given: Sequence[Any]) -> Any:
    """What a function of so many datasets returns, and of a time if there is one."""
    return function(*given) if time is None else function(time, *given)


def all_at_once(function: Any, time: float | None, given: Sequence[Any]) -> Any:
    """The same of a function of a list."""
    return function(given) if time is None else function(time, given)
