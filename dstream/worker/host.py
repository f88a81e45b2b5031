"""Everything of this model that runs on one worker: a host whose sources fill blocks and whose tasks compute others.

It does no I/O: messages go in, commands come out, and what needs a disk is asked of the ``Archive`` that it is given,
as the elastic model's source driver is given its reader and log. The worker's shell and the simulator drive it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dstream.blocks import BlockStore, Name, Spill
from dstream.logic import Content, content_rows, sliced
from dstream.plan import Kind, StreamPlan
from dstream.protocol import (
    Account,
    Advance,
    Blocks,
    Guard,
    Keep,
    KeepRefused,
    Place,
    Resume,
    RunTask,
    State,
    TaskDone,
    TaskFailed,
    TaskLacks,
    Unguard,
    WantBlocks,
    WantState,
)
from dstream.worker.archive import Archive
from dstream.worker.keeping import Keeping
from dstream.worker.receiver import Receiver
from dstream.worker.sink import IntervalSink
from dstream.worker.tasks import Block, Gathering, Tasks
from elastic.errors import UserError
from elastic.instance.host import Begins, Host, unwatched
from elastic.keys import KeyInterval
from elastic.operators.failure import ENDINGS, ending_error
from elastic.protocol import Close, Command, Finish, Send, Start, Started, Tell
from elastic.report import FailedRecords


class TaskHost(Host):
    """Receivers, tasks, state, blocks and sinks of one worker.

    Attributes:
        keeping: Versions of state.

    Args:
        worker: Its number.
        plan: What runs.
        archive: Keeps state on disk, and reads input again.
        spill: Keeps blocks that do not fit into memory.
        clock: Seconds, for measuring how long tasks take.
    """

    def __init__(
        self, worker: int, plan: StreamPlan, archive: Archive, spill: Spill, clock: Callable[[], float]
    ) -> None:
        super().__init__(worker, plan)
        self.stream_plan = plan
        self.blocks = BlockStore(plan.settings.memory_bytes // 2, spill)
        self._archive, self._clock = archive, clock
        self._tasks = Tasks(plan)
        self.keeping = Keeping(worker, plan, archive)
        self._resume: dict[int, int] = {}
        self._sinks: dict[int, tuple[int, int]] = {}
        self._request = 0
        self._failed: dict[Name, tuple[FailedRecords, ...]] = {}  # of intervals that are not complete

    # -- messages ------------------------------------------------------------------------------------------------------

    def _route(self, sender: int, message: object) -> list[Command]:
        match message:
            case RunTask():
                return self._on_run(message)
            case WantBlocks():
                return [Send(message.worker, Blocks(message.request, tuple(self._asked(message))))]
            case Blocks():
                return self._on_blocks(message)
            case Resume():
                self._resume[message.instance] = message.tick
            case Place() | Guard() | Unguard() | Keep() | KeepRefused() | WantState() | State():
                return self._of_state(message)
            case Advance():
                self._on_advance(message)
            case Finish():
                if isinstance(found := self.instances.get(message.instance), Receiver):
                    found.ends_at = message.tick
            case _:
                return super()._route(sender, message)
        return []

    def source_opened(self, start: Start, floors: Sequence[int]) -> list[Command]:
        """The partitions' logs are open under the start's generation and begin after these ticks."""
        if start.instance not in self._starting:
            return [Close(start.instance)]
        base = max(*floors, self._resume.get(start.instance, 0))
        return self._run(Receiver(self.stream_plan, start, base, self.blocks), 0)

    def sink_opened(self, start: Start, committed: Sequence[tuple[KeyInterval, int]], rows: int = 0) -> list[Command]:
        """The target is open under the start's generation and holds the interval through these ticks: ``rows`` rows."""
        if start.instance not in self._starting:
            return [Close(start.instance)]
        return self._run(IntervalSink(self.stream_plan, start, self.worker, committed, rows=rows), 0)

    # -- state ---------------------------------------------------------------------------------------------------------

    def _of_state(self, message: Place | Guard | Unguard | Keep | KeepRefused | WantState | State) -> list[Command]:
        match message:
            case Place():
                return self._on_place(message)
            case Guard():
                return self._on_guard(message)
            case Unguard():
                self.keeping.on_unguard(message)
            case Keep():
                return self.keeping.on_keep(message)
            case KeepRefused():
                return self._on_refused(message)
            case WantState():
                return [self.keeping.on_want(message)]
            case State():
                return self.keeping.on_state(message) + self._begun()
        return []

    def _on_place(self, message: Place) -> list[Command]:
        """Hold the state of a partition, as it was at a version."""
        if self._tasks.of(message.instance) is not None:
            return []  # said twice
        return self.keeping.seek(message) + self._begun()

    def _begun(self) -> list[Command]:
        """Partitions whose state has been found start."""
        commands: list[Command] = []
        for place, version in self.keeping.found():
            held = self._tasks.place(self.stream_plan.stages[place.stage], place)
            if version is not None:
                held.logic.begin_from(version)
            tick = self.stream_plan.last_tick(place.at)
            commands.append(Tell(Started(place.instance, tick, len(held.logic), place.cause)))
            commands += self.keeping.began(held)
        return commands

    def _on_guard(self, message: Guard) -> list[Command]:
        held = self._tasks.of(message.instance)
        if held is not None:
            return self.keeping.on_guard(held, message)
        self.keeping.on_guard_early(message)
        return []

    def _on_refused(self, message: KeepRefused) -> list[Command]:
        held = self._tasks.of(message.instance)
        return [] if held is None else self.keeping.on_refused(held, message.worker)

    def _on_advance(self, message: Advance) -> None:
        self.blocks.drop_through(message.drop)
        self._failed = {name: found for name, found in self._failed.items() if name.interval > message.done}
        for instance in self.instances.values():
            if isinstance(instance, Receiver):
                instance.on_advance(message.done, message.safe_tick, message.ending)
        self.keeping.keep_from(message.keep_state)

    def drop(self, id: int) -> list[Command]:
        """Forget an instance for good, or the state of a partition."""
        self._tasks.forget(id)
        self.keeping.forget(id)
        return super().drop(id)

    def _account(self) -> list[Command]:
        """All that a new coordinator may not have heard: what is here first, then what instances had to say."""
        receivers = [i for i in self.instances.values() if isinstance(i, Receiver)]
        sinks = [i for i in self.instances.values() if isinstance(i, IntervalSink)]
        states = self._tasks.states
        account = Account(
            tuple(self.blocks.names()),
            tuple((held.instance, held.done) for held in states),
            tuple((sink.id, sink.committed, sink.settled_interval) for sink in sinks),
            tuple((receiver.id, receiver.closed) for receiver in receivers),
            tuple(sealed for receiver in receivers for sealed in receiver.sealed.values()),
            tuple(self._archive.kept()),
            tuple(self.keeping.versions.names()),
            (*self.instances, *self._starting, *(held.instance for held in states), *self.keeping.restoring),
            tuple((*name, found) for name, found in self._failed.items()),
        )
        said = [Tell(word) for word in self._last_words]
        return [*said, Tell(account), *(c for i in self.instances.values() for c in i.account())]

    # -- tasks: gathering their inputs ---------------------------------------------------------------------------------

    def _on_run(self, task: RunTask) -> list[Command]:
        """Gather what the task reads: slices of blocks that lie here, and of others that are asked for."""
        if self._done_before(task):
            return [self._done_again(task)]
        gathering = self._tasks.gather(task)
        commands: list[Command] = []
        for worker, names in gathering.needed().items():
            if worker == self.worker:
                gathering.arrived(worker, [self._slice(name, gathering.groups) for name in names])
            else:
                commands.append(self._ask(gathering, worker))
        return commands + self._after_gathering(gathering)

    def _done_before(self, task: RunTask) -> bool:
        """Whether this worker has done the task already: an order may come twice after a loss."""
        held = self._tasks.held(task)
        return held is not None and held.done >= task.interval

    def _done_again(self, task: RunTask) -> Command:
        return Tell(TaskDone(task.stage, task.interval, task.partition, task.attempt, task.instance, 0.0, 0, 0))

    def _ask(self, gathering: Gathering, worker: int) -> Command:
        self._request += 1
        gathering.requests[self._request] = worker
        groups = gathering.groups
        names = tuple(gathering.needed()[worker])
        return Send(worker, WantBlocks(self.worker, self._request, names, groups.low, groups.high))

    def _asked(self, message: WantBlocks) -> list[Content | None]:
        groups = KeyInterval(message.low, message.high)
        return [self._slice(name, groups) for name in message.blocks]

    def _slice(self, block: Block, groups: KeyInterval) -> Content | None:
        stage, channel, interval, partition, whole = block
        contents = self.blocks.get(Name(stage, interval, partition))
        if contents is None:
            return None
        return contents[channel] if whole else sliced(contents[channel], groups)

    def _on_blocks(self, message: Blocks) -> list[Command]:
        gathering = self._tasks.waiting_for(message.request)
        if gathering is None:
            return []
        gathering.arrived(gathering.requests.pop(message.request), message.contents)
        return self._after_gathering(gathering)

    def _after_gathering(self, gathering: Gathering) -> list[Command]:
        """Nothing while blocks are under way; news to the scheduler if some are not where they should be."""
        if gathering.requests:
            return []
        task = gathering.task
        if gathering.missing:
            self._tasks.give_up(gathering)
            lacks = TaskLacks(task.stage, task.interval, task.partition, task.attempt, tuple(gathering.missing))
            return [Tell(lacks)]
        self._tasks.ready(gathering)
        return []

    def nudge(self) -> list[Command]:
        """Ask again for blocks that have not come in a while: a lost connection loses what was under way."""
        commands = super().nudge() + self.keeping.nudge()
        for gathering in self._tasks.overdue():
            workers = list(gathering.requests.values())
            gathering.requests.clear()
            commands += [self._ask(gathering, worker) for worker in workers]
        return commands

    # -- tasks: computing ----------------------------------------------------------------------------------------------

    def step_tasks(self, begins: Begins = unwatched) -> tuple[bool, list[Command]]:
        """Compute the next task, in order of intervals; news of state that was kept meanwhile."""
        commands: list[Command] = [Tell(news) for news in self._archive.news()]
        commands += self._sinks_taken()
        gathering = self._tasks.next(self._sink_at, self.keeping.restoring)
        if gathering is None:
            return bool(commands), commands
        began, task = self._clock(), gathering.task
        begins(task.instance or (self.stream_plan.stages[task.stage].operator, task.partition), task.after)
        try:
            commands += self._compute(gathering, began)
        except (UserError, *ENDINGS) as raised:
            error = raised if isinstance(raised, UserError) else ending_error(raised)
            channel = self._tasks.spoilt(task)
            failed = TaskFailed(task.stage, task.interval, task.partition, task.attempt, str(error), channel)
            commands.append(Tell(failed))
        return True, commands

    def committed(self, id: int, through: int, rows: int, *, final: bool) -> list[Command]:
        """The target of a sink holds everything through this tick: what it took is told before the end is."""
        commands = super().committed(id, through, rows, final=final)
        return self._sinks_taken() + commands

    def _sink_at(self, instance: int) -> int | None:
        """The interval that a sink was given last; None if it is not here, or not open yet."""
        sink = self.instances.get(instance)
        return sink.given if isinstance(sink, IntervalSink) else None

    def _compute(self, gathering: Gathering, began: float) -> list[Command]:
        task = gathering.task
        stage = self.stream_plan.stages[task.stage]
        if stage.kind is Kind.SINK:
            return self._give(gathering)
        held = self._tasks.partition_for(task)
        given, held.logic.at = gathering.given(), None
        if stage.kind is Kind.SOURCE:
            read = self._archive.read_again(stage.operator, task.partition, task.after, task.through)
            given = replace(given, read=read)
        contents = held.logic.compute(given)
        kept: list[Command] = []
        if stage.kind is Kind.STATE:
            held.done = task.interval
            kept = self.keeping.cut(held) if task.checkpoint else []
        name = Name(task.stage, task.interval, task.partition)
        self.blocks.put(name, contents)
        if failed := held.failed():
            self._failed[name] = failed
        busy_s = self._clock() - began
        done = TaskDone(
            task.stage, task.interval, task.partition, task.attempt, task.instance, busy_s,
            gathering.rows_in, content_rows(contents), failed,
        )  # fmt: skip
        return [Tell(done), *kept]

    def _give(self, gathering: Gathering) -> list[Command]:
        task = gathering.task
        sink = self._told(task.instance)
        if isinstance(sink, IntervalSink):
            sink.next_interval(gathering.given())
            self._sinks[task.instance] = (task.stage, task.partition)
        return self._sinks_taken()

    def _sinks_taken(self) -> list[Command]:
        commands: list[Command] = []
        for id, (stage, partition) in list(self._sinks.items()):
            sink = self.instances.get(id)
            if not isinstance(sink, IntervalSink):
                del self._sinks[id]
                continue
            commands += [Tell(TaskDone(stage, interval, partition, 0, id, 0.0, 0, 0)) for interval in sink.taken()]
        return commands
