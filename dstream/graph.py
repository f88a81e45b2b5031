"""The stream graph while it is built: stages, what they read, and what is refused before it can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from types import MappingProxyType
from typing import Any

from dstream.datasets import SourceRows, StageLogic
from dstream.flow import CHUNK_BYTES, Channel
from dstream.local import clean_run
from dstream.plan import Input, Kind, Stage, StreamPlan
from elastic.arguments import check_name
from elastic.callables import add_query_room, caller
from elastic.connectors.base import Sink, Source
from elastic.errors import QueryError
from elastic.graph import partitions_of
from elastic.plan import OperatorPlan, Settings

add_query_room(__file__)


MIN_CHUNK_BYTES = 256 << 10
"""Smaller chunks cost more calls than they save time."""


@dataclass(eq=False)
class Draft:
    """A stage, before it is known how many workers run it.

    Attributes:
        name: Of its operator.
        like: The stage that it has as many partitions as; None for the usual number, ``ONE`` for one.
        tasks: So many partitions were asked for; None if none were.
        logic: The source or the sink; of other stages what makes the dataset.
        every: Only intervals that are multiples of this give rows.
    """

    id: int
    name: str
    kind: Kind
    logic: Any
    inputs: tuple[Input, ...] = ()
    like: int | None = None
    every: int = 1
    tasks: int | None = None
    channels: list[Channel] = field(default_factory=list)

    def channel(self, channel: Channel) -> int:
        """The number of a channel, which is added unless it is there."""
        same = (i for i, c in enumerate(self.channels) if (c.view, c.pieces, c.keyed, c.merging) == _identity(channel))
        found = next(same, None)
        if found is None:
            self.channels.append(channel)
            found = len(self.channels) - 1
        return found


def _as_it_is(_: int, channel: Channel) -> Channel:
    return channel


def _read_by(ends: Sequence[Draft], drafts: Sequence[Draft]) -> Mapping[int, set[int]]:
    """The channels that are read of these stages and of all that they read."""
    read: dict[int, set[int]] = {draft.id: set() for draft in ends}
    for draft in reversed(drafts):
        if draft.id in read:
            for input in draft.inputs:
                read.setdefault(input.stage, set()).add(input.channel)
    return read


NO_DRAFTS: Mapping[int, Draft] = MappingProxyType({})


def _identity(channel: Channel) -> tuple[Any, ...]:
    return channel.view, channel.pieces, channel.keyed, channel.merging


def _chunk_bytes(interval_ms: int) -> int:
    """So much of a source goes through its channels at once, so that it takes about a twentieth of an interval."""
    return min(CHUNK_BYTES // 2, max(MIN_CHUNK_BYTES, CHUNK_BYTES * interval_ms // 800))


ONE = -1
"""Stands for one partition where another stage is named."""


class StreamGraph:
    """Stages of one program, in the order in which they were written, which is a topological one."""

    def __init__(self, name: str) -> None:
        check_name("a job", name)
        self.name = name
        self.drafts: list[Draft] = []
        self.frozen = False
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """The name, or ``name-2`` … if it is taken."""
        names = chain([name], (f"{name}-{i}" for i in count(2)))
        found = next(n for n in names if n not in self._names)
        self._names.add(found)
        return found

    def add(
        self, name: str, kind: Kind, logic: Any, inputs: Sequence[Input] = (), *,
        like: int | None = None, every: int = 1, tasks: int | None = None, given: str | None = None,
    ) -> Draft:  # fmt: skip
        """A stage under a name of its own.

        Raises:
            QueryError: The program runs already, or the name that was given is taken.
        """
        self.refuse_started(name)
        if given is not None:
            check_name("an operator", given)
            if given in self._names:
                raise QueryError(f"{caller()}: the name {given!r} is taken; give this one another")
        draft = Draft(len(self.drafts), self.unique(given or name), kind, logic, tuple(inputs), like, every, tasks)
        self.drafts.append(draft)
        return draft

    def refuse_started(self, call: str) -> None:
        """Return if the program does not run yet.

        Raises:
            QueryError: It does.
        """
        if self.frozen:
            raise QueryError(f"{caller()}: {call}() comes after start(); build all of the program before it is started")

    @property
    def reads_input(self) -> bool:
        """Whether there is a source."""
        return any(d.kind is Kind.SOURCE for d in self.drafts)

    def check(self) -> None:
        """Return if the program can run.

        Raises:
            QueryError: There is nothing to read, or nothing to write to.
        """
        if not self.reads_input:
            raise QueryError(f"job {self.name!r} has no source; begin with context.source(…) or context.text_files(…)")
        if not any(d.kind is Kind.SINK for d in self.drafts):
            raise QueryError(
                f"job {self.name!r} has no output, so nothing would be computed; "
                "end a stream with save(sink), pprint() or foreach_rdd(…)"
            )

    def needed(self) -> StreamGraph:
        """The stages and channels that lead to an output: nothing else is computed, nor read."""
        found = StreamGraph(self.name)
        found.adopt([d for d in self.drafts if d.kind is Kind.SINK], self)
        return found

    def leading_to(self, ends: Sequence[Draft]) -> list[Draft]:
        """These stages and all that they read, in order."""
        read = _read_by(ends, self.drafts)
        return [draft for draft in self.drafts if draft.id in read]

    def adopt(
        self, ends: Sequence[Draft], of: StreamGraph, given: Mapping[int, Draft] = NO_DRAFTS,
        channel_of: Callable[[int, Channel], Channel] = _as_it_is,
    ) -> Mapping[int, Draft]:  # fmt: skip
        """Stages of another graph and all that they read, as stages of this one; by the numbers that they had.

        Args:
            ends: Stages of the other graph.
            of: The other graph.
            given: Stages of this one that stand for some of the other.
            channel_of: What takes the place of a channel of the other's stage of that number.
        """
        read = _read_by(ends, of.drafts)
        mine: dict[int, Draft] = {}
        channels: dict[tuple[int, int], int] = {}
        for draft in of.drafts:
            if draft.id not in read:
                continue
            copy = given.get(draft.id)
            if copy is None:
                inputs = [
                    replace(i, stage=mine[i.stage].id, channel=channels[i.stage, i.channel]) for i in draft.inputs
                ]
                like = draft.like if draft.like in {None, ONE} else mine[draft.like].id
                copy = self.add(
                    draft.name, draft.kind, draft.logic, inputs, like=like, every=draft.every, tasks=draft.tasks
                )
            mine[draft.id] = copy
            for number in sorted(read[draft.id]):
                channels[draft.id, number] = copy.channel(channel_of(draft.id, draft.channels[number]))
        return mine

    def plan(
        self, workers: int, settings: Settings, *, interval_ticks: int, checkpoint_intervals: int, tasks: int,
        retries: int = 2, keep_going: bool = False, batch: bool = False,
    ) -> StreamPlan:  # fmt: skip
        """The program's stages; sources look at their input.

        Raises:
            SourceError: There is nothing to read.
        """
        self.check()
        operators: dict[str, OperatorPlan] = {}
        stages: list[Stage] = []
        drafts = self.needed().drafts
        if batch:
            drafts = [replace(d, logic=d.logic.history()) if d.kind is Kind.SOURCE else d for d in drafts]
        for draft in drafts:
            partitions = self._partitions(draft, workers, settings, tasks, operators, stages)
            logic: Any = None
            if draft.kind is Kind.SOURCE:
                chunk_bytes = _chunk_bytes(interval_ticks * settings.tick_ms)
                diverts = draft.logic.errors == "divert"
                logic = SourceRows(tuple(draft.channels), chunk_bytes, diverts=diverts).make
            elif draft.kind is not Kind.SINK:
                logic = StageLogic(draft.logic, tuple(draft.channels), draft.every).make
            stages.append(Stage(draft.id, draft.name, draft.kind, partitions, draft.inputs, logic))
        return StreamPlan(
            self.name, operators, (), settings, stages=tuple(stages), interval_ticks=interval_ticks,
            checkpoint_intervals=checkpoint_intervals, retries=retries, keep_going=keep_going, batch=batch,
            clean_run=clean_run,
        )  # fmt: skip

    def _partitions(
        self, draft: Draft, workers: int, settings: Settings, tasks: int, operators: dict[str, OperatorPlan],
        stages: Sequence[Stage],
    ) -> int:  # fmt: skip
        """How many partitions a stage has; operators that the report names are noted."""
        groups = settings.key_groups
        if draft.kind is Kind.SOURCE:
            source: Source = draft.logic
            parts = partitions_of(source, draft.name, min(settings.partitions or workers, groups))
            operators[draft.name] = OperatorPlan(
                draft.name, "source", source, len(parts), partitions=parts, user_code=True
            )
            return len(parts)
        if draft.kind is Kind.SINK:
            sink: Sink = draft.logic
            count = min(workers, groups) if sink.parallel else 1
            operators[draft.name] = OperatorPlan(draft.name, "sink", sink, count)
            return count
        count = min(draft.tasks or tasks, groups)
        if draft.like is not None:
            count = 1 if draft.like == ONE else stages[draft.like].partitions
        if draft.kind is Kind.STATE:
            operators[draft.name] = OperatorPlan(draft.name, "keyed", None, count, user_code=True)
        return count
