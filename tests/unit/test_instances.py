"""Instances, message by message: keyed operators, sinks and the driver of a source."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elastic import Context, Operator, Query, ValueState, sinks, sources
from elastic.batch import Batch, Column, rows
from elastic.connectors.base import Chunk, Malformed, Position, Reader
from elastic.errors import FencedError
from elastic.instance.driver import IDLE_CLOSE_S, PartitionFeed, SourceDriver
from elastic.instance.host import Host
from elastic.instance.keyed import KeyedInstance
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.keys import KeyInterval
from elastic.plan import Plan, Settings
from elastic.protocol import (
    Ack,
    Command,
    Commit,
    Deliver,
    Exhausted,
    Failed,
    Finish,
    Finished,
    Frozen,
    NeedCheckpoint,
    Noticed,
    ProducerRef,
    Protected,
    Send,
    Start,
    Store,
    Stored,
    StoreRefused,
    Subscribe,
    Tell,
    View,
    Want,
)
from elastic.report import FailedRecords
from elastic.testing.world import LogStore, SimulatedLog

ALL = KeyInterval(0, 4)
HOLDER, ME, SOURCE, NEXT = 8, 20, 10, 30
TICK_ZERO_S = 0.0


class Sums(Operator):
    """The running sum of each key."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        state.set((state.get() or 0) + value)
        yield key, state.get()


def plan(operator: Operator | None = None, **settings: Any) -> Plan:
    query = Query("job")
    stream = query.source(sources.from_list(list(range(20)), rate="100/s"), name="S")
    stream.key_by(lambda n: n % 3).apply(operator or Sums(), name="sums").sink(sinks.discard(), name="K")
    chosen = Settings(**{"key_groups": 4, "tick_ms": 10, "checkpoint_ms": 100, **settings})
    return replace(query.plan(workers=1, settings=chosen), tick_zero_s=TICK_ZERO_S)


def start(operator: str, instance: int = ME, **changes: Any) -> Start:
    return replace(Start(1, instance, operator, 0, ALL, 1, 1, HOLDER, None, ()), **changes)


def sent(commands: list[Command], kind: type) -> list[Any]:
    messages = (c.message if isinstance(c, Send | Tell) else c for c in commands)
    return [m for m in messages if isinstance(m, kind)]


def view(edge: int, producer: int) -> View:
    return View(1, ME, edge, 1, (ProducerRef(producer, ALL, 5),))


# -- keyed -------------------------------------------------------------------------------------------------------------


class Keyed:
    """A keyed instance with one producer and one consumer, and what it said."""

    def __init__(self, checkpoint: Any = None, operator: Operator | None = None, **settings: Any) -> None:
        self.instance = KeyedInstance(plan(operator, **settings), start("sums"), 3, checkpoint)
        self.told = self.instance.on_view(view(0, SOURCE))
        subscription = Subscribe(1, ME, NEXT, 6, ALL, self.instance.tau, 1, 1, 1 << 20)
        self.told += self.instance.on_subscribe(subscription)

    def deliver(self, tick: int, *values: Any, final: bool = False) -> list[Command]:
        first = self.instance.inputs[0].closed + 1
        batch = Batch(np.zeros(len(values), np.uint16), [0] * len(values), list(values)) if values else None
        commands = self.instance.on_deliver(Deliver(0, SOURCE, ME, 1, first, tick, batch, 10, 1, final=final))
        moved = True
        while moved:
            moved, more = self.instance.step()
            commands += more
        return commands

    def checkpoint(self, tick: int, *values: int, final: bool = False) -> Store:
        store: Store
        (store,) = sent(self.deliver(tick, *values, final=final), Store)
        return store


def emitted(commands: list[Command]) -> list[tuple[int, list[Any]]]:
    return [(d.tick, rows(d.batch.values)) for d in sent(commands, Deliver) if d.batch is not None]


def test_what_is_emitted_for_a_tick_goes_out_with_it() -> None:
    assert emitted(Keyed().deliver(3, 1, 2)) == [(3, [(0, 1), (0, 3)])]


def test_a_checkpoint_is_cut_where_time_passes_a_multiple_of_its_interval() -> None:
    keyed = Keyed()

    assert sent(keyed.deliver(9, 1), Store) == []
    (store,) = sent(keyed.deliver(11, 1), Store)
    assert (store.checkpoint.tick, store.checkpoint.base) == (11, None)


def test_producers_may_trim_only_when_the_checkpoint_is_stored() -> None:
    keyed = Keyed()
    commands = keyed.deliver(11, 1)
    assert sent(commands, Ack) == []

    stored = keyed.instance.on_stored(Stored(ME, 11), HOLDER)

    assert [(a.producer, a.tick) for a in sent(stored, Ack)] == [(SOURCE, 11)]
    assert sent(stored, Protected) == [Protected(ME, HOLDER)]


def test_the_answer_of_a_holder_that_was_replaced_counts_for_nothing() -> None:
    keyed = Keyed()
    keyed.deliver(11, 1)
    (full,) = sent(keyed.instance.on_set_holder(9, 1), Store)

    assert full.checkpoint.base is None
    assert keyed.instance.on_stored(Stored(ME, 11), HOLDER) == []
    assert len(sent(keyed.instance.on_stored(Stored(ME, 11), 9), Ack)) == 1


def test_a_checkpoint_at_tick_0_protects_nothing() -> None:
    """Nothing can be trimmed for it: the instance may still start from tick 0."""
    keyed = Keyed()
    keyed.instance.on_set_holder(9, 1)

    assert sent(keyed.instance.on_stored(Stored(ME, 0), 9), Protected) == []


def test_a_refused_checkpoint_is_followed_by_a_full_one_though_time_stands_still() -> None:
    keyed = Keyed()
    keyed.deliver(11, 1)
    keyed.instance.on_store_refused(StoreRefused(ME, 11), HOLDER)

    (again,) = sent(keyed.instance.nudge(), Store)

    assert (again.checkpoint.tick, again.checkpoint.base) == (11, None)


def test_a_checkpoint_that_is_not_answered_is_sent_again_whole() -> None:
    keyed = Keyed()
    keyed.deliver(11, 1)

    assert sent(keyed.instance.nudge(), Store) == []
    (again,) = sent(keyed.instance.nudge(), Store)

    assert (again.checkpoint.tick, again.checkpoint.base) == (11, None)


def test_a_checkpoint_that_cannot_be_made_when_it_is_sent_again_is_the_users_error() -> None:
    class Keeps(Operator):
        def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
            state.set({**(state.get() or {}), ctx.tick: value})

    keyed = Keyed(operator=Keeps())
    keyed.checkpoint(11, 1)
    keyed.instance.on_store_refused(StoreRefused(ME, 11), HOLDER)
    keyed.deliver(12, threading.Lock())
    host = Host(3, plan())
    host.instances[ME] = keyed.instance

    (failed,) = sent(host.nudge(), Failed)

    assert (failed.instance, failed.operator) == (ME, "sums")
    assert "a value for key 0 that cannot leave its process" in failed.error
    assert host.instances == {}


def test_an_instance_restored_from_its_checkpoint_goes_on_where_it_was() -> None:
    store = Keyed().checkpoint(11, 1, 2)

    restored = Keyed(store.checkpoint)

    assert restored.instance.tau == 11
    assert emitted(restored.deliver(12, 4)) == [(12, [(0, 7)])]


def test_an_instance_restored_after_the_end_says_that_it_was_the_end() -> None:
    store = Keyed().checkpoint(4, 1, final=True)

    restored = KeyedInstance(plan(), start("sums"), 3, store.checkpoint)
    told = restored.on_subscribe(Subscribe(1, ME, NEXT, 6, ALL, 0, 1, 1, 1 << 20))

    assert [(d.tick, d.final) for d in sent(told, Deliver)] == [(4, True)]


def test_a_full_buffer_of_a_producer_brings_the_checkpoint_forward() -> None:
    keyed = Keyed()
    keyed.deliver(3, 1)

    (store,) = sent(keyed.instance.on_need_checkpoint(NeedCheckpoint(0, ME)), Store)

    assert store.checkpoint.tick == 3


def test_an_instance_without_a_holder_lets_its_producers_trim_at_once() -> None:
    keyed = Keyed()
    keyed.deliver(3, 1)

    assert [a.tick for a in sent(keyed.instance.on_set_holder(None, 1), Ack)] == [3]


# -- sinks -------------------------------------------------------------------------------------------------------------


class Sinking:
    """A sink's instance that begins with these ticks in its target."""

    def __init__(self, *committed: tuple[KeyInterval, int]) -> None:
        self.instance = SinkInstance(plan(), start("K", cause=""), 3, committed or ((ALL, 0),))
        self.subscribed = sent(self.instance.on_view(view(1, SOURCE)), Subscribe)

    def deliver(self, tick: int, *groups: int, final: bool = False) -> list[Command]:
        first = self.instance.inputs[0].closed + 1
        batch = Batch(np.array(groups, np.uint16), None, [f"{tick}.{g}" for g in groups]) if groups else None
        commands = self.instance.on_deliver(Deliver(1, SOURCE, ME, 1, first, tick, batch, 10, 1, final=final))
        moved = True
        while moved:
            moved, more = self.instance.step()
            commands += more
        return commands


def written(commit: Commit) -> list[tuple[int, list[Any]]]:
    return [(tick, rows(batch.values)) for tick, batch in commit.ticks if batch.values is not None]


def test_a_sink_starts_at_the_lowest_tick_of_its_target_and_drops_what_lies_beyond() -> None:
    sink = Sinking((KeyInterval(0, 2), 7), (KeyInterval(2, 4), 4))
    assert [s.after for s in sink.subscribed] == [4]

    (commit,) = sent(sink.deliver(6, 0, 1, 2), Commit)

    assert written(commit) == [(6, ["6.2"])]


def test_one_commit_is_under_way_at_a_time_and_the_next_takes_all_that_came_meanwhile() -> None:
    sink = Sinking()
    (first,) = sent(sink.deliver(1, 0), Commit)
    assert sent(sink.deliver(2, 0), Commit) == []
    assert sent(sink.deliver(3, 0), Commit) == []

    (second,) = sent(sink.instance.on_committed(1, 1, final=False), Commit)

    assert (first.through, second.through) == (1, 3)
    assert written(second) == [(2, ["2.0"]), (3, ["3.0"])]


def test_a_sink_acknowledges_what_its_target_has_and_not_what_it_was_given() -> None:
    sink = Sinking()
    sink.deliver(5, 0)

    kept_back = sink.instance.on_committed(3, 1, final=False)

    assert [a.tick for a in sent(kept_back, Ack)] == [3]


def test_a_sink_is_finished_when_the_final_tick_is_in_its_target() -> None:
    sink = Sinking()
    (commit,) = sent(sink.deliver(4, 0, final=True), Commit)
    assert commit.final

    told = sink.instance.on_committed(4, 1, final=True)

    assert sent(told, Finished) == [Finished(ME, 4, 1)]


def test_a_sink_restored_after_the_end_finishes_again() -> None:
    sink = Sinking((ALL, 4))
    sink.instance.on_deliver(Deliver(1, SOURCE, ME, 1, 4, 4, final=True))

    (commit,) = sent(sink.instance.step()[1], Commit)

    assert (commit.ticks, commit.through, commit.final) == ((), 4, True)


def test_a_sink_that_is_drained_commits_even_ticks_without_rows() -> None:
    sink = Sinking()
    sink.deliver(5)

    (commit,) = sent(sink.instance.on_drain(5), Commit)
    assert commit.through == 5
    assert sent(sink.instance.on_committed(5, 0, final=commit.final), Finished) == [Finished(ME, 5)]


# -- sources -----------------------------------------------------------------------------------------------------------


class Reading:
    """A source's driver over a log that outlives it, with a clock that is set."""

    def __init__(
        self, store: LogStore | None = None, generation: int = 1, reader: Reader | None = None, **settings: Any
    ) -> None:
        self.plan, self.store = plan(**settings), store or LogStore()
        self.now = 0.0
        log = SimulatedLog(self.store, generation)
        self.instance = SourceInstance(self.plan, start("S", SOURCE), [log.floor])
        feed = PartitionFeed(ALL, reader or self.plan.operators["S"].partitions[0].open(), log)
        self.driver = SourceDriver(self.plan, self.instance, [feed], lambda: TICK_ZERO_S + self.now, lambda _: None)
        self.instance.on_subscribe(Subscribe(0, SOURCE, ME, 3, ALL, log.floor, 1, 1, 1 << 20))

    def step(self, now: float) -> list[Command]:
        self.now = now
        return self.driver.step()


def test_a_tick_is_logged_by_the_time_it_is_sent() -> None:
    source = Reading()

    (delivered,) = sent(source.step(0.1), Deliver)

    assert delivered.tick == source.store.entries[-1].tick == 10
    assert source.store.entries[-1].records == len(delivered.batch)


def test_a_rate_lets_through_what_is_due_and_no_more() -> None:
    source = Reading()
    source.step(0.05)
    source.step(0.10)
    source.step(0.10)

    assert [entry.records for entry in source.store.entries] == [5, 5]


def test_a_source_that_is_late_catches_up_in_ticks_that_are_not_too_large() -> None:
    source = Reading()
    source.step(0.19)
    source.step(0.20)

    assert [entry.records for entry in source.store.entries] == [10, 10]


def test_a_successor_catches_up_on_what_its_predecessor_was_late_with() -> None:
    first = Reading()
    first.step(0.19)

    successor = Reading(first.store, generation=2)
    successor.now = 0.20
    while len(first.store.entries) < 2:
        successor.step(0.20)

    assert [entry.records for entry in first.store.entries] == [10, 10]
    assert [entry.owed for entry in first.store.entries] == [9, 0]


def test_a_successor_replays_what_was_logged_tick_by_tick_and_goes_on_behind_it() -> None:
    first = Reading()
    seen = sent(first.step(0.05) + first.step(0.10), Deliver)

    successor = Reading(first.store, generation=2)
    replayed = sent(successor.step(0.15) + successor.step(0.15), Deliver)

    assert [(d.tick, d.fingerprint) for d in replayed] == [(d.tick, d.fingerprint) for d in seen]
    (live,) = sent(successor.step(0.15), Deliver)
    assert live.tick == 15
    assert successor.store.entries[-1].start == seen_records(first.store)


def test_how_much_was_read_is_known_to_a_successor_that_reads_none_of_it_again() -> None:
    first = Reading()
    first.step(0.05)
    first.step(0.10)
    first.store.floor = first.store.entries[-1].tick

    successor = Reading(first.store, generation=2)

    ((_, records, size_bytes),) = successor.driver.read
    assert records == seen_records(first.store) > 0
    assert size_bytes == sum(entry.size_bytes for entry in first.store.entries)
    assert successor.driver.read == first.driver.read


def seen_records(store: LogStore) -> int:
    return sum(entry.records for entry in store.entries[:2])


def test_a_predecessor_that_goes_on_is_refused_by_the_log() -> None:
    first = Reading()
    first.step(0.05)
    Reading(first.store, generation=2)

    with pytest.raises(FencedError):
        first.step(0.10)
    assert len(first.store.entries) == 1


def test_an_idle_source_closes_at_once_what_a_consumer_waits_for_and_else_seldom() -> None:
    source = Reading()
    source.step(0.10)
    source.step(0.25)  # reads all that is left
    assert [d.tick for d in sent(source.step(0.27), Deliver)] == [27]  # the next after rows, of which all are told
    assert sent(source.step(0.28), Deliver) == []

    source.instance.on_want(Want(0, SOURCE, ME, 30))
    assert source.driver.wakes_at == pytest.approx(TICK_ZERO_S + 0.30)
    assert [d.tick for d in sent(source.step(0.31), Deliver)] == [31]
    assert source.driver.wakes_at == pytest.approx(TICK_ZERO_S + 0.31 + IDLE_CLOSE_S)


def test_a_source_that_is_exhausted_says_so_once_and_goes_on_closing() -> None:
    source = Reading()

    assert sent(source.step(0.10), Exhausted) == []
    assert len(sent(source.step(0.25), Exhausted)) == 1
    later = source.step(0.25 + IDLE_CLOSE_S)
    assert sent(later, Exhausted) == []
    assert len(sent(later, Deliver)) == 1


def test_a_frozen_source_closes_nothing_until_it_is_told_the_end() -> None:
    source = Reading()
    source.step(0.05)

    assert sent(source.driver.on_freeze(), Frozen) == [Frozen(SOURCE, 5)]
    assert source.step(5.0) == []
    source.driver.on_finish(Finish(1, SOURCE, 9, final=True))
    assert [(d.tick, d.final) for d in sent(source.step(5.0), Deliver)] == [(9, True)]
    assert source.store.entries[-1].final


def test_a_source_that_is_frozen_while_it_replays_answers_when_it_is_through() -> None:
    first = Reading()
    first.step(0.05)
    successor = Reading(first.store, generation=2)

    assert successor.driver.on_freeze() == []
    successor.step(0.2)
    assert sent(successor.step(0.2), Frozen) == [Frozen(SOURCE, 5)]


def test_a_source_stops_reading_while_its_buffer_is_full_and_time_goes_on() -> None:
    source = Reading(memory_bytes=64)
    source.step(0.05)
    assert source.instance.full

    source.instance.on_want(Want(0, SOURCE, ME, 10))
    (closing,) = sent(source.step(0.11), Deliver)

    assert (closing.tick, closing.batch) == (11, None)
    source.instance.on_ack(Ack(0, SOURCE, ALL, 11))
    assert len(sent(source.step(0.15), Deliver)[0].batch) > 0


def test_the_log_is_trimmed_where_every_consumer_is_safe_and_somebody_was_told_what_was_read() -> None:
    """A successor replays the rest, and counts it; what it does not replay, it could not count."""
    source = Reading()
    source.step(0.05)
    source.instance.on_ack(Ack(0, SOURCE, ALL, 5))

    source.step(0.10)
    assert source.store.floor == 4

    source.instance.tell()
    source.step(0.15)
    assert source.store.floor == 5


def test_what_failed_stays_in_the_log_until_more_is_told_since_an_account_may_be_lost_with_its_worker() -> None:
    source = Reading()
    source.step(0.05)
    failed = FailedRecords("map(f)", 1, 0, "ValueError")
    source.instance.failures.append((5, 0, failed))
    source.instance.on_ack(Ack(0, SOURCE, ALL, 5))

    assert source.instance.tell() == [(5, 0, failed)]
    source.step(0.10)
    assert source.store.floor == 4

    assert source.instance.tell() == []
    source.step(0.15)
    assert source.store.floor == 5


class Once(Reader):
    """Gives numbers that it cannot give again; says aloud where it begins, and skips the first record."""

    def __init__(self) -> None:
        self._next = 0

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._next = position

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        if self._next >= 4:
            return None
        number, self._next = self._next, self._next + 2
        malformed = (Malformed("x", "line 1", "no number"),) if number == 0 else ()
        rows = [number, number + 1][len(malformed) :]
        self.finished = self._next == 4
        return Chunk(rows, self._next, 8, 2, len(malformed), malformed, kept=repr(rows).encode())

    def reread(self, start: Position, end: Position) -> Column:
        raise AssertionError("it cannot")

    def recall(self, kept: bytes) -> Column:
        return list(json.loads(kept))

    def notices(self) -> Sequence[str]:
        return [f"at {self._next}"] if self._next == 2 else []


def test_what_cannot_be_read_again_is_made_again_from_the_log() -> None:
    first = Reading(reader=Once())
    seen = sent(first.step(0.05) + first.step(0.10), Deliver)
    assert [e.kept for e in first.store.entries] == [(b"[1]",), (b"[2, 3]",)]

    successor = Reading(first.store, generation=2, reader=Once())
    replayed = sent(successor.step(0.15) + successor.step(0.15), Deliver)

    assert [(d.tick, d.fingerprint) for d in replayed] == [(d.tick, d.fingerprint) for d in seen]
    assert len(sent(successor.step(0.15), Exhausted)) == 1


def test_a_reader_that_has_something_to_say_is_heard_once_and_what_it_skipped_is_counted() -> None:
    source = Reading(reader=Once())

    told = sent(source.step(0.05), Noticed)

    assert [m.text for m in told] == ["at 2"]
    ((_, _, found),) = source.instance.failures
    assert (found.skipped, found.diverted, found.example) == (1, 0, "no number (line 1) on record 'x'")
    assert sent(source.step(0.10), Noticed) == []


class Silent(Once):
    """Has nothing, and has not come to its end either."""

    asked = 0

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        self.asked += 1
        return None


def test_a_reader_that_has_nothing_is_asked_once_a_tick_and_what_was_due_meanwhile_is_not_saved_up() -> None:
    reader = Silent()
    source = Reading(reader=reader)

    for now in (0.101, 0.125, 0.149):
        source.step(now)
        assert now + 0.001 < source.driver.wakes_at - TICK_ZERO_S < now + 0.025
    assert reader.asked == 3
    source.step(5.0)
    assert source.driver._pace.allowance(0, TICK_ZERO_S + 5.0) == (source.plan.settings.tick_bytes, 0)
