"""What is given up since user code raises in it as often as it may, and the outputs that fail by that.

Lineage says which: an output fails from the first interval that needs a lost one of the channel, directly, through a
window or through state. What nobody else needs is then not computed any more, so that the other outputs go on alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dstream.blocks import Name
from dstream.plan import Kind, StreamPlan
from elastic.report import FailedOutput

NEVER = 1 << 62
"""Later than all intervals."""


@dataclass(frozen=True, slots=True)
class Outage:
    """User code that raised as often as it may.

    Attributes:
        channel: The only output of the stage that it concerns; None if it is what all of them begin with.
        interval: From this one on the rows are missing.
        error: The user's own.
    """

    stage: int
    channel: int | None
    interval: int
    error: str


class Outages:
    """All that was given up in one job.

    Attributes:
        found: In the order in which it happened.
        until: By stage: the last interval that somebody needs of it; a sink's own if it has failed.
        failed: By stage: the outputs that have.
    """

    def __init__(self, plan: StreamPlan, found: Iterable[Outage] = ()) -> None:
        self._plan = plan
        self.found: list[Outage] = []
        self.failed: dict[int, FailedOutput] = {}
        self.until = [NEVER] * len(plan.stages)
        self._channels: dict[tuple[int, int], int] = {}
        for outage in found:
            self.add(outage)

    @property
    def all_failed(self) -> bool:
        """Whether no output is left."""
        return all(s.id in self.failed for s in self._plan.stages if s.kind is Kind.SINK)

    def add(self, outage: Outage) -> list[FailedOutput]:
        """Give something up; the outputs that fail by that, which had not, or not so early."""
        self.found.append(outage)
        lost = self._lost()
        fresh = []
        for stage in self._plan.stages:
            since, known = lost[stage.id], self.failed.get(stage.id)
            if stage.kind is Kind.SINK and since < (NEVER if known is None else known.interval):
                self.failed[stage.id] = FailedOutput(stage.operator, since, outage.error)
                fresh.append(self.failed[stage.id])
        self._channels = self._needed(lost)
        return fresh

    def needs(self, name: Name, channel: int | None = None) -> bool:
        """Whether somebody needs what a task gives, or what it gives on a channel."""
        until = self.until[name.stage] if channel is None else self._channels.get((name.stage, channel), NEVER)
        return name.interval <= until or self.silences(name)

    def silences(self, name: Name) -> bool:
        """Whether the task is that of an output that has failed: it goes on, and gets no rows."""
        return name.stage in self.failed and name.interval > self.until[name.stage]

    def without(self, name: Name) -> tuple[int, ...]:
        """The channels that a task is to leave out."""
        return tuple(c for (s, c), until in self._channels.items() if s == name.stage and name.interval > until)

    @property
    def source_channels(self) -> tuple[tuple[int, int, int], ...]:
        """(stage, channel, last interval that is needed) of sources, where that is not for ever."""
        sources = {s.id for s in self._plan.stages if s.kind is Kind.SOURCE}
        return tuple((s, c, until) for (s, c), until in self._channels.items() if s in sources and until < NEVER)

    def _lost(self) -> list[int]:
        """By stage: the first interval that cannot be computed as a whole."""
        roots: dict[tuple[int, int | None], int] = {}
        for outage in self.found:
            key = (outage.stage, outage.channel)
            roots[key] = min(roots.get(key, NEVER), outage.interval)
        lost: list[int] = []
        for stage in self._plan.stages:  # in topological order
            reads = (
                min(lost[i.stage], roots.get((i.stage, i.channel), NEVER)) + min(i.back, default=0)
                for i in stage.inputs
            )
            lost.append(min(NEVER, roots.get((stage.id, None), NEVER), *reads))
        return lost

    def _needed(self, lost: Sequence[int]) -> dict[tuple[int, int], int]:
        """By channel: the last interval that somebody needs; of stages it is noted too."""
        channels: dict[tuple[int, int], int] = {}
        for stage in reversed(self._plan.stages):
            mine = [until for (s, _), until in channels.items() if s == stage.id]
            self.until[stage.id] = lost[stage.id] - 1 if stage.kind is Kind.SINK else max(mine, default=0)
            if self.until[stage.id] >= NEVER - 1:
                self.until[stage.id] = NEVER
            for input in stage.inputs:
                key = (input.stage, input.channel)
                until = self.until[stage.id]
                until = until if until == NEVER else until - min(input.back, default=0)
                channels[key] = max(until, channels.get(key, 0))
        return channels


def lacking(failed: Iterable[FailedOutput], outputs: int) -> str:
    """Which of so many outputs lack rows from when on, and why."""
    by_error: dict[tuple[int, str], list[str]] = {}
    for found in failed:
        by_error.setdefault((found.interval, found.error), []).append(found.output)
    count = sum(map(len, by_error.values()))
    texts = [f"{count} of {outputs} outputs failed, the others have everything"]
    for (interval, error), names in by_error.items():
        texts.append(f"{', '.join(map(repr, names))} from interval {interval} on: {error}")
    return "\n".join(texts)


def in_short(error: str) -> str:
    """A user's error in one line: what was raised, where, and on what."""
    first, *trace = error.splitlines()
    places = [found.groups() for line in trace if (found := re.match(r'  File "(.*)", line (\d+)', line))]
    place = f" ({places[-1][0].replace(chr(92), '/').rpartition('/')[2]}:{places[-1][1]})" if places else ""
    return f"{trace[-1].strip()}{place}; {first}" if trace else first
