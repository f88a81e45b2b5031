"""Jobs that are hard to get right: for each thing that a query can do, one in which it meets others."""

from __future__ import annotations

import random
from typing import Any, Literal
from zlib import crc32

from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import FromList, from_list
from elastic.query import Query
from elastic.streams import Stream
from elastic.testing.operators import Alarms, Ends, Fold, Limits, Meeting, Sorter, Visits
from elastic.windows import session, sliding, tumbling


def random_job(chance: random.Random, seconds: float) -> Query:
    """One of them, whose sources have something to read for about so long."""
    return chance.choice(JOBS)(chance, seconds)


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


JOBS = (
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
