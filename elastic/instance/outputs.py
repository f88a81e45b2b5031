"""The producer's side: the chains that end an instance's work, and buffer and routing state per edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from elastic.batch import Marks
from elastic.operators.base import Output
from elastic.operators.failure import Failures
from elastic.operators.stateless import Memo, chains
from elastic.plan import Plan
from elastic.protocol import Ack, Command, Credit, NeedCheckpoint, Send, Start, Subscribe, Tell, Trimmed, Wait
from elastic.state.buffer import BufferState
from elastic.state.checkpoint import BufferCheckpoint
from elastic.state.routing import RoutingState

UNSENT_LIMIT_BYTES = 4 << 20
"""An instance with so much unsent output works no further until credit comes; or with a 64th of a worker's memory."""


class Outputs:
    """All output edges of one instance.

    Attributes:
        start: The tick after which this incarnation began.
        failures: Records that steps of the chains have skipped or diverted.
        stable: A successor would start after this tick.
    """

    def __init__(
        self, plan: Plan, of: Start, start: int, buffers: Mapping[int, BufferCheckpoint],
        failures: Failures | None = None,
    ) -> None:  # fmt: skip
        groups, operator, instance = plan.settings.key_groups, of.operator, of.instance
        edges = plan.outputs(operator)
        self.failures = failures or Failures()
        self._chains = chains(plan, operator, self.failures)
        self.buffers = {e.id: BufferState(groups, buffers.get(e.id), of.interval if e.narrow else None) for e in edges}
        self._routes = {
            e.id: RoutingState(e.id, instance, self.buffers[e.id], whole=e.route == "broadcast") for e in edges
        }
        self._instance = instance
        self._limit_bytes = plan.settings.memory_bytes // 4
        self._unsent_limit_bytes = min(UNSENT_LIMIT_BYTES, plan.settings.memory_bytes // 64)
        self._asked_at_bytes = 0
        self.start = self.stable = start

    # -- what the instance emits ---------------------------------------------------------------------------------------

    def emit(
        self, tick: int, outputs: Sequence[Output], held: Mapping[int, Marks] = MappingProxyType({})
    ) -> list[Command]:
        """Run the chains over a tick's outputs, each in one piece or several, and keep the result as buffer state.

        ``held`` says, by edge, how far the marks of a source's partitions may go.

        Raises:
            UserCodeError: A function of a chain raised. Nothing was kept for the edge concerned.
        """
        found: list[Command] = []
        pieces: list[tuple[Output, Memo]] = [(o, {}) for o in outputs if len(o.groups) or o.marks]
        for edge, chain in self._chains.items():
            passed = tick <= self.buffers[edge].floor  # a replay of what every consumer is past
            if passed and not chain.counts:
                continue
            batch = chain.run(
                [piece for piece in pieces if piece[0].name == chain.output or piece[0].marks], tick, held.get(edge, ())
            )
            if passed:
                continue
            if batch is not None:
                self.buffers[edge].append(tick, batch)
            found += self._routes[edge].check(tick, batch)
        return found

    def serve(self, closed: int, *, final: bool, closings: bool = True) -> list[Command]:
        """All that is due to the consumers through tick ``closed``."""
        return [
            send
            for route in self._routes.values()
            for send in route.serve(closed, stable=self.stable, final=final, closings=closings)
        ]

    # -- what consumers say --------------------------------------------------------------------------------------------

    def on_subscribe(self, message: Subscribe, closed: int) -> list[Command]:
        """Take over a subscription; one from below the trim point is reported, since it can never be served."""
        refused, found = self._routes[message.edge].subscribe(message, closed=closed, start=self.start)
        if refused:
            floor = self.buffers[message.edge].floor
            return [Tell(Trimmed(message.edge, self._instance, message.consumer, message.after, floor))]
        return list(found)

    def on_credit(self, message: Credit) -> None:
        """Note credit."""
        self._routes[message.edge].credit(message)

    def on_ack(self, message: Ack) -> bool:
        """Trim; True if any edge's floor rose."""
        return self.buffers[message.edge].acknowledge(message.interval, message.tick)

    # -- limits --------------------------------------------------------------------------------------------------------

    @property
    def floor(self) -> int:
        """The tick through which no consumer on any edge needs anything."""
        return min(b.floor for b in self.buffers.values())

    @property
    def memory_bytes(self) -> int:
        """Buffer state in memory."""
        return sum([b.memory_bytes for b in self.buffers.values()])

    @property
    def size_bytes(self) -> int:
        """All buffer state, in memory and on the disk."""
        return sum([b.size_bytes for b in self.buffers.values()])

    @property
    def blocked(self) -> bool:
        """Whether the instance must wait for credit: too much that it emitted is unsent."""
        return max([r.unsent_bytes for r in self._routes.values()], default=0) > self._unsent_limit_bytes

    @property
    def full(self) -> bool:
        """Whether a source must stop reading: it is blocked, or buffer state in memory is past its limit.

        An operator between goes on when its buffer state is past the limit, and so does a replay: consumers may need
        later ticks before they can checkpoint or commit, and time must pass for them.
        """
        return self.blocked or self.memory_bytes > self._limit_bytes

    def wait(self) -> Wait | None:
        """What keeps a source from reading, or an operator from working on; None if nothing does here."""
        if self.blocked:
            routes = self._routes.values()
            on = {consumer for route in routes for consumer in route.without_credit(self._unsent_limit_bytes)}
            return Wait("credit", tuple(sorted(on)))
        if self.full:
            edge = max(self.buffers, key=lambda edge: self.buffers[edge].size_bytes)
            return Wait("cover", tuple(self._routes[edge].covering_least()), self.buffers[edge].floor + 1)
        return None

    def nudge(self) -> list[Command]:
        """Ask again for checkpoints that are still needed, since the last request may be lost."""
        self._asked_at_bytes = 0
        return self.need_checkpoints()

    def need_checkpoints(self) -> list[Command]:
        """Ask consumers for an early checkpoint at half of the buffer limit, and again at each further eighth."""
        size = self.size_bytes
        if size < self._limit_bytes // 2:
            self._asked_at_bytes = 0
            return []
        if size < self._asked_at_bytes:
            return []
        self._asked_at_bytes = size + self._limit_bytes // 8
        return [Send(s.worker, NeedCheckpoint(edge, s.consumer)) for edge, route in self._routes.items() for s in route]
