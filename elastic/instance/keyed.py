"""A keyed operator's instance: consume a tick, process it, buffer and serve what it emits, checkpoint.

Deterministic ticks (invariant 1): tick τ is processed when every input is closed through it, in canonical order.
"""

from __future__ import annotations

from collections.abc import Sequence

from elastic.instance.group_load import GroupLoad
from elastic.instance.inputs import Input
from elastic.instance.outputs import Outputs
from elastic.operators.base import ProcessorContext, TickInput
from elastic.operators.failure import Failures
from elastic.plan import Plan
from elastic.protocol import (
    Ack,
    Align,
    Aligned,
    AlignRefused,
    CaughtUp,
    Command,
    Credit,
    Deliver,
    Differs,
    GroupLoads,
    NeedCheckpoint,
    Protected,
    Send,
    Standing,
    Start,
    Store,
    Stored,
    StoreRefused,
    Subscribe,
    Tell,
    View,
    Wait,
    Want,
)
from elastic.state.checkpoint import Checkpoint
from elastic.state.folding import folded

UNPROTECTED_ACK_TICKS = 50
"""Without checkpoints producers may trim at once; they are told so this often."""


def make_inputs(plan: Plan, start: Start, worker: int) -> list[Input]:
    """The inputs of an instance, in canonical order."""
    settings = plan.settings
    return [
        Input(
            e.id, e.input, start.instance, worker, start.interval, start.version,
            key_groups=settings.key_groups, memory_bytes=settings.memory_bytes,
            keep_rows=plan.operators[e.producer].user_code, narrow=e.narrow,
            prompt=plan.operators[e.producer].kind == "source",
        )
        for e in plan.inputs(start.operator)
    ]  # fmt: skip


MAX_PATIENCE = 32
"""A checkpoint that is not answered is sent again after 1, 2, 4 … so many nudges."""


def input_wait(inputs: Sequence[Input], tau: int) -> Wait | None:
    """The wait for the inputs that are not closed past τ; None if all are."""
    late = [i for i in inputs if i.closed <= tau]
    return Wait("input", tuple(id for i in late for id in i.slowest), tau + 1) if late else None


class KeyedInstance:
    """One instance of a keyed operator.

    Attributes:
        tau: Every input is consumed through it; what was emitted through it is in buffer state.
        records_in: Rows taken in through it, by this instance and, in the same run, those whose state it has.
        finished: The final tick was processed.
    """

    def __init__(self, plan: Plan, start: Start, worker: int, checkpoint: Checkpoint | None) -> None:
        settings = plan.settings
        self.id, self.operator, self.interval = start.instance, start.operator, start.interval
        failures = Failures()
        failures.add(() if checkpoint is None else checkpoint.failures)
        context = ProcessorContext.of(plan, start.operator, start.interval, failures)
        self.processor = plan.operators[start.operator].logic(context)
        self.tau = 0 if checkpoint is None else checkpoint.tick
        if checkpoint is not None and checkpoint.common is not None:
            self.processor.restore_common(checkpoint.common)
        if checkpoint is not None and checkpoint.state is not None:
            self.processor.restore(folded(checkpoint.state))
        self.inputs = make_inputs(plan, start, worker)
        self._producers_of = {e.id: e.producer for e in plan.edges}
        buffers = {} if checkpoint is None else checkpoint.buffers
        self.outputs = Outputs(plan, start, self.tau, buffers, failures)
        self.finished = checkpoint is not None and checkpoint.final
        self._worker, self._checkpoint_ticks = worker, settings.checkpoint_ticks
        self._phase = start.interval.low * self._checkpoint_ticks // settings.key_groups
        self._holder, self._second = (start.holder, start.second) if self._checkpoint_ticks else (None, None)
        self._term, self._waiting = start.term, set[int]()
        # The base that all holders have; None if a full one is due. The part lay at one of them alone.
        self._stored = self.tau if checkpoint is not None and self._second is None else None
        self._under_way: int | None = None
        self._unanswered, self._patience = 0, 1
        self._refused = False
        self._attempted = self.tau
        self._protected = False
        self._align: Align | None = None
        self._aligned = False
        self._replaying = bool(start.cause)
        self.replayed_rows = 0
        counted = checkpoint is not None and checkpoint.run_s == plan.since_s
        self.records_in = checkpoint.taken_in if checkpoint is not None and counted else 0
        self._run_s = plan.since_s
        self._broadcast = plan.broadcast_inputs(start.operator)
        self._load = GroupLoad(start.interval)

    # -- messages ------------------------------------------------------------------------------------------------------

    def on_view(self, view: View) -> list[Command]:
        """The producers of an input are these from now on."""
        return self._input(view.edge).on_view(view, self.tau)

    def on_deliver(self, message: Deliver) -> list[Command]:
        """A producer closed ticks."""
        return self._input(message.edge).on_deliver(message)

    def on_differs(self, message: Differs) -> list[Command]:
        """A replayed tick differs from what was processed here."""
        producer = self._producers_of[message.edge]
        return self._input(message.edge).explain(producer, message.producer, message.tick, message.batch)

    def on_subscribe(self, message: Subscribe) -> list[Command]:
        """A consumer wants an output edge."""
        return self.outputs.on_subscribe(message, self.tau) + self.serve()

    def on_credit(self, message: Credit) -> list[Command]:
        """A consumer has room again."""
        self.outputs.on_credit(message)
        return self.serve()

    def on_ack(self, message: Ack) -> list[Command]:
        """A consumer is safe through a tick."""
        self.outputs.on_ack(message)
        return []

    def on_want(self, message: Want) -> list[Command]:
        """A consumer waits for a tick: ask those that this instance waits for in turn."""
        return [c for i in self.inputs for c in i.wants(message.tick)] if message.tick > self.tau else []

    def _input(self, edge: int) -> Input:
        return next(i for i in self.inputs if i.edge == edge)

    @property
    def standing(self) -> Standing:
        """How far it is, and what it waits for."""
        return Standing(self.tau, self.tau, self._wait())

    def _wait(self) -> Wait | None:
        if self.finished:
            return Wait("end")
        if self._align is not None and self.tau == self._align.tick:
            return Wait("scaling", tick=self.tau)
        if self.outputs.blocked:
            return self.outputs.wait()
        return input_wait(self.inputs, self.tau)

    # -- work ----------------------------------------------------------------------------------------------------------

    def step(self) -> tuple[bool, list[Command]]:
        """Process the next tick that matters, or close empty ones; whether anything was done, and what follows.

        Raises:
            UserCodeError: User code raised; the instance is unusable from then on and must be dropped.
        """
        if self.finished:
            return False, self._caught_up(self.tau)
        if self._align is not None and self.tau == self._align.tick and not self._aligned:
            return self._checkpoint_aligned()
        closed = min([i.closed for i in self.inputs])
        if closed < self.tau or self.outputs.blocked:
            return False, self._waits()
        final = all(i.final and i.closed == closed for i in self.inputs)
        if closed == self.tau and not final:
            return False, self._waits()
        commands: list[Command] = []
        if closed > self.tau:
            tick, stop = self._next(closed, final=final), self._align.tick if self._align is not None else 0
            if self.tau < stop <= closed and (tick is None or stop < tick):
                self.tau = stop
            else:
                if tick is not None:
                    commands += self._process(tick, last=final and tick == closed)
                self.tau = closed if tick is None else tick
        self.finished = final and self.tau == closed
        commands += self._checkpoint_if_due()
        commands += self.serve()
        commands += self.outputs.need_checkpoints()
        for i in self.inputs:
            commands += i.credits()
        return True, commands + self._caught_up(closed)

    def _checkpoint_aligned(self) -> tuple[bool, list[Command]]:
        """The checkpoint that neighbours take at the same tick; nothing goes on before it is cut."""
        commands = self.checkpoint()
        self._aligned = self.tau in (self._under_way, self._stored)
        if self._aligned and self._stored == self.tau:
            commands += self._say_aligned(self.tau)
        return self._aligned, commands

    def _say_aligned(self, tick: int) -> list[Command]:
        if self._align is None or self._align.tick != tick:
            return []
        return [Tell(Aligned(self._align.reconfigure, self.id, tick))]

    def on_align(self, message: Align) -> list[Command]:
        """Checkpoint at a tick and not after it; refused if that is past."""
        if message.tick <= self.tau or self._holder is None or self.finished:
            return [Tell(AlignRefused(message.reconfigure, self.id, self.tau))]
        self._align, self._aligned = message, False
        return self._waits()

    def _caught_up(self, closed: int) -> list[Command]:
        """The news that the replay is over, once."""
        if not self._replaying or self.tau < closed:
            return []
        self._replaying = False
        return [Tell(CaughtUp(self.id, self.tau, self.replayed_rows))]

    def _next(self, closed: int, *, final: bool) -> int | None:
        """The first tick in (τ, closed] that must be processed; None if all of them are empty and nothing is due."""
        ticks = [*(i.next_rows for i in self.inputs), self.processor.due_after(self.tau), closed if final else None]
        return min((t for t in ticks if t is not None and t <= closed), default=None)

    def _process(self, tick: int, *, last: bool) -> list[Command]:
        slices = [(i.number, batch) for i in self.inputs for batch in i.take(tick)]
        count = sum(len(b) for _, b in slices)
        self.records_in += count
        for number, batch in slices:
            if number not in self._broadcast:
                self._load.add(batch.groups)
        if self._replaying:
            self.replayed_rows += count
        return self.outputs.emit(tick, self.processor.process(TickInput(tick, slices, last)))

    def serve(self) -> list[Command]:
        """What is due to consumers now."""
        stable = self.tau if self._holder is None else (self._stored or 0)
        self.outputs.stable = max(self.outputs.stable, stable)
        return self.outputs.serve(self.tau, final=self.finished)

    def _waits(self) -> list[Command]:
        """Ask inputs to close what is waited for: the tick of the newest rows, and that of the next emission."""
        newest = max((i.newest for i in self.inputs), default=0)
        align = self._align.tick if self._align is not None else 0
        ticks = {t for t in (newest, self.processor.due_after(self.tau) or 0, align) if t > self.tau}
        return [c for tick in sorted(ticks) for i in self.inputs for c in i.wants(tick)]

    # -- checkpoint, backup, trim --------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> list[Command]:
        """Once in each interval, and at the end; where in the interval, an instance's place in key space decides.

        So the instances do not all pause at once.
        """
        every = self._checkpoint_ticks or UNPROTECTED_ACK_TICKS
        passed = (self.tau + self._phase) // every > (self._attempted + self._phase) // every
        return self.checkpoint() if self.finished or passed else []

    def checkpoint(self) -> list[Command]:
        """Back up (processing state, buffer state, τ) now, as a delta on what the holder has; one at a time."""
        if self._under_way is not None or (self._align is not None and self.tau > self._align.tick):
            return []
        if self._stored == self.tau and self._protected:
            return self._trim(self.tau)  # said before, but maybe not to these producers, or over a link that was lost
        self._attempted, self._refused = self.tau, False
        if self._holder is None:  # nothing can be restored, so nothing need be kept
            self._stored = None
            self.processor.clean()
            return self._trim(self.tau)
        base = self._stored
        state = self.processor.full() if base is None else self.processor.delta()
        buffers = {edge: buffer.checkpoint(base) for edge, buffer in self.outputs.buffers.items()}
        self._under_way = self.tau
        failures = self.outputs.failures.found()
        common, counted = self.processor.common(), (failures, self.records_in, self._run_s)
        checkpoint = Checkpoint(self.tau, base, state, buffers, self.finished, common, *counted)
        self._waiting = {holder for holder in (self._holder, self._second) if holder is not None}
        return [
            Send(holder, Store(self.id, self._worker, checkpoint, self._term, second=holder == self._second))
            for holder in sorted(self._waiting)
        ]

    def on_need_checkpoint(self, _: NeedCheckpoint) -> list[Command]:
        """A producer's buffer state is past its limit."""
        return self.checkpoint()

    def nudge(self) -> list[Command]:
        """Some time has passed: what was sent and not answered in a while is taken for lost and sent again."""
        commands = self.outputs.nudge()
        if (loads := self._load.taken()) is not None:
            commands.append(Tell(GroupLoads(self.id, loads)))
        self._unanswered = 0 if self._under_way is None else self._unanswered + 1
        if self._refused or self._unanswered > self._patience:
            self._patience = min(2 * self._patience, MAX_PATIENCE)  # it may just be that the disk is slow
            self._stored, self._under_way, self._unanswered = None, None, 0
            commands += self.checkpoint()
        return commands

    def on_stored(self, message: Stored, holder: int) -> list[Command]:
        """The checkpoint is safe: producers may trim."""
        if holder not in self._waiting or message.tick != self._under_way:
            return []
        self._waiting.discard(holder)
        if self._waiting:
            return []
        self._stored, self._under_way = message.tick, None
        self._unanswered, self._patience = 0, max(1, self._patience // 2)
        commands = self._trim(message.tick) + self._say_aligned(message.tick)
        if not self._protected and message.tick:  # with tick 0 nothing was acknowledged: it may start there again
            self._protected = True
            assert self._holder is not None
            commands.append(Tell(Protected(self.id, self._holder)))
        return commands

    def on_store_refused(self, message: StoreRefused, holder: int) -> list[Command]:
        """The holder lacks what the delta builds on, or has not been told to hold yet: a full one follows soon."""
        if holder in self._waiting and message.tick == self._under_way:
            self._stored, self._under_way, self._refused = None, None, True
        return []

    def account(self) -> list[Command]:
        """What a new coordinator may not have heard."""
        return [Tell(Protected(self.id, self._holder))] if self._protected and self._holder is not None else []

    def on_set_holder(self, holder: int | None, term: int, second: int | None = None) -> list[Command]:
        """Back up elsewhere from now on: a lost copy is made again at once. What was said before is not done again."""
        if term <= self._term:
            return []
        self._term = term
        self._holder, self._second = (holder, second) if self._checkpoint_ticks else (None, None)
        self._align, self._aligned = None, False
        self._stored, self._under_way, self._protected = None, None, False
        return self.checkpoint()

    def _trim(self, tick: int) -> list[Command]:
        return [c for i in self.inputs for c in i.acks(tick)]
