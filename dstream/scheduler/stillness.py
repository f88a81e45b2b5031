"""Who stands still: a task, a receiver or a target that does not return, a worker that says nothing, a task never done.

What workers and their watchdogs tell, and how a stall is told, is the elastic model's. Only who is to blame is found
in another way: tasks do not wait for one another in chains, so whatever does not return is a root by itself, and
everything else that is not done waits for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from dstream.blocks import Name
from dstream.plan import Kind
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.lineage import Task
from elastic.coordinator.chains import GRACE_S, Root, silent_root, where
from elastic.coordinator.membership import InstanceRecord
from elastic.coordinator.standings import Whereabouts, in_words
from elastic.report import Stall
from elastic.units import format_duration

JAM = "jam"
"""The key of a task that is not done though nothing is known of why."""


@dataclass(slots=True)
class Stillness:
    """The ``Finder`` of this model.

    Its keys are ids of instances, (operator, partition) of other tasks, negative numbers for workers, and ``JAM``.
    """

    ledger: Ledger
    whereabouts: Whereabouts
    _free_s: float = 0.0  # when no task waited, or what happened then could not be seen
    _looked_s: float = 0.0
    _jammed_s: float = 0.0  # since when nothing had been done, at the last jam

    def found(self, now_s: float) -> Mapping[Hashable, Stall]:
        """Every root that is to be told, with the operators whose tasks wait."""
        self._look(now_s)
        found = {**dict(self._silent(now_s)), **dict(self._stuck(now_s))}
        if found:
            self._free_s = now_s
        return found or dict(self._jam(now_s))

    def is_due(self, key: Hashable, now_s: float) -> bool:
        """Whether a worker still says nothing, or nothing is done yet; what else is known is all that can be."""
        if isinstance(key, int) and key < 0:
            return self.whereabouts.silent_since(_worker(key), now_s) is not None
        return key == JAM and bool(self.ledger.lineage.tasks) and self.ledger.moved_s <= self._jammed_s

    def _look(self, now_s: float) -> None:
        quiet = any(self.whereabouts.silent_since(worker, now_s) is not None for worker in self.ledger.members.live)
        slept = now_s - self._looked_s > self.whereabouts.after_s / 2
        self._looked_s = now_s
        ledger = self.ledger
        reads = ledger.plan.batch and not all(ledger.closed.values())  # one source may take far longer than another
        if slept or quiet or reads or ledger.unheard or not ledger.lineage.tasks or not ledger.members.live:
            self._free_s = now_s

    # -- what does not return ------------------------------------------------------------------------------------------

    def _stuck(self, now_s: float) -> Iterator[tuple[Hashable, Stall]]:
        members, plan = self.ledger.members, self.ledger.plan
        for stuck in self.whereabouts.all_stuck:
            if now_s - stuck.since_s < self.whereabouts.after_s:
                continue
            place = stuck.task or _place(members.instances[stuck.instance])
            detail = in_words(stuck, now_s, f"in interval {plan.interval_of(stuck.tick + 1)}")
            root = Root(stuck.instance, where(stuck), detail, stuck.since_s, now_s, stuck.lines, stuck.tick)
            yield stuck.instance or place, self._stall(root, place, stuck.worker)

    def _silent(self, now_s: float) -> Iterator[tuple[Hashable, Stall]]:
        """Workers that say nothing, unless their watchdogs do; named for what they were told to do first."""
        known = self.whereabouts
        for worker in known.silent(now_s):
            since_s, busy = known.silent_since(worker, now_s), known.busy(worker)
            place = self._first_of(worker)
            if since_s is not None and busy is None and place is not None:
                root = silent_root(known, 0, worker, since_s, now_s)
                if now_s >= root.told_at_s:
                    yield _worker(worker), self._stall(root, place, worker)

    def _first_of(self, worker: int) -> tuple[str, int] | None:
        ledger = self.ledger
        given = [name for name, task in ledger.lineage.tasks.items() if task.worker == worker]
        if given:
            return self._placed(min(given, key=_order))
        here = [r for r in ledger.members.instances.values() if r.worker == worker]
        record = min(here, key=lambda r: (ledger.stage(r).kind is not Kind.SOURCE, r.id), default=None)
        return None if record is None else _place(record)

    # -- what is never done --------------------------------------------------------------------------------------------

    def _jam(self, now_s: float) -> Iterator[tuple[Hashable, Stall]]:
        """Nothing was done for long, and nobody says why: the first task that waits is named, and what it waits for."""
        since_s, tasks = max(self.ledger.moved_s, self._free_s), self.ledger.lineage.tasks
        if tasks and now_s - since_s >= self.whereabouts.after_s + GRACE_S:
            task, self._jammed_s = tasks[min(tasks, key=_order)], since_s
            root, worker = self._jammed(task, since_s, now_s)
            yield JAM, self._stall(root, self._placed(task.name), worker)

    def _jammed(self, task: Task, since_s: float, now_s: float) -> tuple[Root, int]:
        ledger, name = self.ledger, task.name
        lasted, tick = format_duration(now_s - since_s), ledger.plan.last_tick(name.interval - 1)
        held = ledger.held.get((name.stage, name.partition))
        worker = task.worker if task.worker is not None else held.record.worker if held else min(ledger.members.live)
        if held is not None and not held.record.running:
            explained = self.whereabouts.explain(worker, now_s)
            text = f"worker {worker} has not begun to run it for {lasted}{explained}"
            return Root(0, "restore", text, since_s, now_s, (), tick), worker
        if task.worker is not None:
            text = f"worker {worker} was told to do interval {name.interval}, and has not for {lasted}"
            return Root(0, "system", text, since_s, now_s, (), tick), worker
        missing = next(ledger.lineage.missing(name), None)
        if missing is None:
            text = f"could do interval {name.interval} for {lasted}, and is not told to"
            return Root(0, "system", text, since_s, now_s, (), tick), worker
        operator, partition = self._placed(missing)
        text = f"waits for interval {missing.interval} of {operator}#{partition} for {lasted}"
        return Root(0, "input", text, since_s, now_s, (), tick), worker

    # -- in words ------------------------------------------------------------------------------------------------------

    def _stall(self, root: Root, place: tuple[str, int], worker: int) -> Stall:
        since_s = self.whereabouts.since_start_s(root.since_s)
        waiting = tuple(self._waiting(place))
        return Stall(*place, worker, root.what, root.detail, root.tick or 0, since_s, None, waiting, root.lines)

    def _waiting(self, but: tuple[str, int]) -> Iterator[str]:
        """A sentence for each operator of which tasks of the first incomplete interval wait."""
        intervals = self.ledger.progress.intervals
        number = min((n for n, interval in intervals.items() if interval.left), default=0)
        left = intervals[number].left or () if number else ()
        counts: dict[str, int] = {}
        for name in sorted(left, key=_order):
            if (place := self._placed(name)) != but:
                counts[place[0]] = counts.get(place[0], 0) + 1
        for operator, count in counts.items():
            tasks = "task waits" if count == 1 else "tasks wait"
            yield f"{count} {tasks} in interval {number} of {operator}"

    def _placed(self, name: Name) -> tuple[str, int]:
        return self.ledger.plan.stages[name.stage].operator, name.partition


def _place(record: InstanceRecord) -> tuple[str, int]:
    return record.operator, record.index


def _worker(number: int) -> int:
    """The key that stands for a worker; and of a key, the worker."""
    return -1 - number


def _order(name: Name) -> tuple[int, int, int]:
    """In which a worker does its tasks."""
    return name.interval, name.stage, name.partition
