"""What may be forgotten: blocks that nobody reads again, versions of state, and the input log before them.

Source: D-Streams §3.4 and §4.1: lineage is cut at checkpoints, and what lies before them is cleaned up periodically.
"""

from __future__ import annotations

from dstream.plan import Kind
from dstream.protocol import Advance
from dstream.scheduler.ledger import Ledger
from elastic.protocol import Send


class Retention:
    """The part of the scheduler that tells workers what they need not keep."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: Advance | None = None  # what workers were told last

    def advance(self) -> list[object]:
        """Tell all workers how far everything is, and what may be forgotten."""
        ledger = self._ledger
        plan, progress, keep = ledger.plan, ledger.progress, ledger.keep
        committed = [plan.whole_intervals(s.start_tick or 0) for s in ledger.members.of_kind("sink")]
        reached = [h.done or 0 for h in ledger.of_kind(Kind.STATE)]  # one may be catching up
        progress.advance(min([*committed, *reached], default=progress.done))
        safe = progress.safe
        drop = [safe - keep[s.id] for s in plan.stages]
        ledger.lineage.drop(drop)
        state = [ledger.restarts_at(s.id) for s in plan.stages]
        sources = [safe - keep[s.id] for s in plan.stages if s.kind is Kind.SOURCE]
        tick = 0 if plan.batch else plan.last_tick(max(0, min(sources, default=0)))
        message = Advance(ledger.epoch, progress.done, tick, tuple(drop), tuple(state))
        if message == self._told:
            return []
        self._told = message
        return [Send(w, message) for w in ledger.members.live]
