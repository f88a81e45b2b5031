"""One query for both execution models, with what is hard to agree on: order, timers, windows, inputs told apart.

The job is ``query``. ``agree`` is what the summary shows: the run's own input log, gone through once more tick by tick
as the elastic model does, and interval by interval as the dstream model does, and the two compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dstream.local import replay
from dstream.model import cut
from elastic import Operator, Query, sinks, sources, windows
from elastic.batch import Batch, rows
from elastic.connectors.input_log import read_log
from elastic.plan import Settings
from elastic.scenario.models import DStream
from elastic.testing.reference import ReferenceRun

WORKERS, PARTITIONS = 3, 3


class Till(Operator):
    """A till: sales and prices come in two inputs, and a till that sells nothing for a while closes its receipt."""

    inputs = ("sales", "prices")

    def process_sales(self, key: Any, value: Any, state: Any, ctx: Any) -> None:
        """Add the sale at the price of the moment: the order of sales and prices matters."""
        prices, receipt = state.get() or ({}, [])
        state.set((prices, [*receipt, prices.get(value[1], 100)]))
        ctx.set_timer(ctx.now + 0.3, "quiet")

    def process_prices(self, key: Any, value: Any, state: Any, ctx: Any) -> None:
        """From now on something costs that much."""
        prices, receipt = state.get() or ({}, [])
        state.set(({**prices, value[1]: value[2]}, receipt))

    def on_timer(self, key: Any, timer: Any, state: Any, ctx: Any) -> Iterator[tuple[Any, int, int]]:
        """Emit the receipt, and begin another."""
        prices, receipt = state.get()
        state.set((prices, []))
        yield key, len(receipt), sum(receipt)


def query(count: int = 6000, rate: str = "2k/s") -> Query:
    """The job."""
    job = Query("both-models")
    sales = [(n * 31 % 997, n * 7919 % 5) for n in range(count)]
    prices = [(n * 13 % 997, n % 5, 50 + n * 37 % 100) for n in range(count // 2)]
    sold = job.source(sources.from_list(sales, rate=rate), name="sales").key_by(_till)
    priced = job.source(sources.from_list(prices, rate=rate), name="prices").key_by(_till)
    receipts = sold.connect(priced).apply(Till(), name="tills")
    receipts.sink(sinks.discard(), name="receipts")
    takings = receipts.key_by(_tens).window(windows.sliding("1s", "200ms")).sum(_amount, name="takings")
    takings.sink(sinks.discard(), name="table")
    sold.window(windows.session("250ms")).count(name="rushes").sink(sinks.discard(), name="rush-table")
    return job


def agree(result: Any) -> Iterator[str]:
    """How many rows both models give of the run's input log, by sink."""
    settings = Settings(partitions=PARTITIONS)
    plan = query(**result.parameters).plan(workers=WORKERS, settings=settings)
    places = [(name, n) for name, operator in plan.operators.items() for n in range(len(operator.partitions))]
    logs = {place: read_log(Path(result.directory, "log"), *place) for place in places}
    stream = cut(plan, WORKERS, DStream.model_validate({"interval": "200ms"}))
    by_ticks, by_tasks = ReferenceRun(plan).replay(logs), replay(stream, logs)
    for sink, ticks in by_ticks.items():
        one, other = _by_interval(ticks, stream.interval_ticks), _by_interval(by_tasks[sink], stream.interval_ticks)
        same = "the same in both models" if one == other else "DIFFERENT"
        yield f"{sink}: {sum(map(Counter.total, one.values()))} rows in {len(one)} intervals, {same}"


def _by_interval(ticks: list[tuple[int, Batch]], length: int) -> dict[int, Counter[tuple[int, str]]]:
    found: dict[int, Counter[tuple[int, str]]] = {}
    for tick, batch in ticks:
        for row in rows(batch.values or []):
            found.setdefault(-(-tick // length), Counter())[tick, repr(row)] += 1
    return found


def _till(row: tuple[int, ...]) -> int:
    return row[0]


def _tens(receipt: tuple[int, int, int]) -> int:
    return receipt[0] // 10


def _amount(receipt: tuple[int, int, int]) -> int:
    return receipt[2]
