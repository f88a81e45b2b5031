"""The simulator is worth its time only if it finds bugs: each of these is planted, and must be found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elastic.coordinator import draining, holders, machine, memory, reconfigure, standings
from elastic.instance import driver, host, inputs, keyed
from elastic.operators import bound_states, custom, event_clock, timers, windowed, with_timers
from elastic.plan import Edge
from elastic.protocol import Close, Hold, Retire, Send, Store, Stored, Stuck
from elastic.state import backup, buffer, folding, routing
from elastic.state.checkpoint import join_checkpoints, partition_checkpoint
from elastic.testing import world
from elastic.testing.faults import FaultKind
from elastic.testing.simulator import simulate
from elastic.testing.trials import TINY_BYTES, random_trial
from elastic.testing.verdict import ENOUGH_WORKERS

Plant = Callable[[pytest.MonkeyPatch], None]


def trim_at_once(patch: pytest.MonkeyPatch) -> None:
    """A tick is dropped as soon as one consumer is safe, not when all are."""

    def acknowledge(self: buffer.BufferState, interval: Any, tick: int) -> bool:
        self.acked[:] = np.maximum(self.acked, tick)
        self.floor = max(self.floor, tick)
        self._entries = [e for e in self._entries if e.tick > self.floor]
        return True

    patch.setattr(buffer.BufferState, "acknowledge", acknowledge)


def acknowledge_unstored(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint counts as stored when it is sent."""
    original = keyed.KeyedInstance.checkpoint

    def checkpoint(self: keyed.KeyedInstance) -> list[Any]:
        return original(self) + [c for i in self.inputs for c in i.acks(self.tau)]

    patch.setattr(keyed.KeyedInstance, "checkpoint", checkpoint)


def forget_the_merge(patch: pytest.MonkeyPatch) -> None:
    """Rows are handed over producer by producer, in the order of their ids, instead of in canonical order."""
    original = inputs.Input.on_view

    def on_view(self: inputs.Input, view: Any, tau: int) -> list[Any]:
        commands = original(self, view, tau)
        self.producers = dict(sorted(self.producers.items(), key=lambda item: -item[0]))
        return commands

    patch.setattr(inputs.Input, "on_view", on_view)


def keep_duplicates(patch: pytest.MonkeyPatch) -> None:
    """What was delivered under an earlier subscription, or twice, is processed again."""

    def on_deliver(self: inputs.Input, message: Any) -> list[Any]:
        producer = self.producers.get(message.producer)
        if producer is None:
            return []
        producer.closed = max(producer.closed, message.tick)
        producer.final = producer.final or message.final
        if message.batch is not None:
            producer.queue.append(message)
            producer.queue = deque(sorted(producer.queue, key=lambda d: d.tick))
        return []

    patch.setattr(inputs.Input, "on_deliver", on_deliver)


def accept_gaps(patch: pytest.MonkeyPatch) -> None:
    """A delivery that starts past the next tick is taken as if nothing were missing."""
    original = inputs.Input.on_deliver

    def on_deliver(self: inputs.Input, message: Any) -> list[Any]:
        producer = self.producers.get(message.producer)
        first = message.first if producer is None else min(message.first, producer.closed + 1)
        return original(self, replace(message, first=first))

    patch.setattr(inputs.Input, "on_deliver", on_deliver)


def hold_for_zombies(patch: pytest.MonkeyPatch) -> None:
    """A holder goes on storing, and acknowledging, for an instance whose checkpoint it has cut."""
    original = backup.BackupStore.on_store

    def on_store(self: backup.BackupStore, message: Any) -> list[Any]:
        if message.instance not in self._held:
            return [Send(message.worker, Stored(message.instance, message.checkpoint.tick))]
        return original(self, message)

    patch.setattr(backup.BackupStore, "on_store", on_store)


def let_zombies_log(patch: pytest.MonkeyPatch) -> None:
    """The input log takes entries of an older generation."""
    patch.setattr(world.SimulatedLog, "_check", lambda self: None)


def restart_from_nothing(patch: pytest.MonkeyPatch) -> None:
    """The cut loses what was written since the last full checkpoint."""
    patch.setattr(folding.FoldingTable, "add", lambda self, delta: None)


def lose_the_buffer(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint leaves buffer state out."""
    original = buffer.BufferState.checkpoint
    patch.setattr(buffer.BufferState, "checkpoint", lambda self, after: replace(original(self, after), entries=()))


def answer_zombies(patch: pytest.MonkeyPatch) -> None:
    """Whoever subscribes is served, whatever has superseded it, and nobody is superseded."""
    patch.setattr(routing.RoutingState, "_rivals", lambda self, message: [])


def block_replays(patch: pytest.MonkeyPatch) -> None:
    """Replayed rows that a consumer is past count as unsent."""
    original = routing.RoutingState.serve

    def serve(self: routing.RoutingState, closed: int, **options: Any) -> list[Any]:
        before = {s.consumer: s.position_bytes for s in self}
        due = original(self, closed, **options)
        reached = {d.message.consumer for d in due}
        for subscription in self:
            if subscription.consumer not in reached:
                subscription.position_bytes = before[subscription.consumer]
        return due

    patch.setattr(routing.RoutingState, "serve", serve)


def lose_credit(patch: pytest.MonkeyPatch) -> None:
    """A new subscription owes what was under way on the old one."""
    original = routing.RoutingState.subscribe

    def subscribe(self: routing.RoutingState, message: Any, **options: Any) -> Any:
        owed = {s.consumer: s.sent_bytes - s.consumed_bytes for s in self}
        result = original(self, message, **options)
        for subscription in self:
            if subscription.consumer == message.consumer:
                subscription.sent_bytes += owed.get(message.consumer, 0)
        return result

    patch.setattr(routing.RoutingState, "subscribe", subscribe)


def leave_unprotected(patch: pytest.MonkeyPatch) -> None:
    """Whose holder is lost is told of a new one, which is never told to hold."""
    original = holders.Holders.hold_elsewhere

    def hold_elsewhere(self: holders.Holders, record: Any) -> list[Any]:
        return [a for a in original(self, record) if not isinstance(getattr(a, "message", None), Hold)]

    patch.setattr(holders.Holders, "hold_elsewhere", hold_elsewhere)


def lose_a_part(patch: pytest.MonkeyPatch) -> None:
    """Of a checkpoint that is cut, the last part has no state."""
    original = partition_checkpoint

    def partition(checkpoint: Any, intervals: Any) -> list[Any]:
        *parts, last = original(checkpoint, intervals)
        return [*parts, replace(last, state=None)] if parts else [last]

    patch.setattr(backup, "partition_checkpoint", partition)


def forget_a_neighbour(patch: pytest.MonkeyPatch) -> None:
    """Of checkpoints that are joined, only the first one counts."""
    patch.setattr(backup, "join_checkpoints", lambda parts: join_checkpoints(parts[:1]))


def mix_up_outputs(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint keeps one buffer for all outputs of an operator: what the first edge was to be sent."""
    original = keyed.KeyedInstance.checkpoint

    def checkpoint(self: keyed.KeyedInstance) -> list[Any]:
        return [
            replace(c, message=replace(c.message, checkpoint=_with_one_buffer(c.message.checkpoint)))
            if isinstance(c, Send) and isinstance(c.message, Store)
            else c
            for c in original(self)
        ]

    patch.setattr(keyed.KeyedInstance, "checkpoint", checkpoint)


def _with_one_buffer(checkpoint: Any) -> Any:
    entries = next(iter(checkpoint.buffers.values())).entries
    return replace(checkpoint, buffers={e: replace(b, entries=entries) for e, b in checkpoint.buffers.items()})


def forget_the_former_holder(patch: pytest.MonkeyPatch) -> None:
    """While a checkpoint is on its way to another holder, nobody remembers that the one before has it."""
    original = holders.Holders.hand_over

    def hand_over(self: holders.Holders, record: Any) -> list[Any]:
        actions = original(self, record)
        record.former = None
        return actions

    patch.setattr(holders.Holders, "hand_over", hand_over)
    patch.setattr(draining.Draining, "_is_free", lambda self, worker: False)


def end_too_early(patch: pytest.MonkeyPatch) -> None:
    """A worker that is drained ends as soon as nothing runs there, whatever it holds."""
    patch.setattr(draining.Draining, "_is_free", lambda self, worker: True)


def close_what_was_never_logged(patch: pytest.MonkeyPatch) -> None:
    """A source that took partitions over closes ticks of one that its log says nothing of."""
    patch.setattr(driver.PartitionFeed, "pad", lambda self, *_: None)


def move_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """A source's partitions move while their old reader goes on, and its log takes what it appends."""
    let_zombies_log(patch)
    original = reconfigure.Reconfigurer.commit

    def commit(self: reconfigure.Reconfigurer, procedure: Any, worker: int | None = None) -> list[Any]:
        actions = original(self, procedure, worker)
        return [a for a in actions if not isinstance(getattr(a, "message", None), Retire)]

    patch.setattr(reconfigure.Reconfigurer, "commit", commit)


def acknowledge_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A holder acknowledges what is only on its way to the disk."""
    original = backup.BackupStore._written

    def written(self: backup.BackupStore, instance: int, term: int, checkpoint: Any, then: Any) -> list[Any]:
        return [then, *original(self, instance, term, checkpoint, Close(-1))]

    patch.setattr(backup.BackupStore, "_written", written)


def forget_what_was_begun(patch: pytest.MonkeyPatch) -> None:
    """The journal says who runs where, and not what was being done about those who were lost."""
    original = memory.recall

    def recall(coordinator: machine.Coordinator, facts: dict[str, Any]) -> None:
        original(coordinator, {**facts, "procedures": []})

    patch.setattr(machine, "recall", recall)


def give_no_account(patch: pytest.MonkeyPatch) -> None:
    """Workers do not tell a new coordinator what the one before it may not have heard."""
    patch.setattr(host.Host, "_account", lambda self: [])


def forget_timers(patch: pytest.MonkeyPatch) -> None:
    """A restored operator has lost its timers."""
    patch.setattr(timers.Timers, "restore", lambda self, keys, column: None)


def fire_when_rows_come(patch: pytest.MonkeyPatch) -> None:
    """An operator does not say when its next timer is due: it fires with the next row, or when ticks are closed."""
    patch.setattr(with_timers.TimerProcessor, "due_after", custom.RowProcessor.due_after)


def forget_ends(patch: pytest.MonkeyPatch) -> None:
    """What is restored with an end lives for ever."""
    original = bound_states.Cells.restore

    def restore(self: bound_states.Cells, keys: Any, column: Any) -> None:
        original(self, keys, column)
        if self.has_ends and self.declared.kind == "list":
            self._held = {key: [(value, 2**62) for value, _ in held] for key, held in self._held.items()}

    patch.setattr(bound_states.Cells, "restore", restore)


def hear_the_last_input_first(patch: pytest.MonkeyPatch) -> None:
    """An instance that was restored takes its inputs in another order."""
    original = keyed.make_inputs

    def make_inputs(plan: Any, start: Any, worker: int) -> list[Any]:
        return original(plan, start, worker)[:: -1 if start.cause else 1]

    patch.setattr(keyed, "make_inputs", make_inputs)


def give_up_the_whole_tick(patch: pytest.MonkeyPatch) -> None:
    """A bad record costs all rows that its instance was given with it."""

    def called(self: custom.ColumnProcessor, batch: Any, streams: Any) -> list[Any]:
        before = self._remembered(batch)
        try:
            return self._call(batch, streams)
        except ValueError:
            self._recall(before)
            return []

    patch.setattr(custom.ColumnProcessor, "_called", called)


def share_with_the_first(patch: pytest.MonkeyPatch) -> None:
    """Of a checkpoint that is cut, only the first part has what belongs to no key."""

    def partition(checkpoint: Any, intervals: Any) -> list[Any]:
        first, *others = partition_checkpoint(checkpoint, intervals)
        return [first, *(replace(part, common=None) for part in others)]

    patch.setattr(backup, "partition_checkpoint", partition)


def hear_neighbours_only(patch: pytest.MonkeyPatch) -> None:
    """A consumer takes any edge for one on which rows stay in their key groups."""
    patch.setattr(Edge, "narrow", property(lambda edge: edge.event_time is None))


def broadcast_by_interval(patch: pytest.MonkeyPatch) -> None:
    """A broadcast row goes to the instance that owns its group, as any other does."""
    patch.setattr(routing.RoutingState, "_part", lambda self, batch, to: batch.slice(to.interval))


def ignore_watchdogs(patch: pytest.MonkeyPatch) -> None:
    """Nobody listens to what watchdogs say."""
    original = standings.Whereabouts.heard

    def heard(self: standings.Whereabouts, worker: int, message: Any, now_s: float) -> None:
        if not isinstance(message, Stuck):
            original(self, worker, message, now_s)

    patch.setattr(standings.Whereabouts, "heard", heard)


def excuse_sinks(patch: pytest.MonkeyPatch) -> None:
    """A sink whose target does not return counts as one that has nothing to do."""
    original = standings.Whereabouts.still_since

    def still_since(self: standings.Whereabouts, instance: int, now_s: float) -> float | None:
        wait = self.wait(instance)
        return None if wait is not None and wait.kind == "target" else original(self, instance, now_s)

    patch.setattr(standings.Whereabouts, "still_since", still_since)


def forget_the_watermark(patch: pytest.MonkeyPatch) -> None:
    """A restored operator does not know how far event time had come."""
    patch.setattr(event_clock.EventClock, "restore", lambda self, state: None)


def keep_closed_panes(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint's delta does not say which windows are over, so that late rows find some of them after a restart."""
    original = windowed.WindowProcessor.delta

    def delta(self: windowed.WindowProcessor) -> Any:
        return replace(original(self), deleted_groups=None, deleted_keys=None)

    patch.setattr(windowed.WindowProcessor, "delta", delta)


def take_over_with_one_copy(patch: pytest.MonkeyPatch) -> None:
    """Parts take over as soon as one worker has them, though the job wants two copies."""
    patch.setattr(reconfigure.Reconfigurer, "beside", lambda self, procedure: None)


def spill_the_wrong_way_round(patch: pytest.MonkeyPatch) -> None:
    """What comes back from the disk is in another order."""
    original = world.MemorySpill.put

    def put(self: world.MemorySpill, batch: Any) -> Any:
        order = np.arange(len(batch))[::-1]
        return original(self, batch.ordered(order) if len(order) else batch)

    patch.setattr(world.MemorySpill, "put", put)


CRASHES: tuple[FaultKind, ...] = ("crash", "crash in recovery", "crash in checkpoint")
ZOMBIES: tuple[FaultKind, ...] = ("hang", "suspect")
LOSSES: tuple[FaultKind, ...] = ("break link", "slow link")
ENDS: tuple[FaultKind, ...] = ("crash at the end",)
SCALING: tuple[FaultKind, ...] = ("scale out", "scale in", "join")
DRAINS: tuple[FaultKind, ...] = ("drain", "crash in drain", "crash in drain", "crash", "crash in recovery")
SUCCESSIONS: tuple[FaultKind, ...] = ("coordinator crash", "crash in recovery", "crash", "coordinator crash")
KILLS: tuple[FaultKind, ...] = ("everything killed", "crash in checkpoint")

PAIRS: tuple[FaultKind, ...] = ("pair crash in scaling", "scale out", "scale in")
STALLS: tuple[FaultKind, ...] = ("stalled code", "stalled target")

PLANTED: list[tuple[Plant, tuple[FaultKind, ...], int]] = [
    (trim_at_once, CRASHES, 0),
    (acknowledge_unstored, CRASHES, 0),
    (forget_the_merge, CRASHES, 0),
    (keep_duplicates, LOSSES, 0),
    (accept_gaps, LOSSES, 0),
    (hold_for_zombies, ZOMBIES, 2),
    (let_zombies_log, ZOMBIES, 0),
    (restart_from_nothing, CRASHES, 0),
    (lose_the_buffer, CRASHES, 0),
    (answer_zombies, ZOMBIES, 4),
    (block_replays, CRASHES, 9),
    (lose_credit, CRASHES, 3),
    (leave_unprotected, CRASHES, 0),
    (mix_up_outputs, CRASHES, 0),
    (give_up_the_whole_tick, CRASHES, 0),
    (hear_the_last_input_first, CRASHES, 0),
    (lose_a_part, SCALING, 0),
    (forget_a_neighbour, SCALING, 2),
    (share_with_the_first, SCALING, 0),
    (hear_neighbours_only, CRASHES, 0),
    (broadcast_by_interval, SCALING, 0),
    (forget_the_former_holder, DRAINS, 0),
    (end_too_early, DRAINS, 0),
    (close_what_was_never_logged, SCALING, 14),
    (move_without_a_fence, SCALING, 0),
    (acknowledge_before_the_disk, KILLS, 15),
    (forget_what_was_begun, SUCCESSIONS, 20),
    (give_no_account, SUCCESSIONS, 0),
    (forget_timers, CRASHES, 15),
    (fire_when_rows_come, CRASHES, 15),
    (forget_ends, CRASHES, 15),
    (spill_the_wrong_way_round, CRASHES, 0),
    (ignore_watchdogs, STALLS, 0),
    (excuse_sinks, STALLS, 0),
    (forget_the_watermark, CRASHES, 23),
    (keep_closed_panes, CRASHES, 83),
    (take_over_with_one_copy, PAIRS, 11),
]
"""Each with the faults that concern it, and a seed to begin with, so that it is found soon."""

EVERY_KIND = [CRASHES, ZOMBIES, LOSSES, ENDS, SCALING, DRAINS, SUCCESSIONS, KILLS, STALLS, PAIRS]

SEEDS = 200


def is_found(seed: int, kinds: tuple[FaultKind, ...]) -> bool:
    """Whether the seed's job, in as little memory as makes every limit bite, ends other than it should."""
    trial = random_trial(seed)
    settings = replace(trial.settings, memory_bytes=TINY_BYTES, disk="on" if "everything killed" in kinds else "off")
    workers = trial.workers
    if kinds == PAIRS:
        workers, settings = ENOUGH_WORKERS, replace(settings, copies=2)
    result = simulate(
        trial.query, seed, workers=workers, faults=trial.faults, kinds=kinds, within_s=trial.within_s,
        settings=settings,
    )  # fmt: skip
    assert "TypeError" not in (result.wrong or ""), f"what was planted does not fit the code any more: {result.wrong}"
    return result.wrong is not None


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "kinds", "first"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_the_simulator_finds_a_planted_bug(
    plant: Plant, kinds: tuple[FaultKind, ...], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    assert any(is_found(seed, kinds) for seed in (*range(first, SEEDS), *range(first)))


@pytest.mark.slow
@pytest.mark.parametrize("kinds", EVERY_KIND, ids=lambda kinds: kinds[0])
def test_without_a_planted_bug_nothing_is_found(kinds: tuple[FaultKind, ...]) -> None:
    assert not any(is_found(seed, kinds) for seed in range(3))
