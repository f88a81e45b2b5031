"""Orders of which some cannot be parsed and some are refused: both are diverted, and the others are summed up.

The job is ``query``; ``check`` computes in plain Python what its tables must hold, and ``refused`` is what the summary
shows.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from elastic import Operator, Query, sinks, sources
from elastic.functions import field

ORDERS, USERS = 20_000, 300


def lines() -> list[str]:
    """The orders; every hundredth is cut off, and every thousandth of the others is for too many pieces."""
    orders = [{"user": f"user {n % USERS}", "pieces": 5000 if n % 1000 == 501 else n % 7} for n in range(ORDERS)]
    return [json.dumps(order)[: 12 if n % 100 == 0 else None] for n, order in enumerate(orders)]


def parse(line: str) -> tuple[str, int]:
    """User and pieces of an order."""
    order = json.loads(line)
    return order["user"], order["pieces"]


class Account(Operator):
    """Pieces that a user has ordered so far; nobody orders a thousand at once."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[tuple[str, int]]:
        """Emit the new sum."""
        pieces = (state.get() or 0) + value[1]
        state.set(pieces)
        yield key, pieces
        if value[1] >= 1000:
            raise ValueError(f"{value[1]} pieces at once")


def query(rate: str | None = None, database: str = ".elastic/orders.db") -> Query:
    """The job."""
    orders = Query("poison-records")
    parsed = orders.source(sources.from_list(lines(), rate=rate), name="orders").map(parse, on_error="divert")
    accounts = parsed.key_by(field(0)).apply(Account(), on_error="divert")
    accounts.sink(sinks.sqlite(database, table="accounts", columns=("user", "pieces"), upsert=True), name="accounts")
    told = parsed.output("errors").union(accounts.output("errors"))
    told.map(lambda bad: {name: str(bad[name]) for name in ("operator", "record", "cause", "line")}).sink(
        sinks.sqlite(database, table="bad"), name="bad"
    )
    return orders


def check(result: Any) -> tuple[int, int]:
    """How many rows the tables lack, and how many they have beyond those they must have."""
    accounts, bad = Counter[str](), Counter[str]()
    for n, line in enumerate(lines()):
        if n % 100 == 0:
            bad[line] += 1
            continue
        user, pieces = parse(line)
        if pieces >= 1000:
            bad[str((user, pieces))] += 1
        else:
            accounts[user] += pieces
    expected = Counter(accounts.items()) + Counter(bad.elements())
    with closing(sqlite3.connect(result.parameters["database"])) as connection:
        found = Counter(connection.execute("SELECT user, pieces FROM accounts"))
        found += Counter(record for (record,) in connection.execute("SELECT record FROM bad"))
    return (expected - found).total(), (found - expected).total()


def refused(result: Any) -> Iterator[str]:
    """What was refused, by cause."""
    with closing(sqlite3.connect(result.parameters["database"])) as connection:
        rows = connection.execute("SELECT operator, line, count(*), min(record) FROM bad GROUP BY 1, 2 ORDER BY 1")
        for operator, line, count, record in rows:
            yield f"{count:>4} by {operator} at {line}, such as {record}"
