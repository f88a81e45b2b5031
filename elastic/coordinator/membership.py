"""Who is there: workers and spares, instances and where they run, who holds whose checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from elastic.coordinator.events import Journal
from elastic.keys import KeyInterval
from elastic.plan import Plan


@dataclass(slots=True)
class Worker:
    """A worker that has joined.

    Attributes:
        lost: It was declared dead, or has been drained; ids are not reused, so it stays so.
        draining: It is to hold nothing any more, and then to end.
        extra: Somebody added it while the job ran: it counts on top of the workers that the job wants.
    """

    id: int
    address: str
    lost: bool = False
    draining: bool = False
    extra: bool = False


@dataclass(slots=True)
class InstanceRecord:
    """What the coordinator knows of one instance of the current assignment.

    Attributes:
        index: Its place in the assignment, by which users name it (``count#0``).
        holder: The worker that keeps its checkpoints; None when there are none.
        second: Another worker that keeps them, if the job wants two copies.
        term: Of the holder, as in ``Hold``.
        part_at: Where the part lies that it starts from; None if it starts at tick 0, or from log or target.
        origin_at: A worker that has that checkpoint in memory.
        origin: The instance whose checkpoint on the disk it can be made from again if that part is lost; None once its
            own is stored.
        protected: The holder is known to have a checkpoint of it.
        fresh: Nothing of it was ever acknowledged upstream, so it may start again from tick 0.
        running: It has said that it runs.
        start_tick: The tick after which it started.
        frozen: A source's last closed tick once it is frozen.
        former: While the holder has no checkpoint of it yet, a worker that may still have the newest one.
        loads: Records of late by key group of the interval; None before any were heard of.
    """

    id: int
    operator: str
    index: int
    interval: KeyInterval
    version: int
    worker: int
    holder: int | None = None
    second: int | None = None
    term: int = 0
    part_at: int | None = None
    origin: int | None = None
    origin_at: int | None = None
    protected: bool = False
    fresh: bool = True
    running: bool = False
    start_tick: int | None = None
    exhausted: bool = False
    frozen: int | None = None
    finished: bool = False
    cause: str = ""
    former: int | None = None
    loads: npt.NDArray[np.float32] | None = None

    @property
    def can_be_cut(self) -> bool:
        """Whether what its holder has is what the instance can start again from."""
        return self.holder is not None and (self.protected or self.fresh)


@dataclass(slots=True)
class Membership:
    """Workers and assignments; plain facts, changed only by the coordinator's procedures.

    Attributes:
        versions: Of each operator's assignment; the newest.
        epoch: Counts the coordinator's incarnations; commands carry it.
        finish: The tick that ends the stream, and whether the input ended with it; None while that is open.
    """

    plan: Plan
    workers: dict[int, Worker] = field(default_factory=dict)
    instances: dict[int, InstanceRecord] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    epoch: int = 1
    last_id: int = 0
    last_term: int = 0
    finish: tuple[int, bool] | None = None

    def new_id(self) -> int:
        """An instance id that was never given out before."""
        self.last_id += 1
        return self.last_id

    def new_term(self) -> int:
        """A term above all others."""
        self.last_term += 1
        return self.last_term

    @property
    def has_disk(self) -> bool:
        """Whether checkpoints lie on the disk too."""
        return self.plan.settings.disk != "off"

    def is_lost(self, worker: int | None) -> bool:
        """Whether what lay on a worker is gone; on nobody lies nothing."""
        return worker is None or self.workers[worker].lost

    @property
    def addresses(self) -> dict[int, str]:
        """Where each live worker is reached."""
        return {w: self.workers[w].address for w in self.live}

    def by_id(self) -> list[InstanceRecord]:
        """All instances, the oldest first."""
        return sorted(self.instances.values(), key=lambda i: i.id)

    def assignment(self, operator: str) -> list[InstanceRecord]:
        """The operator's instances, by key interval."""
        return sorted((i for i in self.instances.values() if i.operator == operator), key=lambda i: i.interval)

    def journalled(self, operator: str) -> Journal:
        """The operator's assignment, for the journal."""
        instances = [
            {"id": i.id, "index": i.index, "interval": list(i.interval), "worker": i.worker, "holder": i.holder}
            for i in self.assignment(operator)
        ]
        body = {"operator": operator, "version": self.versions[operator], "instances": instances}
        return Journal("assignment", body)

    def is_stateful(self, record: InstanceRecord) -> bool:
        """Whether it has state of its own, which its checkpoints carry; what others have, their log or target has."""
        return self.plan.operators[record.operator].kind == "keyed"

    def measured(self, instance: int, loads: npt.NDArray[np.float32]) -> None:
        """So much of each of its key groups an instance had to do of late."""
        record = self.instances.get(instance)
        if record is not None and len(loads) == record.interval.high - record.interval.low:
            record.loads = loads

    def of_kind(self, kind: str) -> list[InstanceRecord]:
        """Instances of all sources, keyed operators or sinks."""
        return [i for i in self.instances.values() if self.plan.operators[i.operator].kind == kind]

    @property
    def live(self) -> list[int]:
        """Workers that have joined and are not lost, ascending."""
        return sorted(w.id for w in self.workers.values() if not w.lost)

    @property
    def usable(self) -> list[int]:
        """Live workers that may be given instances and checkpoints, ascending."""
        return [w for w in self.live if not self.workers[w].draining]

    def load(self) -> Counter[int]:
        """Instances per usable worker."""
        load = Counter(dict.fromkeys(self.usable, 0))
        load.update(i.worker for i in self.instances.values() if i.worker in load)
        return load

    def idlest_first(self, workers: Iterable[int]) -> list[int]:
        """Some workers, by how many instances they have; among equals the lower id is first."""
        load = self.load()
        return sorted(workers, key=lambda w: (load[w], w))

    def idlest(self, workers: Iterable[int]) -> int | None:
        """Which of some workers has the fewest instances; None of none."""
        return next(iter(self.idlest_first(workers)), None)

    @property
    def spares(self) -> list[int]:
        """Usable workers without an instance, ascending."""
        busy = {i.worker for i in self.instances.values()}
        return [w for w in self.usable if w not in busy]

    def holder_for(self, instance: InstanceRecord) -> int | None:
        """The worker that is to keep the instance's checkpoints; None where only its own worker lives.

        A worker of an upstream instance and never the instance's own; else any other, in use before idle. If there is
        none, its own writes them to the disk, where the job has one.

        Source: SEEP Alg. 1, backup-state: i = hash(id(o)) mod |up(o)|.
        """
        upstream = {e.producer for e in self.plan.inputs(instance.operator)}
        others = [w for w in self.usable if w != instance.worker]
        hosts = sorted({i.worker for i in self.instances.values() if i.operator in upstream} & set(others))
        used = [w for w in others if w not in self.spares]
        for candidates in (hosts, used, others):
            if candidates:  # the next one round from its own, so that neighbours do not share one holder
                return next((w for w in candidates if w > instance.worker), candidates[0])
        return instance.worker if self.has_disk else None

    def second_for(self, instance: InstanceRecord, but: Collection[int] = ()) -> int | None:
        """Another worker that is to keep them, beside the holder; None if one copy is enough, or nobody is there.

        The one that does goes on with it, if it can.

        Args:
            instance: Whose.
            but: Workers that will not do.
        """
        if self.plan.settings.copies < 2 or instance.holder is None:
            return None
        others = [w for w in self.usable if w not in (instance.worker, instance.holder, *but)]
        if instance.second in others:
            return instance.second
        candidates = [w for w in others if w not in self.spares] or others
        return next((w for w in candidates if w > instance.holder), candidates[0] if candidates else None)

    def needs(self, worker: int, instance: InstanceRecord) -> bool:
        """Whether what a worker holds for the instance, or for what it was made from, may be needed yet."""
        return worker in (instance.holder, instance.second, instance.part_at, instance.former, instance.origin_at)
