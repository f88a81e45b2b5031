"""Which tasks can be done now, and by whom: where their state lives, else where their input lies, else by the idlest.

Source: D-Streams §4.1: locality, and timestep pipelining, since a task waits for its own inputs only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from dstream.blocks import Name
from dstream.plan import Kind
from dstream.protocol import RunTask
from dstream.scheduler.ledger import Held, Ledger, News
from dstream.scheduler.lineage import Sources, Task
from elastic.protocol import Send

SLOTS = 32
"""Tasks without state that a worker is given before it has done the first: enough that it never waits for orders."""

NEAR = 4
"""So many tasks more than the idlest may a worker have to be given a task whose input it has."""


class Orders:
    """The part of the scheduler that gives tasks to workers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._starved: dict[Name, None] = {}  # tasks that could be done, but every worker had enough
        self._given: dict[Name, int] = {}  # tasks without state, and who is doing them

    def done(self, name: Name) -> None:
        """A task was done."""
        self._given.pop(name, None)

    def give(self) -> list[object]:
        """Orders for every task that news has made possible."""
        actions: list[object] = []
        candidates = self._candidates()
        live, load = (self._active(), self._load()) if candidates else ([], Counter())
        full = False
        for task in candidates:
            sources = self._ledger.sources(task.name) if task.worker is None and not full else None
            if sources is None:
                if full:
                    self._starved[task.name] = None
                continue
            if (worker := self._worker_for(task, sources, live, load)) is None:
                full = True  # for every task alike
                self._starved[task.name] = None
                continue
            load[worker] += 1
            self._given[task.name] = worker
            actions.append(self._order(task, worker, sources))
        for held in self._held_candidates():
            actions += self._orders_of(held)
        self._ledger.news = News()
        return actions

    # -- which ---------------------------------------------------------------------------------------------------------

    def _candidates(self) -> list[Task]:
        """Tasks without state that may be possible now: readers of what has come, and those that lacked a worker."""
        lineage, news = self._ledger.lineage, self._ledger.news
        if news.everything:
            self._starved = {}
            return lineage.waiting(set(self._ledger.held))
        names, self._starved = self._starved, {}
        names.update((t.name, None) for t in news.opened if (t.name.stage, t.name.partition) not in self._ledger.held)
        for located in news.located:
            names.update(dict.fromkeys(lineage.readers(located, Kind.TASK)))
        found = [task for name in names if (task := lineage.tasks.get(name)) is not None]
        return sorted(found, key=lambda t: (t.name.interval, t.name.stage, t.name.partition))

    def _held_candidates(self) -> list[Held]:
        """Partitions with state, and sinks, that read what has come."""
        ledger = self._ledger
        if ledger.news.everything:
            return list(ledger.held.values())
        kinds = Kind.STATE, Kind.SINK
        names = (name for located in ledger.news.located for name in ledger.lineage.readers(located, *kinds))
        opened = (task.name for task in ledger.news.opened)
        found = dict.fromkeys((name.stage, name.partition) for name in chain(names, opened))
        return [ledger.held[key] for key in found if key in ledger.held]

    def _orders_of(self, held: Held) -> list[object]:
        """A partition's next tasks, in order of intervals, as far as their inputs are there."""
        actions: list[object] = []
        lineage = self._ledger.lineage
        while held.done is not None:
            task = lineage.tasks.get(Name(held.stage.id, held.told + 1, held.partition))
            sources = self._ledger.sources(task.name) if task is not None and task.worker is None else None
            if task is None or sources is None:
                break
            actions.append(self._order(task, held.record.worker, sources))
        return actions

    # -- by whom -------------------------------------------------------------------------------------------------------

    def _load(self) -> Counter[int]:
        """Tasks without state that each worker has been given and has not done."""
        tasks = self._ledger.lineage.tasks
        self._given = {n: w for n, w in self._given.items() if (t := tasks.get(n)) is not None and t.worker == w}
        return Counter(self._given.values())

    def _active(self) -> list[int]:
        """Workers that take tasks: all that hold something; all there are if none does."""
        members = self._ledger.members
        spares = members.spares
        return [w for w in members.live if w not in spares] or members.live

    def _worker_for(self, task: Task, sources: Sources, live: list[int], load: Counter[int]) -> int | None:
        """Who is to do a task: where its only input lies, unless others are idler; None if all have enough."""
        name = task.name
        idlest = min(live, key=lambda w: (load[w], (w - name.partition) % (max(live) + 1)))
        near = list(_flat(sources))
        if len(near) == 1 and near[0] in live and load[near[0]] < min(SLOTS, load[idlest] + NEAR):
            return near[0]
        return idlest if load[idlest] < SLOTS else None

    def _order(self, task: Task, worker: int, sources: Sources) -> Send:
        ledger = self._ledger
        name, plan = task.name, ledger.plan
        held = ledger.held.get((name.stage, name.partition))
        if held is not None:
            held.told = name.interval
        task.worker, task.attempt = worker, task.attempt + 1
        task.sources = frozenset(_flat(sources)) - {worker}
        interval = ledger.progress.intervals.get(name.interval)
        if interval is not None and interval.started_s is None:
            interval.started_s = ledger.now_s
        end, final = plan.last_tick(name.interval), False
        if ledger.finish is not None and plan.interval_of(ledger.finish[0]) == name.interval:
            end, final = ledger.finish
        after = 0 if plan.batch else plan.last_tick(name.interval - 1)
        checkpoint = name.interval % plan.checkpoint_intervals == 0
        return Send(
            worker,
            RunTask(
                ledger.epoch, name.stage, name.interval, name.partition, task.attempt, held.record.id if held else 0,
                after, end, final, checkpoint, sources, ledger.outages.without(name),
            ),
        )  # fmt: skip


def _flat(sources: Iterable[Iterable[Iterable[int]]]) -> Iterable[int]:
    return (w for by_interval in sources for workers in by_interval for w in workers)
