"""What may be forgotten: blocks that nobody reads again, versions of state, and the input log before them.

Source: D-Streams §3.4 and §4.1: lineage is cut at checkpoints, and what lies before them is cleaned up periodically.
"""

from __future__ import annotations

from dstream.plan import Kind, Stage
from dstream.protocol import Advance
from dstream.scheduler.ledger import Ledger
from elastic.protocol import Send


class Retention:
    """The part of the scheduler that tells workers what they need not keep."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def advance(self) -> list[object]:
        """Tell all workers how far everything is, and what may be forgotten."""
        ledger = self._ledger
        plan, progress, keep = ledger.plan, ledger.progress, ledger.keep
        committed = [plan.whole_intervals(s.start_tick or 0) for s in ledger.members.of_kind("sink")]
        reached = [h.done or 0 for h in ledger.of_kind(Kind.STATE)]  # one may be catching up
        progress.advance(min([*committed, *reached], default=progress.done))
        safe = progress.safe
        drop = [safe - keep[s.id] for s in plan.stages]
        for stage in plan.stages:
            if stage.kind is Kind.SOURCE:  # can be read again, so it is kept no longer than until it is processed
                drop[stage.id] = self._read_through(stage)
        ledger.lineage.drop(drop)
        state = [ledger.restarts_at(s.id) for s in plan.stages]
        sources = [safe - keep[s.id] for s in plan.stages if s.kind is Kind.SOURCE]
        tick = 0 if plan.batch else plan.last_tick(max(0, min(sources, default=0)))
        message = Advance(ledger.epoch, progress.done, tick, tuple(drop), tuple(state))
        return [Send(w, message) for w in ledger.members.live]

    def _read_through(self, source: Stage) -> int:
        """The interval through which no task, and none to come, reads the source's blocks."""
        consumers = [(s.id, i) for s, i in self._ledger.plan.consumers(source.id)]
        back = max((max(i.back) for _, i in consumers), default=0)
        stages = {id for id, _ in consumers}
        reading = [n.interval for n in self._ledger.lineage.tasks if n.stage in stages]
        return min([self._ledger.progress.done, *(interval - 1 for interval in reading)]) - back
