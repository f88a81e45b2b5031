"""Counts in windows by event time, held against the plain count of the same rows: one instance, on one core."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from elastic import windows
from elastic.functions import field
from elastic.keys import KeyInterval
from elastic.operators.aggregates import Aggregate
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.event_clock import EventClock, TimedInput, TimedProcessor
from elastic.operators.stateless import Chain
from elastic.operators.timestamps import Timestamps
from elastic.operators.windowed import Aggregation, Timing
from elastic.operators.windowing import Windowing
from elastic.plan import ByPane, Edge, EventTime, Step

KEYS, ROWS, TICKS = 1000, 100_000, 40
TICK_S = 0.25  # of event time

_GROUPS = 256


def _columns() -> list[pa.StructArray]:
    """The rows of each tick: a key, some of them far more frequent than others, and an event time."""
    random = np.random.default_rng(1)
    names = pa.array([f"word{n}" for n in range(KEYS)])
    ticks = []
    for tick in range(TICKS):
        keys = names.take(pa.array((random.zipf(1.3, ROWS) - 1) % KEYS))
        times = pa.array((tick + random.random(ROWS)) * TICK_S)
        ticks.append(pa.StructArray.from_arrays([keys, times], ["key", "at"]))
    return ticks


def _context(*, event_time: bool) -> ProcessorContext:
    return ProcessorContext("count", KeyInterval(0, _GROUPS), _GROUPS, 10, 0.0, 0, event_time=event_time)


def _rate(columns: Sequence[pa.StructArray], edge: Edge, processor: Processor) -> float:
    """Million rows a second through a chain and an operator."""
    chain, groups = Chain(edge, _GROUPS, tracked=False), np.zeros(ROWS, np.uint16)
    start = time.perf_counter()
    for tick, column in enumerate(columns, 1):
        batch = chain.run([(Output(groups, column), {})], tick)
        assert batch is not None
        processor.process(TickInput(tick, [(0, batch)], tick == TICKS))
    return TICKS * ROWS / (time.perf_counter() - start) / 1e6


def _plain(columns: Sequence[pa.StructArray]) -> float:
    edge = Edge(0, "source", "count", keyed=True, key=field("key"), combine="count")
    return _rate(columns, edge, Aggregate("count", 100).make(_context(event_time=False)))


def _windowed(columns: Sequence[pa.StructArray], spec: windows.FixedWindows) -> float:
    step = Step("event_time", "event_time", Timestamps(field("at"), "s", is_origin=True), 1)
    edge = Edge(
        0, "source", "count", steps=(step,), keyed=True, key=field("key"),
        combine=ByPane(spec.pane_us, spec.offset_us), event_time=EventTime(100),
    )  # fmt: skip
    logic = Windowing(spec, Aggregation("count"), Timing(by_event_time=True))
    clock = EventClock({0: TimedInput((0,), 100_000)})
    return _rate(columns, edge, TimedProcessor(logic.make(_context(event_time=True)), clock))


def _measure(effort: Effort) -> Sequence[Row]:
    columns = _columns()
    kinds = (("tumbling_count", windows.tumbling("1s")), ("sliding_count", windows.sliding("5s", "1s")))
    rows = []
    for name, spec in kinds:
        measured, plain = partial(_windowed, columns, spec), partial(_plain, columns)
        value, reference = in_turns(3 if effort.quick else 9, measured, plain)
        rows.append(ratio_row(name, value, "M rows/s", reference, at_least=0.33))
    return rows


MEASUREMENT = Measurement("window_count", "tumbling and sliding counts by event time, against a plain count", _measure)
