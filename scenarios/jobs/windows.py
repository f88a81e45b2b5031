"""Clicks in windows by event time: how often each page was seen in five seconds, and how long visits last.

The job is ``query``. ``check`` puts the same clicks into windows once more, in a loop and without the runtime;
``busiest`` is what the summary shows of the result.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from elastic import Query, sinks, sources, windows
from elastic.functions import field

START_S = 1_700_000_000
CLICKS_PER_S = 1000  # of event time
DISORDER_S = 2
SIZE_S, STEP_S, GAP_S = 5, 1, 3


def query(clicks: int = 60_000, rate: Any = None, database: str = ".elastic/windows.db") -> Query:
    """The job: one row for each page and window, and one for each visit."""
    job = Query("windows")
    given = job.source(sources.from_list([click(number) for number in range(clicks)], rate=rate))
    timed = given.event_time(field("at"), slack=f"{2 * DISORDER_S}s")
    pages = timed.key_by(field("page")).window(windows.sliding(f"{SIZE_S}s", f"{STEP_S}s")).count(name="pages")
    pages.sink(sinks.sqlite(database, table="pages"))
    visits = timed.key_by(field("visitor")).window(windows.session(f"{GAP_S}s")).count(name="visits")
    visits.sink(sinks.sqlite(database, table="visits"))
    return job


def click(number: int) -> dict[str, Any]:
    """The click of this number, some of them out of order; visitors come in turns."""
    scrambled = number * 2654435761 % 2**32
    at_ms = number * 1000 // CLICKS_PER_S - scrambled % (DISORDER_S * 1000)
    visitor = f"visitor {scrambled % 50 + 50 * (number // 4000)}"
    return {"page": f"page {scrambled % 23}", "visitor": visitor, "at": START_S + at_ms / 1000}


def check(result: Any) -> tuple[int, int]:
    """How many windows and visits lack clicks, and how many have too many or should not be."""
    given = [click(number) for number in range(result.parameters["clicks"])]
    right: Counter[tuple[str, str, int]] = Counter()
    for each in given:
        at_ms = round(each["at"] * 1000)
        last = at_ms // (STEP_S * 1000) * STEP_S * 1000
        for start_ms in range(last, at_ms - SIZE_S * 1000, -STEP_S * 1000):
            right["pages", each["page"], start_ms] += 1
    times: dict[str, list[int]] = {}
    for each in given:
        times.setdefault(each["visitor"], []).append(round(each["at"] * 1000))
    for visitor, unsorted in times.items():
        start_ms = last_ms = -GAP_S * 1000
        for at_ms in sorted(unsorted):
            if at_ms - last_ms >= GAP_S * 1000:
                start_ms = at_ms
            right["visits", visitor, start_ms] += 1
            last_ms = at_ms
    found: Counter[tuple[str, str, int]] = Counter()
    for table in ("pages", "visits"):
        for key, start, value in _rows(result, f"SELECT key, start, value FROM {table}"):  # noqa: S608 (of two names)
            found[table, key, round(start * 1000)] += value
    return sum((right - found).values()), sum((found - right).values())


def busiest(result: Any) -> Iterator[str]:
    """The five fullest windows."""
    yield "the fullest windows:"
    for key, start, value in _rows(result, "SELECT key, start, value FROM pages ORDER BY value DESC, start LIMIT 5"):
        yield f"  {value:>6,}  {key} from second {start - START_S:g}"


def _rows(result: Any, select: str) -> list[tuple[Any, ...]]:
    database = result.parameters.get("database", ".elastic/windows.db")
    with closing(sqlite3.connect(database)) as db:
        return db.execute(select).fetchall()
