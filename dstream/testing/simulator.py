"""The elastic model's simulator with a scheduler and task hosts in it: the same world, faults and judgement.

Whatever happens, the sinks must hold, tick by tick, what the reference run over the same log gives: the two models
agree, under faults too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from operator import add, sub
from typing import Any, cast

from dstream.blocks import Contents, Name, Spill
from dstream.context import StreamingContext
from dstream.local import replay
from dstream.logic import Read
from dstream.model import cut
from dstream.outages import lacking
from dstream.plan import StreamPlan
from dstream.protocol import Kept
from dstream.reading import LoggedInput
from dstream.scheduler.machine import Scheduler
from dstream.testing.judge import Judge
from dstream.versions import PartitionId, Version, Versions
from dstream.worker.archive import Archive
from dstream.worker.host import TaskHost
from dstream.worker.receiver import Receiver
from elastic.batch import Batch
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.memory import Facts
from elastic.instance.host import AnyInstance, Host
from elastic.plan import Plan, Settings
from elastic.protocol import Command
from elastic.query import Query
from elastic.scenario.models import DStream
from elastic.testing.faults import FaultKind
from elastic.testing.invariants import Watch
from elastic.testing.simulator import Simulation
from elastic.testing.trials import random_trial
from elastic.testing.verdict import Copies, SimulationResult
from elastic.testing.worker import Machine, SimulatedWorker

FAULTS: tuple[FaultKind, ...] = (
    "crash", "crash", "double crash", "hang", "suspect", "break link", "slow link", "crash in recovery",
    "crash at the end", "coordinator crash", "everything killed",
)  # fmt: skip
"""What happens to elastic instances alone is left out."""

TINY_BYTES = 2 << 10
"""A worker's memory with which blocks are spilled all the time."""


class SimulatedArchive(Archive):
    """Kept after a while, unless the worker is gone by then."""

    def __init__(self, machine: Machine, disk: Versions, alive: dict[int, SimulatedWorker], worker: int) -> None:
        self._machine, self._disk, self._workers, self._worker = machine, disk, alive, worker
        self._kept: list[Kept] = []
        self._mine: set[PartitionId] = set()
        self._inputs: dict[tuple[str, int], LoggedInput] = {}

    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        def keep() -> None:
            worker = self._workers[self._worker]
            if worker.alive and self._disk.put((stage, partition), interval, version):
                self._kept.append(Kept(instance, stage, partition, interval, version.size_bytes, on_disk=True))
                self._mine.add((stage, partition))
                worker.work_soon()

        self._machine.world.after(self._machine.disk_s(), keep)

    def news(self) -> list[Kept]:
        kept, self._kept = self._kept, []
        return kept

    def kept(self) -> list[tuple[int, int, int]]:
        return [name for name in self._disk.names() if name[:2] in self._mine]

    def load(self, stage: int, partition: int, interval: int) -> list[tuple[int, Version]]:
        self._mine.add((stage, partition))
        return self._disk.get((stage, partition), interval)

    def keep_from(self, versions: Sequence[int]) -> None:
        self._disk.drop_below(versions)

    def read_again(self, operator: str, partition: int, after: int, through: int) -> Sequence[Read]:
        key = (operator, partition)
        if key not in self._inputs:
            self._inputs[key] = LoggedInput(self._machine.plan, operator, partition)
        log = self._machine.logs[key]
        entries = [e for e in log.entries if max(after, log.floor) < e.tick <= through]  # no more than a disk has
        return self._inputs[key].read(entries)


class MemorySpill(Spill):
    """A disk of the worker's own."""

    def __init__(self) -> None:
        self._contents: dict[Name, Contents] = {}

    def write(self, name: Name, contents: Contents) -> None:
        self._contents[name] = contents

    def read(self, name: Name) -> Contents:
        return self._contents[name]

    def remove(self, name: Name) -> None:
        del self._contents[name]


class NoWatch(Watch):
    """The invariants of the elastic model's checkpoints say nothing about this one."""

    def saw(self, host: Host, message: object, commands: Sequence[Command]) -> None:
        """Nothing to check."""

    def worked(self, host: Host) -> None:
        """Nothing to check."""

    def assigned(self, members: Membership, operator: str) -> None:
        """Nothing to check."""

    def is_needed(self, record: InstanceRecord) -> bool:
        """State is on disk."""
        return False


class StreamSimulation(Simulation):
    """One job of this model in one simulated world."""

    def __init__(self, plan: StreamPlan, seed: int, *, workers: int = 3, spares: int = 1) -> None:
        self._disk = Versions()
        super().__init__(plan, seed, workers=workers, spares=spares)

    def _make_watch(self) -> Watch:
        self.machine.make_host = self._make_host
        return NoWatch(self.plan, self.machine.logs, self.machine.targets)

    def _make_host(self, worker: int) -> Host:
        plan = self.plan
        assert isinstance(plan, StreamPlan)
        archive = SimulatedArchive(self.machine, self._disk, self.workers, worker)
        return TaskHost(worker, plan, archive, MemorySpill(), lambda: self.world.now)

    def _make_coordinator(self, facts: Facts | None = None) -> Coordinator:
        assert isinstance(self.plan, StreamPlan)
        return cast(Coordinator, Scheduler(self.plan, *self._cluster, facts))  # all of it that a simulation uses

    @property
    def can_be_resumed(self) -> bool:
        """Whether state is on disk."""
        return self.plan.durable

    def runs_user_code(self, instance: AnyInstance) -> bool:
        """What follows a source is done where that is read."""
        return isinstance(instance, Receiver)

    def _make_copies(self) -> Copies:
        return Judge(self, self.workers)

    def _measure(self) -> None:
        """Tasks go to whoever is there: no policy is asked."""

    def _judge(self, status: str, said: str | None, faults: int, concerned: str | None) -> SimulationResult:
        """Where some outputs have failed and the others went on, both are held against what they should have."""
        failed = cast(Scheduler, self.coordinator).failed_outputs
        if status == "failed" and failed and said == lacking(failed, len(self.machine.targets)):
            finish = self.coordinator.members.finish
            status = "done" if finish is not None and finish[1] else "interrupted"
        return super()._judge(status, said, faults, concerned)

    def _clean_run(self) -> Mapping[str, Sequence[tuple[int, Batch]]]:
        assert isinstance(self.plan, StreamPlan)
        if self.plan.clean_run is None:
            return super()._clean_run()
        return replay(self.plan, {key: store.entries for key, store in self.machine.logs.items()})


def simulate(
    query: Query, seed: int, *, workers: int = 3, spares: int = 1, faults: int = 3,
    kinds: Sequence[FaultKind] = FAULTS, within_s: float = 1.0, stop_at_s: float | None = None,
    settings: Settings | None = None, dstream: DStream | None = None,
) -> SimulationResult:  # fmt: skip
    """Run a query in intervals in a simulated cluster that fails as the seed says; ``result.wrong`` says what broke.

    Args:
        query: What runs. Give its sources a ``rate``: faults should meet a running job.
        seed: The same seed gives the same history.
        workers: Of the cluster.
        spares: Beside them.
        faults: How many.
        kinds: Which faults may happen; each as likely as it is named often.
        within_s: Faults fall into the first so many virtual seconds.
        stop_at_s: When the job is stopped, in virtual seconds; None if it runs to its end.
        settings: By default ticks of 10 ms and 16 key groups.
        dstream: By default intervals of 50 ms, and a checkpoint every 3 of them.
    """
    settings = settings or Settings(tick_ms=10, key_groups=16)
    plan: Plan = query.plan(workers=workers, settings=settings)
    stream = cut(plan, workers, dstream or DStream(interval="50ms", checkpoint=3, tasks=5))  # type: ignore[arg-type]
    simulation = StreamSimulation(stream, seed, workers=workers, spares=spares)
    return simulation.run(faults, tuple(kinds), within_s=within_s, stop_at_s=stop_at_s)


def run_program(seed: int, faults: int = 3) -> SimulationResult:
    """A program over DStreams under seeded faults: windows of both kinds, state, time-outs, joins with the past."""
    chance = random.Random(f"program {seed}")
    media = random.Random(f"media {seed}")
    context = StreamingContext(
        chance.choice(("50ms", "100ms")), workers=3, checkpoint=chance.choice((1, 2, 3, 5)),
        tasks=chance.choice((2, 3)), key_groups=16, disk=media.choice(("on", "off")), copies=media.choice((1, 1, 2)),
    )  # fmt: skip
    records = [(chance.randrange(9), chance.randrange(5)) for _ in range(120)]
    pairs = context.source(from_list(records, rate=f"{120 / chance.choice((0.6, 0.9, 2.0)):.0f}/s"), name="S")
    sums = pairs.reduce_by_key(add)
    length = chance.choice(("300ms", "400ms", "600ms"))
    kept_up = sums.reduce_by_key_and_window(add, length, inverse=sub, name="W")
    kept_up.running_reduce(max, name="M").save(DiscardSink(), name="K")
    past = sums.delayed(chance.choice(("100ms", "300ms")))
    tracked = pairs.track(_started, _went_on, "200ms", name="T").snapshots()
    past.full_outer_join(tracked).save(DiscardSink(), name="L")
    kept_up.window("200ms", "200ms").group_by_key().map_values(sum).save(DiscardSink(), name="N")
    simulation = StreamSimulation(context.plan(), seed, workers=3, spares=chance.choice((0, 1, 2)))
    return simulation.run(faults, FAULTS, within_s=0.9)


def _started(_: int, value: int) -> int | None:
    return value or None


def _went_on(_: int, state: int, value: int) -> int | None:
    return None if value == 0 else state + value


def run_seed(seed: int) -> SimulationResult:
    """The simulation that a seed stands for, job and intervals included."""
    trial = random_trial(seed)
    chance = random.Random(f"intervals {seed}")
    section: dict[str, Any] = {
        "interval": chance.choice(("50ms", "100ms", "240ms")),
        "checkpoint": chance.choice((1, 2, 3, 5)),
        "tasks": chance.choice((1, 3, 5, 8)),
    }
    return simulate(trial.query, seed, **trial.how, dstream=DStream(**section))
