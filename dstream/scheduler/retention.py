"""What may be forgotten: blocks that nobody reads again, versions of state, and the input log before them.

Source: D-Streams §3.4 and §4.1: lineage is cut at checkpoints, and what lies before them is cleaned up periodically.
"""

from __future__ import annotations

from collections.abc import Mapping

from dstream.plan import Kind, Stage
from dstream.protocol import Advance
from dstream.scheduler.guarding import Guarding
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.placement import Placement
from elastic.protocol import Send


class Retention:
    """The part of the scheduler that tells workers what they need not keep."""

    def __init__(self, ledger: Ledger, placement: Placement, guarding: Guarding) -> None:
        self._ledger, self._placement, self._guarding = ledger, placement, guarding
        self._told: Advance | None = None  # what workers were told last

    def advance(self) -> list[object]:
        """Tell all workers how far everything is, and what may be forgotten."""
        ledger = self._ledger
        plan, progress, keep = ledger.plan, ledger.progress, ledger.keep
        sinks = self._committed()
        committed = min(sinks.values(), default=0)
        actions = [a for stage in plan.stages if self._is_over(stage, committed) for a in self._placement.end(stage)]
        reached = [h.done or 0 for h in ledger.of_kind(Kind.STATE)]  # one may be catching up
        moved = progress.advance(min([committed, *reached]), ledger.stored())
        safe = progress.safe
        drop = self._read(sinks)
        ledger.lineage.drop(drop)
        if ledger.disturbed:
            ledger.lineage.drop_tasks(drop)
        state = [ledger.restarts_at(s.id) for s in plan.stages]
        released = self._released(state) if moved else []
        sources = [safe - keep[s.id] for s in plan.stages if s.kind is Kind.SOURCE]
        tick = 0 if plan.batch else plan.last_tick(max(0, min(sources, default=0)))
        ending = ledger.outages.source_channels
        message = Advance(ledger.epoch, progress.done, tick, tuple(drop), tuple(state), ending)
        if message == self._told:
            return [*actions, *released]
        self._told = message
        return [*actions, *released, *(Send(w, message) for w in ledger.members.live)]

    def _committed(self) -> dict[int, int]:
        """By stage: the interval through which a sink's targets hold everything."""
        ledger, found = self._ledger, dict[int, int]()
        for record in ledger.members.of_kind("sink"):
            stage, interval = ledger.stage_of[record.id], ledger.plan.whole_intervals(record.start_tick or 0)
            found[stage] = min(interval, found.get(stage, interval))
        return found

    def _read(self, committed: Mapping[int, int]) -> list[int]:
        """By stage: the interval through which nobody reads its blocks again.

        A sink goes on after what its target holds, state after the version that it starts from. So what a stage gives
        to sinks alone, be it all of its state, is kept for as long as they have not committed it.
        """
        ledger, stages = self._ledger, self._ledger.plan.stages
        done = ledger.progress.done  # what is not known to be done may have to be ordered again
        through = [min(committed.get(stage.id, 0), done) for stage in stages]
        for stage in reversed(stages):
            if stage.kind is not Kind.SINK:
                readers = ledger.lineage.consumers(stage.id)
                after = (
                    (ledger.restarts_at(c.id) if c.kind is Kind.STATE else through[c.id]) - max(input.back)
                    for c, input in readers
                )
                through[stage.id] = min(after, default=ledger.progress.safe)
        return through

    def _is_over(self, stage: Stage, committed: int) -> bool:
        """Whether a stage has state that no output needs any more, since those that did have failed."""
        ledger = self._ledger
        return stage.kind is Kind.STATE and ledger.outages.until[stage.id] + ledger.keep[stage.id] <= committed

    def _released(self, floors: list[int]) -> list[object]:
        """Copies of state that others have, and versions that are needed no more."""
        self._ledger.copies.forget_below(floors)
        cut_s = self._ledger.cut_s
        self._ledger.cut_s = {name: at_s for name, at_s in cut_s.items() if name.interval > floors[name.stage]}
        return self._guarding.tidy()
