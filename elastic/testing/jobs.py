"""Jobs that are hard to get right, and the clusters they run on, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict
from zlib import crc32

import numpy as np

from elastic.batch import Column, rows
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import FromList, from_list
from elastic.operators.base import BroadcastContext, ColumnState, Context, Operator, Timer, ValueState
from elastic.operators.states import ListState, MapState
from elastic.plan import Settings
from elastic.policies import Policy, Threshold, TrueRates
from elastic.query import Query
from elastic.streams import Stream
from elastic.windows import session, sliding, tumbling

TINY_BYTES = 4 << 10
"""A worker's memory with which every credit window, queue and buffer is full all the time."""


STALL_AFTER_MS = 400
"""A virtual job lasts a second or three."""


class Fold(Operator):
    """Hashes every value into the key's state: another order of rows, a lost or a repeated one gives another hash."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash."""
        folded = crc32(repr((state.get() or 0, ctx.input, ctx.tick, value)).encode())
        state.set(folded)
        yield key, folded


class Sorter(Operator):
    """A fold that emits every third value on an output of its own, and each value a second time on another.

    It fails on some values, when it has done all of that.
    """

    outputs = ("thirds", "all")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash on the main output or on the other."""
        folded = crc32(repr((state.get() or 0, ctx.tick, value)).encode())
        state.set(folded)
        ctx.emit("all", (key, folded))
        if folded % 3:
            yield key, folded
        else:
            ctx.emit("thirds", (key, folded))
        if folded % 7 == 0:
            raise ValueError(f"{folded} is a multiple of seven")


class Alarms(Operator):
    """Timers that rows set, move and cancel and that set the next; a list and a map whose entries end by themselves."""

    seen = ListState(int, ttl="150ms")
    ticks = MapState(int, int, ttl="80ms")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        """Wake up soon, and after a silence."""
        number = value[1] % 5
        self.seen.append(number)
        self.ticks[number] = ctx.tick
        if number == 0:
            ctx.cancel_timer("soon")
        else:
            ctx.set_timer(ctx.now + number / 60, "soon")
        ctx.set_timer(ctx.now + 0.2, "silence")

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit a hash of all that is there."""
        folded = crc32(repr((state.get() or 0, timer, ctx.tick, self.seen.get(), dict(self.ticks))).encode())
        state.set(folded)
        if timer.name == "soon" and folded % 3 == 0:
            ctx.set_timer(timer.time + 0.04, "soon")
        yield key, folded


class Meeting(Operator):
    """Hashes the rows of two inputs into one state, each in its own way."""

    inputs = ("records", "counts")

    def process_records(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash."""
        state.set(crc32(repr((state.get() or 0, ctx.tick, value)).encode()))
        yield key, state.get()

    def process_counts(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        """Only change the state."""
        state.set(crc32(repr(("counts", ctx.input, state.get(), value)).encode()))


class Ends(Operator):
    """Timers by event time, and a value that lives by it."""

    last = ValueState(ttl="300ms", clock="event")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, ...]]:
        """Wake up when event time has come a little further."""
        yield key, crc32(repr((value, self.last.get(), ctx.event_time, ctx.watermark)).encode())
        self.last.set(value["value"])
        ctx.set_timer((ctx.event_time or 0) + 0.15, clock="event")

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[tuple[Any, ...]]:
        """Emit when it came."""
        yield key, timer.time, ctx.tick, self.last.get()


class Visits(Operator):
    """Counts by columns, and forgets a key at every fourth row: deletions travel in checkpoints too. Fails on some."""

    def process_columns(
        self, keys: Column, values: Column, state: ColumnState, ctx: Context
    ) -> tuple[Column, Column] | None:
        """Emit the number of rows so far, with a number that only this tick and group have."""
        if any(value[1] == 4 and value[0] % 5 == 0 for value in rows(values)):
            raise ValueError("one of these will not do")
        counts = dict(zip(rows(keys), state.get_many(keys), strict=True))
        emitted = []
        for key in rows(keys):
            counts[key] = (counts[key] or 0) + 1
            emitted.append(counts[key] * 1000 + ctx.tick)
        state.set_many(list(counts), [None if count % 4 == 0 else count for count in counts.values()])
        return keys, np.array(emitted).tolist()


class How(TypedDict):
    """What the ``simulate`` of every model is called with."""

    settings: Settings
    workers: int
    spares: int
    faults: int
    within_s: float
    stop_at_s: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A job and how it is to be broken.

    Attributes:
        faults: How many, in the first ``within_s`` virtual seconds.
        stop_at_s: When the user stops it; None if it runs to the end.
    """

    query: Query
    settings: Settings
    workers: int
    spares: int
    faults: int
    within_s: float
    stop_at_s: float | None

    @property
    def how(self) -> How:
        """On what cluster it is simulated, and how it is broken."""
        return {
            "settings": self.settings, "workers": self.workers, "spares": self.spares, "faults": self.faults,
            "within_s": self.within_s, "stop_at_s": self.stop_at_s,
        }  # fmt: skip


DISK_SHARE = 0.5
"""In so many of the worlds checkpoints lie on the disk too; in the others, losses of two workers at once tell."""

COPIES_SHARE = 0.3
"""In so many of the worlds two workers keep each checkpoint."""

POLICY_SHARE = 0.2
"""In so many of the worlds a policy decides how many instances there are, beside what faults do."""

PERIODS_S = 0.04, 0.1
"""So often it is asked: fewer instances come after six periods in a row."""

PARTS_SHARE = 0.3
"""In so many of the worlds a lost instance is restored as several."""


def random_trial(seed: int) -> Trial:
    """Every seed is another job, cluster and history; the faults themselves are drawn by the simulation."""
    chance = random.Random(f"job {seed}")
    seconds = chance.choice((0.6, 0.7, 0.8, 0.9, 3.0))
    queries = (
        _diamond,
        _two_sources,
        _two_sinks,
        _inputs,
        _outputs,
        _rankings,
        _timers,
        _broadcasts,
        _windows,
        _joins,
        _panes,
    )
    query = chance.choice(queries)(chance, seconds)
    memory = chance.choice((512 << 20, 512 << 20, TINY_BYTES))
    checkpoint = chance.choice((60, 100, 200))
    partitions = chance.choice((0, 0, 3, 5))
    settings = Settings(
        tick_ms=10,
        checkpoint_ms=checkpoint,
        key_groups=16,
        memory_bytes=memory,
        seed=seed,
        partitions=partitions,
        stall_after_ms=STALL_AFTER_MS,
        spill_bytes=chance.choice((1 << 30, 1 << 30, 2 * TINY_BYTES, 0)),
    )
    stop = chance.random() * seconds if chance.random() < 0.08 else None
    faults = chance.choice((2, 2, 3, 4))
    workers, spares = chance.choice((2, 3, 4)), chance.choice((0, 1, 1, 2))
    if chance.random() >= DISK_SHARE:
        settings = replace(settings, disk="off")
    if chance.random() < COPIES_SHARE:
        settings = replace(settings, copies=2)
    if chance.random() < PARTS_SHARE:
        settings = replace(settings, recovery_parts=chance.choice((2, 3)))
    if chance.random() < POLICY_SHARE:
        settings = replace(settings, scaling=_policy(chance))
    return Trial(query, settings, workers, spares, faults, seconds, stop)


def _policy(chance: random.Random) -> Policy:
    period_s, at_most = chance.choice(PERIODS_S), chance.choice((3, 8))
    if chance.random() < 0.5:
        return Threshold(reports=chance.choice((1, 2)), period_s=period_s, at_most=at_most)
    return TrueRates(period_s=period_s, at_most=at_most)


class Limits(Operator):
    """Hashes every value with what broadcast rows have made of the limits so far."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        """Keep a hash of the limit, which depends on all before it."""
        shared[value[0]] = crc32(repr((shared, ctx.input, ctx.tick, value)).encode())

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit a hash of the row, of those before it, and of all limits."""
        folded = crc32(repr((state.get() or 0, ctx.tick, value, dict(ctx.shared))).encode())
        state.set(folded)
        yield key, folded


def _records(chance: random.Random, seconds: float, count: int) -> FromList:
    records = [(chance.randrange(25), chance.randrange(5)) for _ in range(count)]
    return from_list(records, rate=f"{count / seconds:.0f}/s")


def _diamond(chance: random.Random, seconds: float) -> Query:
    """S feeds a fold and a count under different keys, both feed another fold, which feeds the sink."""
    query = Query("diamond")
    pairs = query.source(_records(chance, seconds, chance.choice((80, 150))), name="S")
    folded = pairs.key_by(_first).apply(Fold(), name="A")
    counted = pairs.filter(_is_odd).key_by(_first_of_eleven).count(emit=_period(chance), name="C")
    both = folded.key_by(_first_of_seven).union(counted.key_by(_first_of_five)).apply(Fold(), name="B")
    both.sink(DiscardSink(), name="K")
    return query


def _two_sources(chance: random.Random, seconds: float) -> Query:
    """A fold of one source and sums of another, which ends at another time, are folded together."""
    query = Query("two-sources")
    folded = query.source(_records(chance, seconds, 80), name="S").key_by(_first).apply(Fold(), name="A")
    other = query.source(_records(chance, seconds * chance.choice((0.2, 0.5, 1.1)), 60), name="T")
    summed = other.key_by(_first_of_eleven).sum(_second, emit=_period(chance), name="C")
    both = folded.key_by(_first_of_seven).union(summed.key_by(_first_of_five)).apply(Fold(), name="B")
    both.sink(DiscardSink(), name="K")
    return query


def _two_sinks(chance: random.Random, seconds: float) -> Query:
    """Columns, then a fold that reads the same stream twice under two keys; a reduction of it, and two sinks."""
    query = Query("two-sinks")
    keyed = query.source(_records(chance, seconds, 80), name="S").key_by(_first)
    visits: Stream = keyed.apply(Visits(), name="V", on_error="skip")
    twice = visits.key_by(_first_of_seven).union(visits.key_by(_first_of_five)).apply(Fold(), name="B")
    twice.key_by(_first).reduce(_mixed, _second, emit=_period(chance), name="R").sink(DiscardSink(), name="K")
    twice.sink(DiscardSink(), name="L")
    return query


def _inputs(chance: random.Random, seconds: float) -> Query:
    """A fold of connected streams that tells them apart; a table made of it, which one of them is joined with."""
    query = Query("inputs")
    left = query.source(_records(chance, seconds, 80), name="S").key_by(_first_of_eleven)
    right = query.source(_records(chance, seconds * chance.choice((0.5, 1.1)), 60), name="T")
    counted = right.key_by(_first_of_five).count(emit=_period(chance), name="C")
    both = left.union(right.key_by(_first_of_eleven)).connect(counted.key_by(_first_of_five)).apply(Meeting(), name="A")
    table = both.key_by(_first_of_seven).map_values(_unless_even)
    how: Literal["inner", "left"] = chance.choice(("inner", "left"))
    joined = left.join(table, how=how, name="J").map(_flat)
    joined.key_by(_first_of_five).apply(Fold(), name="B").sink(DiscardSink(), name="K")
    return query


def _unless_even(row: tuple[int, int]) -> tuple[int, int] | None:
    return row if row[1] % 2 else None


def _flat(row: Any) -> tuple[int, int]:
    return row[0], crc32(repr(row).encode())


def _outputs(chance: random.Random, seconds: float) -> Query:
    """Named outputs of one operator, read under other keys, branched, and folded together; and records that fail."""
    query = Query("outputs")
    halved = query.source(_records(chance, seconds, 80), name="S").map(_halved, on_error="divert")
    sorter = halved.key_by(_first).apply(Sorter(), name="A", on_error="divert")
    thirds = sorter.output("thirds").key_by(_first_of_seven).count(emit=_period(chance), name="C")
    odd, even = sorter.output("all").branch(odd=_is_odd, even=None).values()
    both = thirds.key_by(_first_of_five).union(odd.key_by(_first_of_five)).apply(Fold(), name="B")
    both.union(even).sink(DiscardSink(), name="K")
    sorter.sink(DiscardSink(), name="L")
    halved.output("errors").union(sorter.output("errors")).sink(DiscardSink(), name="M")
    return query


def _rankings(chance: random.Random, seconds: float) -> Query:
    """Sums that fall as well as rise are ranked, in two levels; distinct rows are folded, and some forgotten."""
    query = Query("rankings")
    pairs = query.source(_records(chance, seconds, chance.choice((80, 150))), name="S")
    summed = pairs.key_by(_first).sum(_balance, emit=_period(chance), name="C")
    summed.top_k(3, emit=_period(chance), name="T").sink(DiscardSink(), name="K")
    lately = pairs.rebalance(name="R").distinct(_first, ttl="100ms", name="D")
    seen = lately.union(pairs.key_by(_first_of_five).distinct(_second, name="E"))
    seen.key_by(_first_of_seven).apply(Fold(), name="A").sink(DiscardSink(), name="L")
    return query


def _timers(chance: random.Random, seconds: float) -> Query:
    """Two operators with timers, one behind the other, while rows still come and when they have stopped coming."""
    query = Query("timers")
    records = _records(chance, seconds * chance.choice((0.3, 1)), 80)
    first = query.source(records, name="S").key_by(_first).apply(Alarms(), name="A")
    first.key_by(_first_of_seven).apply(Alarms(), name="B").sink(DiscardSink(), name="K")
    first.key_by(_first_of_five).apply(Fold(), name="C").sink(DiscardSink(), name="L")
    return query


def _broadcasts(chance: random.Random, seconds: float) -> Query:
    """Limits from a source and limits that a fold makes are known to all instances of an operator."""
    query = Query("broadcasts")
    pairs = query.source(_records(chance, seconds, chance.choice((80, 150))), name="S")
    other = query.source(_records(chance, seconds * chance.choice((0.2, 0.5, 1.1)), 30), name="T")
    folded = other.key_by(_first).apply(Fold(), name="A").filter(_is_odd)
    limited = pairs.key_by(_first).union(other.broadcast(), folded.broadcast()).apply(Limits(), name="B")
    limited.sink(DiscardSink(), name="K")
    return query


def _windows(chance: random.Random, seconds: float) -> Query:
    """Windows by event time of rows that come out of order, late ones read; and windows of their results."""
    query = Query("windows")
    timed = _timed(query, chance, seconds)
    spec = chance.choice((tumbling("100ms"), sliding("150ms", "50ms"), session("30ms")))
    summed = timed.key_by(_first).window(spec, lateness=chance.choice(("0s", "50ms"))).sum(_third, name="W")
    summed.output("late").sink(DiscardSink(), name="K")
    summed.key_by(_start).window(tumbling("200ms")).count(name="V").sink(DiscardSink(), name="L")
    return query


def _joins(chance: random.Random, seconds: float) -> Query:
    """A join in windows by event time, timers by event time behind it, and windows by processing time."""
    query = Query("joins")
    timed = _timed(query, chance, seconds)
    large = timed.filter(_is_large).key_by(_first)
    pairs = timed.key_by(_first).window(session("20ms")).join(large, how="left", name="J")
    pairs.key_by(_start).apply(Ends(), name="E").sink(DiscardSink(), name="L")
    timed.key_by(_first_of_five).window(tumbling("50ms"), time="processing").max(_third, name="P").sink(
        DiscardSink(), name="M"
    )
    return query


def _panes(chance: random.Random, seconds: float) -> Query:
    """Windows by processing time, sliding and sessions, of rows that stop coming before the job ends."""
    query = Query("panes")
    rows = query.source(_records(chance, seconds * chance.choice((0.5, 1)), 80), name="S")
    sums = rows.key_by(_first).window(sliding("150ms", chance.choice(("50ms", "70ms")))).sum(_second, name="W")
    sums.key_by(_start).apply(Fold(), name="A").sink(DiscardSink(), name="K")
    visits = rows.key_by(_first_of_seven).window(session("60ms")).reduce(_mixed, _second, name="V")
    visits.sink(DiscardSink(), name="L")
    return query


def _timed(query: Query, chance: random.Random, seconds: float) -> Stream:
    """Rows with event times that go forward, more or less."""
    count = chance.choice((60, 120))
    records = [(chance.randrange(7), n * 10 + chance.randrange(-60, 60), chance.randrange(9)) for n in range(count)]
    source = query.source(from_list(records, rate=f"{count / seconds:.0f}/s"), name="S")
    return source.event_time(_second, slack="40ms", idle=chance.choice((None, "100ms")), unit="ms")


def _period(chance: random.Random) -> str:
    return chance.choice(("tick", "50ms", "end"))


def _first(row: tuple[int, int]) -> int:
    return row[0]


def _second(row: tuple[int, int]) -> int:
    return row[1]


def _balance(row: tuple[int, int]) -> int:
    return row[1] - 2


def _halved(row: tuple[int, int]) -> tuple[int, int]:
    return row[0], 60 // row[1]


def _mixed(one: int, other: int) -> int:
    return crc32(repr((one, other)).encode())


def _third(row: tuple[int, int, int]) -> int:
    return row[2]


def _is_large(row: tuple[int, int, int]) -> bool:
    return row[2] > 4


def _start(row: dict[str, float]) -> float:
    return row["start"]


def _is_odd(row: tuple[int, int]) -> bool:
    return row[1] % 2 == 1


def _first_of_eleven(row: tuple[int, int]) -> int:
    return row[0] % 11


def _first_of_seven(row: tuple[int, int]) -> int:
    return row[0] % 7


def _first_of_five(row: tuple[int, int]) -> int:
    return row[0] % 5
