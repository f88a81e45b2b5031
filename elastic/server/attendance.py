"""Which worker processes there are: from their hello on, until they have ended or do not answer any more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from elastic.coordinator.membership import Membership
from elastic.coordinator.silence import Hung, Silence
from elastic.plan import Plan
from elastic.server.processes import look_at
from elastic.wire.clock import JobClock
from elastic.wire.control import Begin, Hello, Setup
from elastic.wire.liveness import LivenessMonitor
from elastic.wire.sockets import Hub


class Attendance:
    """Greets workers, and knows of which of them there are signs of life.

    Args:
        setup: What every worker is told first.

    Attributes:
        greeted: The newest hello of each worker.
        ready: Workers that have the plan, and can begin.
    """

    def __init__(self, hub: Hub, clock: JobClock, members: Membership, setup: Setup, heartbeat_ms: int) -> None:
        self._hub, self._clock, self._members, self._setup = hub, clock, members, setup
        self._silence = Silence(heartbeat_ms / 1000)
        self._liveness = LivenessMonitor(heartbeat_ms)
        hub.register(self._liveness.socket)
        self.greeted: dict[int, Hello] = {}
        self.ready: set[int] = set()

    def greet(self, hello: Hello) -> None:
        """A worker is up; one that has joined before greets a new coordinator, and has all it needs."""
        if self.greeted.get(hello.worker) == hello:
            return  # it says so again as long as it has nothing to do
        if hello.worker in self._members.workers:
            if hello.worker in self.greeted:
                self.greeted[hello.worker] = hello
            return
        self.greeted[hello.worker] = hello
        self._hub.connect(str(hello.worker), hello.address)
        self._hub.send(str(hello.worker), self._setup)
        self._liveness.watch(str(hello.worker), hello.address)

    def prepared(self, worker: int) -> bool:
        """A worker has the plan; whether it can begin.

        Not if it has that from a coordinator before this one: it says hello to this one, and is set up again.
        """
        if worker in self.greeted:
            self.ready.add(worker)
        return worker in self.greeted

    def adopt(self, worker: int, address: str) -> None:
        """A worker that works already goes on; it said hello to the coordinator before this one."""
        self.greeted[worker] = Hello(worker, address, 0)
        self.ready.add(worker)
        self._liveness.watch(str(worker), address)

    def begin(self, worker: int, plan: Plan) -> str:
        """The worker is told when tick 0 is, by a clock that it shares or by ours; returns its address."""
        monotonic_s = time.monotonic()
        begin = Begin(plan.tick_zero_s, plan.since_s, self._clock.at(monotonic_s), monotonic_s)
        self._hub.send(str(worker), begin)
        return self.greeted[worker].address

    def zombies(self) -> Iterator[int]:
        """Look at the connections; workers that were taken for lost and answer again."""
        self._silence.turn(self._clock())
        for peer, change in self._liveness.poll():
            worker = int(peer)
            if change == "lost":
                self._silence.silent(worker, self._clock())
                continue
            self._silence.clear(worker)
            known = self._members.workers.get(worker)
            if known is not None and known.lost:
                yield worker

    def hung(self) -> list[Hung]:
        """Who does not answer, and is not just busy or being starved: as far as that can be told from its process."""
        looks = {worker: look_at(self.greeted[worker]) for worker in self._silence.suspects if worker in self.greeted}
        return self._silence.hung(self._clock(), looks)

    @property
    def suspects(self) -> bool:
        """Whether something may be known of a worker in a moment."""
        return bool(self._silence.suspects)

    def cleared(self, worker: int) -> None:
        """It is known what has become of a worker."""
        self._silence.clear(worker)

    def forget(self, worker: int) -> None:
        """Nothing comes from a process that has ended; sockets would try to reach it for as long as the job runs."""
        self._liveness.forget(str(worker))
        self._hub.drop(str(worker))

    def close(self) -> None:
        """Nobody is listened to any more."""
        self._liveness.close()
