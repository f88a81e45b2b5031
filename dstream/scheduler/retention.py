"""What may be forgotten: blocks that nobody reads again, versions of state, and the input log before them.

Source: D-Streams §3.4 and §4.1: lineage is cut at checkpoints, and what lies before them is cleaned up periodically.
"""

from __future__ import annotations

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
        committed = min((plan.whole_intervals(s.start_tick or 0) for s in ledger.members.of_kind("sink")), default=0)
        actions = [a for stage in plan.stages if self._is_over(stage, committed) for a in self._placement.end(stage)]
        reached = [h.done or 0 for h in ledger.of_kind(Kind.STATE)]  # one may be catching up
        moved = progress.advance(min([committed, *reached]), ledger.stored())
        safe = progress.safe
        drop = [safe - keep[s.id] for s in plan.stages]
        ledger.lineage.drop(drop)
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

    def _is_over(self, stage: Stage, committed: int) -> bool:
        """Whether a stage has state that no output needs any more, since those that did have failed."""
        ledger = self._ledger
        return stage.kind is Kind.STATE and ledger.outages.until[stage.id] + ledger.keep[stage.id] <= committed

    def _released(self, floors: list[int]) -> list[object]:
        """Copies of state that others have, and versions that are needed no more."""
        self._ledger.copies.forget_below(floors)
        self._ledger.cut_s = {key: at_s for key, at_s in self._ledger.cut_s.items() if key[2] > floors[key[0]]}
        return self._guarding.tidy()
