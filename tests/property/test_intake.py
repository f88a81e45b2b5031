"""An aggregate that leaves out rows on which code raises gives what it gives of the others alone."""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any, Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import rows, sorted_batch
from elastic.keys import KeyInterval, groups_of
from elastic.operators.aggregates import Aggregate, Kind
from elastic.operators.base import Processor, ProcessorContext, TickInput
from elastic.operators.failure import Failures
from elastic.operators.intake import Taking
from elastic.plan import ERRORS, MAIN, Folding

WHOLE = KeyInterval(0, 256)
NOTHING = object()


def grown(so_far: list[Any], row: Any) -> list[Any]:
    """Changes the accumulator before it fails."""
    so_far.append(row)
    if row == "x":
        raise ValueError("x")
    return so_far


def total(so_far: Any, row: Any) -> Any:
    """What a sum makes of the next row, as Python adds numbers."""
    if not isinstance(row, int | float):
        raise TypeError
    return so_far + row


def best(better: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    """What a minimum or maximum makes of the next row; it has none before the first."""

    def step(so_far: Any, row: Any) -> Any:
        if so_far is None:
            if row is None:
                raise TypeError
            return row
        return row if better(row, so_far) else so_far

    return step


FUNCTIONS: dict[Kind, Any] = {"reduce": add, "aggregate": Folding(list, grown)}

#: By kind: what there is before a key's first row, and what its next one makes of that; it raises where a row is bad.
EXPECTED: dict[Kind, tuple[Any, Callable[[Any, Any], Any]]] = {
    "sum": (0, total),
    "min": (None, best(lambda a, b: a < b)),
    "max": (None, best(lambda a, b: a > b)),
    "reduce": (NOTHING, lambda so_far, row: row if so_far is NOTHING else so_far + row),
    "aggregate": ([], lambda so_far, row: grown([*so_far], row)),
}


def expected(kind: Kind, given: list[tuple[str, Any]]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Row by row: the aggregate of each key that has any, and the bad rows."""
    first, step = EXPECTED[kind]
    found: dict[str, Any] = {}
    bad = []
    for key, row in given:
        try:
            found[key] = step(found.get(key, first), row)
        except (TypeError, ValueError):
            bad.append((key, row))
    return found, bad


def processor(kind: Kind, value: Any, on_error: Literal["skip", "divert"], failures: Failures) -> Processor:
    """Of one instance that owns all keys, and emits after each tick."""
    context = ProcessorContext("op", WHOLE, 256, 10, 0.0, 0, frozenset({MAIN, ERRORS}), failures=failures)
    return Aggregate(kind, 1, FUNCTIONS.get(kind), Taking(value, on_error)).make(context)


values = st.integers(-5, 5) | st.sampled_from(["x", "y"]) | st.none() | st.sampled_from([0.5, 2.0])
ticks = st.lists(st.lists(st.tuples(st.sampled_from("abc"), values), min_size=1, max_size=12), min_size=1, max_size=5)


@given(
    kind=st.sampled_from(list(EXPECTED)), batches=ticks, by_function=st.booleans(), restored=st.booleans(),
    on_error=st.sampled_from(["skip", "divert"]),
)  # fmt: skip
def test_rows_that_fail_leave_nothing_and_are_told(
    *, kind: Kind, batches: list[list[tuple[str, Any]]], by_function: bool, restored: bool, on_error: Any
) -> None:
    failures = Failures()
    value = (lambda row: row["v"][0]) if by_function else None
    made = processor(kind, value, on_error, failures)
    found: dict[str, Any] = {}
    told = []

    for tick, batch in enumerate(batches, 1):
        keys = [key for key, _ in batch]
        given_rows = [{"v": [row]} if by_function else row for _, row in batch]
        ordered = sorted_batch(groups_of(keys, 256), keys, given_rows)
        for output in made.process(TickInput(tick, [(0, ordered)])):
            assert (np.diff(output.groups.astype(int)) >= 0).all()
            if output.name == MAIN:
                found.update(rows(output.values))
            else:
                told += [(row["key"], row["record"]) for row in rows(output.values)]
        if restored:
            again = processor(kind, value, on_error, failures)
            again.restore(made.full())
            made = again

    in_order = [row for batch in batches for row in sorted(batch, key=lambda row: groups_of([row[0]], 256)[0])]
    aggregates, bad = expected(kind, in_order)
    assert found == aggregates
    whole = [(key, {"v": [row]} if by_function else row) for key, row in bad]
    assert sorted(told, key=repr) == (sorted(whole, key=repr) if on_error == "divert" else [])
    counts = {(f.where, f.skipped, f.diverted) for f in failures.found()}
    skipped, diverted = (0, len(bad)) if on_error == "divert" else (len(bad), 0)
    assert counts == ({("op", skipped, diverted)} if bad else set())
