"""A worker's instances and the checkpoints it holds for others: routes every message to where it belongs. No I/O.

The worker's shell and the simulator drive the same host: messages go in, commands come out, and what needs a disk or a
target is asked for with ``Open`` and ``Commit`` and answered with ``source_opened``, ``sink_opened``, ``committed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from elastic.errors import SinkError, UserError
from elastic.instance.keyed import KeyedInstance
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.instance.waiting import EarlyMessages, Silence
from elastic.keys import KeyInterval
from elastic.operators.failure import ending_error
from elastic.plan import Plan
from elastic.protocol import (
    Ack,
    Align,
    Close,
    Command,
    Copied,
    Copy,
    Credit,
    Cut,
    Deliver,
    Differs,
    Drain,
    Failed,
    Fenced,
    Fetch,
    Finish,
    Freeze,
    Hold,
    Join,
    NeedCheckpoint,
    Open,
    Part,
    Rejoin,
    Release,
    Retire,
    Running,
    Send,
    SetHolder,
    Standing,
    Start,
    Started,
    Store,
    Stored,
    StoreRefused,
    Subscribe,
    Tell,
    View,
    Wait,
    Want,
)
from elastic.state.backup import BackupStore
from elastic.state.checkpoint import Checkpoint
from elastic.state.spill import Spill

AnyInstance: TypeAlias = SourceInstance | KeyedInstance | SinkInstance

Begins: TypeAlias = Callable[[int | tuple[str, int], int], None]
"""Is told what is done next: for which instance, or for which partition of an operator; and after which tick."""

SPILL_SHARE = 8
"""Output of a worker's instances is spilled where it takes more than this part of its memory, and so is what it holds
of others' output."""


def unwatched(whose: int | tuple[str, int], tick: int) -> None:
    """Nobody wants to know what is done."""


class Host:
    """Everything of the core that runs on one worker.

    Attributes:
        instances: Running instances by id.
        backups: Checkpoints held for instances of other workers.
        spill: Where output goes that takes too much memory; None if it may go nowhere.
    """

    def __init__(self, worker: int, plan: Plan) -> None:
        self.worker, self.plan = worker, plan
        self.spill: Spill | None = None
        self.instances: dict[int, AnyInstance] = {}
        self.backups = BackupStore(disk=plan.settings.disk != "off")
        self._starting: dict[int, Start] = {}
        self._early = EarlyMessages()
        self._retired: set[int] = set()
        self._last_words: list[Failed | Fenced] = []
        self._idle: set[int] = set()  # had nothing to do in their last step, and have heard nothing since
        self._silence = Silence()
        self._epoch = 0

    # -- messages ------------------------------------------------------------------------------------------------------

    def handle(self, sender: int, message: object) -> list[Command]:
        """What follows from a message of another worker (``sender``) or of the coordinator."""
        epoch = getattr(message, "epoch", None)
        if epoch is not None:
            if epoch < self._epoch:
                return []  # a coordinator that was replaced
            self._epoch = epoch
        try:
            return self._route(sender, message)
        except UserError as error:
            mine = "producer" if isinstance(message, Subscribe | Credit | Ack | Want) else "consumer"
            return self.fail(getattr(message, "instance", getattr(message, mine, 0)), error)

    def _route(self, sender: int, message: object) -> list[Command]:
        match message:
            case Deliver() | Differs():
                return self._consumer(message.consumer, message)
            case Subscribe():
                return self._on_subscribe(message)
            case Credit() | Ack() | Want():
                return self._producer(message.producer, message)
            case NeedCheckpoint():
                return self._consumer(message.consumer, message)
            case Store():
                return self.backups.on_store(message)
            case Stored() | StoreRefused():
                return self._on_backup_answer(sender, message)
            case Fetch():
                return self.backups.on_fetch(message)
            case Copy():
                return self.backups.on_copy(sender, message)
            case Copied():
                return self.backups.on_copied(sender, message)
            case Part():
                return self._on_part(message)
            case _:
                return self._on_order(message)

    def _on_order(self, message: object) -> list[Command]:
        """What the coordinator orders, beside what concerns a source's end, which its driver is told."""
        match message:
            case Start():
                return self._on_start(message)
            case Rejoin():
                return self._account()
            case View():
                return self._on_view(message)
            case Retire():
                return self.drop(message.instance)
            case Hold():
                self.backups.on_hold(message)
            case Release():
                return self.backups.on_release(message)
            case Cut():
                return self.backups.on_cut(message)
            case Join():
                return self.backups.on_join(message)
            case Align():
                if isinstance(keyed := self._told(message.instance), KeyedInstance):
                    return keyed.on_align(message)
            case SetHolder():
                return self._on_set_holder(message)
            case Drain():
                if isinstance(found := self._told(message.instance), SinkInstance):
                    return found.on_drain(message.tick)
            case Freeze() | Finish():
                pass
        return []

    def _told(self, id: int) -> AnyInstance | None:
        """The instance, if it runs here, since it is about to be told something: it may have work to do then."""
        self._idle.discard(id)
        return self.instances.get(id)

    def _consumer(self, id: int, message: Deliver | Differs | NeedCheckpoint) -> list[Command]:
        found = self._told(id)
        if found is None or isinstance(found, SourceInstance):
            return []
        match message:
            case Deliver():
                return found.on_deliver(message)
            case Differs():
                return found.on_differs(message)
            case NeedCheckpoint():
                return found.on_need_checkpoint(message)

    def _producer(self, id: int, message: Credit | Ack | Want) -> list[Command]:
        found = self._told(id)
        if found is None or isinstance(found, SinkInstance):
            return []
        match message:
            case Credit():
                return found.on_credit(message)
            case Ack():
                return found.on_ack(message)
            case Want():
                return found.on_want(message)

    def _on_subscribe(self, message: Subscribe) -> list[Command]:
        found = self._told(message.producer)
        if found is None:
            if message.producer not in self._retired:  # it is being started
                self._early.keep(message)
            return []
        return [] if isinstance(found, SinkInstance) else found.on_subscribe(message)

    def _on_backup_answer(self, holder: int, message: Stored | StoreRefused) -> list[Command]:
        found = self._told(message.instance)
        if not isinstance(found, KeyedInstance):
            return []
        if isinstance(message, Stored):
            return found.on_stored(message, holder)
        return found.on_store_refused(message, holder)

    # -- starting and ending instances ---------------------------------------------------------------------------------

    def _on_start(self, start: Start) -> list[Command]:
        waiting = self._starting.get(start.instance)
        if waiting is not None and (waiting.part_at is None or start.part_at is not None):
            return []
        if start.instance in self.instances or start.instance in self._retired:
            return []
        self._starting[start.instance] = start
        for view in start.views:
            self._early.keep(view)
        if self.plan.operators[start.operator].kind != "keyed":
            return [Open(start)]
        if start.part_at is None:
            return self._run(KeyedInstance(self.plan, start, self.worker, None), 0)
        return [Send(start.part_at, Fetch(start.instance, self.worker))]

    def _account(self) -> list[Command]:
        """All that a new coordinator may not have heard."""
        commands: list[Command] = [Tell(message) for message in self._last_words]
        for instance in self.instances.values():
            commands += [Tell(Started(instance.id, instance.tau, 0)), *instance.account()]
        restoring = (*self.instances, *self._starting)
        return [*commands, Tell(Running(restoring, self.backups.instances))]

    def _on_set_holder(self, message: SetHolder) -> list[Command]:
        if isinstance(found := self._told(message.instance), KeyedInstance):
            return found.on_set_holder(message.holder, message.term, message.second)
        if (waiting := self._starting.get(message.instance)) is not None:
            self._starting[message.instance] = replace(
                waiting, holder=message.holder, term=message.term, second=message.second
            )
        return []

    def _on_part(self, message: Part) -> list[Command]:
        start = self._starting.get(message.instance)
        if start is None:
            return self.backups.on_part(message)
        checkpoint: Checkpoint | None = message.checkpoint
        instance = KeyedInstance(self.plan, start, self.worker, checkpoint)
        return self._run(instance, len(instance.processor))

    def source_opened(self, start: Start, floors: Sequence[int]) -> list[Command]:
        """The partitions' logs are open under the start's generation and begin after these ticks."""
        if start.instance not in self._starting:
            return [Close(start.instance)]
        return self._run(SourceInstance(self.plan, start, floors), 0)

    def sink_opened(self, start: Start, committed: Sequence[tuple[KeyInterval, int]], rows: int = 0) -> list[Command]:
        """The target is open under the start's generation and holds the interval through these ticks: ``rows`` rows."""
        if start.instance not in self._starting:
            return [Close(start.instance)]
        return self._run(SinkInstance(self.plan, start, self.worker, committed, rows=rows), 0)

    def persisted(self, instance: int, term: int, tick: int) -> list[Command]:
        """A checkpoint that is held here lies on the disk."""
        return self.backups.on_persisted(instance, term, tick)

    def refused(self, instance: int) -> list[Command]:
        """Somebody else has taken over what lies on the disk of an instance."""
        self.backups.on_refused(instance)
        return []

    def loaded(self, reconfigure: int, instance: int, checkpoint: Checkpoint | None) -> list[Command]:
        """What lay on the disk of an instance that a reconfigure is about; None if there was nothing."""
        return self.backups.on_loaded(reconfigure, instance, checkpoint)

    def _run(self, instance: AnyInstance, keys: int) -> list[Command]:
        start = self._starting.pop(instance.id)
        self.instances[instance.id] = instance
        commands: list[Command] = [Tell(Started(instance.id, instance.tau, keys, start.cause))]
        for early in self._early.take(instance.id):
            commands += self._on_view(early) if isinstance(early, View) else self._on_subscribe(early)
        return commands

    def _on_view(self, view: View) -> list[Command]:
        found = self._told(view.instance)
        if found is None:
            if view.instance not in self._retired:
                self._early.keep(view)
            return []
        return [] if isinstance(found, SourceInstance) else found.on_view(view)

    def drop(self, id: int) -> list[Command]:
        """Forget an instance for good, with all that was kept for it."""
        self._retired.add(id)
        self._idle.discard(id)
        self._starting.pop(id, None)
        self._early.take(id)
        gone = self.instances.pop(id, None)
        return [] if gone is None or isinstance(gone, KeyedInstance) else [Close(id)]

    def fail(self, id: int, error: UserError) -> list[Command]:
        """Report a user's mistake that an instance met, and drop the instance."""
        found = self.instances.get(id)
        operator = getattr(error, "operator", None) or (found.operator if found else "")
        tick = getattr(error, "tick", None) or (found.tau if found else 0)
        nameless = found is not None and type(error) is UserError  # the others say themselves where they were
        text = f"operator {operator!r} failed after tick {tick}: {error}" if nameless else str(error)
        if isinstance(found, SinkInstance) and isinstance(error, SinkError):
            text = f"sink {operator!r}: {error}"
        return self.end(Failed(id, operator, tick, text))

    def end(self, word: Failed | Fenced) -> list[Command]:
        """An instance cannot go on, and is dropped with this last word."""
        self._last_words.append(word)
        return [Tell(word), *self.drop(word.instance)]

    def standings(self) -> dict[int, Standing]:
        """How far every instance is, and what it waits for; those too that are being started."""
        found = {id: instance.standing for id, instance in self.instances.items()}
        for id, start in self._starting.items():
            wait = Wait("opening") if start.part_at is None else Wait("part", (start.part_at,))
            found[id] = Standing(0, 0, wait)
        return found

    # -- work ----------------------------------------------------------------------------------------------------------

    def due(self) -> list[int]:
        """The keyed and sink instances that may have something to do: others would not move if they were stepped."""
        instances = self.instances.items()
        return [id for id, i in instances if id not in self._idle and not isinstance(i, SourceInstance)]

    def step(self, id: int) -> tuple[bool, list[Command]]:
        """One step of a keyed or sink instance; whether it did anything."""
        found = self.instances.get(id)
        if found is None or isinstance(found, SourceInstance):
            return False, []
        try:
            moved, commands = found.step()
            if not moved:
                self._idle.add(id)
            return moved, commands
        except UserError as error:
            return False, self.fail(id, error)
        except Exception:  # a bug of ours
            raise
        except BaseException as error:  # noqa: BLE001 (the user's code would end the process, or a task of its own)
            return False, self.fail(id, ending_error(error))

    def step_tasks(self, begins: Begins = unwatched) -> tuple[bool, list[Command]]:
        """What there is to do beside the instances; whether anything was done, and what follows.

        Args:
            begins: Is told what is done next, before user code is called.
        """
        return False, []

    def committed(self, id: int, through: int, rows: int, *, final: bool) -> list[Command]:
        """The target of a sink instance holds everything through this tick."""
        found = self._told(id)
        return found.on_committed(through, rows, final=final) if isinstance(found, SinkInstance) else []

    def relieve(self) -> list[Command]:
        """Have the oldest output on the disk where buffer state takes more than an eighth of the worker's memory."""
        if self.spill is None:
            return []
        limit_bytes = self.plan.settings.memory_bytes // SPILL_SHARE
        instances = [i for i in self.instances.values() if not isinstance(i, SinkInstance)]
        excess_bytes = sum([i.outputs.memory_bytes for i in instances]) - limit_bytes
        if excess_bytes <= 0:
            return []
        buffers = [(b.memory_bytes, i.id, edge) for i in instances for edge, b in i.outputs.buffers.items()]
        excess_bytes += limit_bytes // 4  # so that it is not done for each tick
        for _, id, edge in sorted(buffers, reverse=True):
            found = self.instances[id]
            if excess_bytes > 0 and not isinstance(found, SinkInstance):
                try:
                    excess_bytes -= found.outputs.buffers[edge].spill(self.spill, excess_bytes)
                except UserError as error:
                    return self.fail(id, error)
        return []

    def _relieve_held(self) -> list[Command]:
        if self.spill is None:
            return []
        try:
            self.backups.relieve(self.spill, self.plan.settings.memory_bytes // SPILL_SHARE)
        except UserError as error:
            return [Tell(Failed(0, "", 0, str(error)))]
        return []

    def nudge(self) -> list[Command]:
        """Subscribe again at producers that have closed nothing since the last nudge, ever more rarely.

        A lost connection loses what was under way without a word; whoever waits finds out by asking again.
        """
        commands: list[Command] = [
            Send(start.part_at, Fetch(start.instance, self.worker))
            for start in self._starting.values()
            if start.part_at is not None
        ]
        commands += self._relieve_held() + self.backups.nudge()
        self._idle.clear()
        self._silence.begin()
        for instance in list(self.instances.values()):
            if not isinstance(instance, SinkInstance):
                try:
                    commands += instance.nudge()
                except UserError as error:  # state that could be kept before need not be such that it can be now
                    commands += self.fail(instance.id, error)
                    continue
            if not isinstance(instance, SourceInstance):
                commands += self._silence.ask_again(instance)
        return commands
