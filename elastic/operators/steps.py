"""The stateless steps of a chain: what each makes of the rows of one tick, in columns where it can.

Where a function knows columns and the rows are one, it gets the column; else it is mapped over the rows by loops that
run in C. What goes with each row, its key and the group that it was emitted from, is masked and repeated with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import length_hint, truth
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Column, Groups, Indices, Marks, Pairs, Times, columnar, mask, rows, take
from elastic.errors import KeyTypeError, UserCodeError
from elastic.functions import apply_column, row_form
from elastic.keys import groups_of, key_group
from elastic.operators.failure import failed_record, row_error, shortened, user_error
from elastic.operators.timestamps import Timestamps, times_of
from elastic.plan import Step

T = TypeVar("T")

_SIZED: frozenset[type] = frozenset({list, tuple})


@dataclass(frozen=True, slots=True)
class Flow:
    """Rows between two steps.

    Attributes:
        column: The rows.
        groups: Key group that each was emitted from, where that is tracked.
        keys: Key of each, once it has one.
        rest: After a split, gives the rows that it did not keep.
        failed: After a step that failed on some rows and may, what there is to tell of them.
        diverted: The same, where it is diverted.
        times: Event time of each, once it has one.
        marks: How far event time came in each source partition, once it was read.
    """

    column: Column
    groups: Groups | None = None
    keys: Column | None = None
    rest: Callable[[], Flow] | None = None
    failed: Flow | None = None
    diverted: Flow | None = None
    times: Times | None = None
    marks: Marks = ()

    def kept(self, flags: npt.NDArray[np.bool_]) -> Flow:
        """The rows whose flag is set."""
        groups, keys, times = self.groups, self.keys, self.times
        return Flow(
            mask(self.column, flags),
            None if groups is None else groups[flags],
            None if keys is None else mask(keys, flags),
            times=None if times is None else times[flags],
            marks=self.marks,
        )

    def unrolled(self, column: Column, lengths: Indices) -> Flow:
        """Rows of which the first ``lengths[0]`` came of the first row here, and so on."""
        groups, keys, times = self.groups, self.keys, self.times
        return Flow(
            column,
            None if groups is None else np.repeat(groups, lengths),
            None if keys is None else take(keys, np.repeat(np.arange(len(lengths)), lengths)),
            times=None if times is None else np.repeat(times, lengths),
            marks=self.marks,
        )


def stepped(step: Step, flow: Flow, tick: int) -> Flow:
    """What the step makes of the rows.

    Raises:
        UserCodeError: Its function raised, or returned what the step cannot use, and its policy is to fail then.
    """
    if flow.failed is not None and step.kind != "failed":  # it is told of at the step where that was
        flow = replace(flow, failed=None, diverted=None)
    if step.on_error == "fail":
        return _STEPS[step.kind](step, flow, tick)
    try:
        return _STEPS[step.kind](step, flow, tick)
    except UserCodeError:
        return _salvaged(step, flow, tick)


def mapped(name: str, function: Callable[[Any], Any], column: Column, tick: int) -> Column:
    """The function's result for each row.

    Raises:
        UserCodeError: The function raised.
    """
    result = _by_column(name, function, column, tick)
    return _by_row(name, function, rows(column), tick) if result is None else result


def _map(step: Step, flow: Flow, tick: int) -> Flow:
    return replace(flow, column=mapped(step.name, step.function, flow.column, tick))


def _filter(step: Step, flow: Flow, tick: int) -> Flow:
    """What is kept is decided by truth, as Python's own ``filter`` does it."""
    keep = _by_column(step.name, step.function, flow.column, tick)
    if keep is None and flow.groups is None and flow.keys is None:
        source, function = rows(flow.column), row_form(step.function)
        return Flow(_traced(step.name, source, source, tick, lambda it: list(filter(function, it))))
    flow, flags = _flags(step, flow, keep, tick)
    return flow.kept(flags)


def _split(step: Step, flow: Flow, tick: int) -> Flow:
    """A filter that can also tell what it did not keep."""
    return _parted(*_flags(step, flow, _by_column(step.name, step.function, flow.column, tick), tick))


def _parted(flow: Flow, flags: npt.NDArray[np.bool_]) -> Flow:
    return replace(flow.kept(flags), rest=lambda: flow.kept(~flags))


def _rest(_step: Step, flow: Flow, _tick: int) -> Flow:
    assert flow.rest is not None, "a rest follows a split"
    return flow.rest()


def _flags(step: Step, flow: Flow, keep: Column | None, tick: int) -> tuple[Flow, npt.NDArray[np.bool_]]:
    """The rows in the form that was looked at, and which of them to keep; ``keep`` is what a column gave."""
    if keep is None:
        source, function = rows(flow.column), row_form(step.function)
        flow = replace(flow, column=source)
        keep = _traced(step.name, source, source, tick, lambda it: list(map(truth, map(function, it))))
    if isinstance(keep, pa.Array) and pa.types.is_boolean(keep.type):
        return flow, np.asarray(pc.fill_null(keep, False))
    return flow, np.fromiter(map(truth, rows(keep)), bool, len(keep))


def _flat_map(step: Step, flow: Flow, tick: int) -> Flow:
    """Lists, tuples and any other iterable are unrolled, except a str or bytes, which is taken for a mistake."""
    column, lengths = _unrolled(step, flow.column, tick, needed=flow.groups is not None or flow.keys is not None)
    return Flow(column) if lengths is None else flow.unrolled(column, lengths)


def _unrolled(step: Step, column: Column, tick: int, *, needed: bool) -> tuple[Column, Indices | None]:
    """All rows that the function gives, and how many for each; the numbers only if they are needed."""
    results = _by_column(step.name, step.function, column, tick)
    if isinstance(results, pa.ListArray | pa.LargeListArray) and not results.null_count:
        return results.flatten(), np.asarray(pc.list_value_length(results)) if needed else None
    source = rows(column)
    lists = _by_row(step.name, step.function, source, tick) if results is None else rows(results)
    if not _SIZED.issuperset(map(type, lists)):
        lists = _traced(step.name, lists, source, tick, lambda it: list(map(_listed, it)))
    lengths = np.fromiter(map(len, lists), np.int64, len(lists)) if needed else None
    return list(chain.from_iterable(lists)), lengths


def _map_values(step: Step, flow: Flow, tick: int) -> Flow:
    pairs = pairs_of(step.name, flow.column, tick)
    return replace(flow, column=Pairs(pairs.keys, one_column(mapped(step.name, step.function, pairs.values, tick))))


def _flat_map_values(step: Step, flow: Flow, tick: int) -> Flow:
    pairs = pairs_of(step.name, flow.column, tick)
    values, lengths = _unrolled(step, pairs.values, tick, needed=True)
    assert lengths is not None
    unrolled = flow.unrolled(values, lengths)
    keys = take(pairs.keys, np.repeat(np.arange(len(lengths)), lengths))
    return replace(unrolled, column=Pairs(one_column(keys), one_column(values)))


def _event_time(step: Step, flow: Flow, tick: int) -> Flow:
    """Each row gets the time that is read from it; at a source, each partition's latest is its mark."""
    reading = step.function
    assert isinstance(reading, Timestamps)
    times = times_of(mapped(step.name, reading.function, flow.column, tick), reading.unit)
    if times is None:
        times = np.array(_by_row(step.name, reading, rows(flow.column), tick), np.int64)
    marks = _latest(flow.groups, times) if reading.is_origin and flow.groups is not None else ()
    return replace(flow, times=times, marks=marks)


def _latest(groups: Groups, times: Times) -> Marks:
    """The latest time of each group; ``groups`` ascend."""
    if not len(groups):
        return ()
    starts = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    return tuple(zip(groups[starts].tolist(), np.maximum.reduceat(times, starts).tolist(), strict=True))


def pairs_of(name: str, column: Column, tick: int) -> Pairs:
    """The rows, which must be ``(key, value)`` tuples, as two columns.

    Raises:
        UserCodeError: A row is none; the error names it, and ``name`` as the step that met it.
    """
    if isinstance(column, Pairs):
        return column
    tuples = rows(column)
    for row in tuples:
        if type(row) is not tuple or len(row) != 2:
            raise user_error(name, tick, row, _no_pair(row))
    return Pairs(columnar([key for key, _ in tuples]), columnar([value for _, value in tuples]))


def _pair(row: Any) -> tuple[Any, Any]:
    if type(row) is not tuple or len(row) != 2:
        raise _no_pair(row)
    return row


def _no_pair(row: Any) -> TypeError:
    return TypeError(
        f"rows must be (key, value) tuples here, as aggregates give them, and this one is {shortened(row)}; "
        "write .key_by(function) before it, or .map(lambda row: (key, value))"
    )


def one_column(column: Column | None) -> list[Any] | pa.Array:
    """A column that can be half of pairs: pairs become tuples."""
    assert column is not None
    return rows(column) if isinstance(column, Pairs) else column


def _key(step: Step, flow: Flow, tick: int) -> Flow:
    """The rows with their keys; what cannot be one is found here if the step may fail, else before the shuffle."""
    keys = mapped(step.name, step.function, flow.column, tick)
    if step.on_error != "fail":
        try:
            groups_of(keys)
        except KeyTypeError as error:
            raise user_error(step.name, tick, f"column of {len(keys)} rows", error) from error
    return replace(flow, keys=columnar(keys) if isinstance(keys, list) else keys)


def _failed(_step: Step, flow: Flow, _tick: int) -> Flow:
    nothing = Flow([], None if flow.groups is None else flow.groups[:0])
    return replace(flow.diverted or nothing, marks=flow.marks)


_STEPS: dict[str, Callable[[Step, Flow, int], Flow]] = {
    "map": _map, "filter": _filter, "flat_map": _flat_map,
    "map_values": _map_values, "flat_map_values": _flat_map_values, "split": _split, "rest": _rest,
    "key": _key, "failed": _failed, "event_time": _event_time,
}  # fmt: skip


def _salvaged(step: Step, flow: Flow, tick: int) -> Flow:
    """What the step makes, row by row, of the rows on which it does not fail; and what there is to tell of the others.

    So one bad row costs the others of its tick their columns, and nothing else.
    """
    source, form = rows(flow.column), _ROW_FORMS[step.kind](row_form(step.function))
    keys = [None] * len(source) if flow.keys is None else rows(flow.keys)
    results, failures = survivors(form, source)
    at = np.fromiter((n for n, _ in failures), np.int64, len(failures))
    good = np.ones(len(source), bool)
    good[at] = False
    told = [failed_record(step.name, tick, source[n], error, key=keys[n]) for n, error in failures]
    failed = None
    if told:
        groups, times = flow.groups, flow.times
        failed = Flow(told, None if groups is None else groups[at], times=None if times is None else times[at])
    kept = flow.kept(good)
    if step.kind == "key":
        kept = replace(kept, keys=columnar([key for (key,) in results]))
    elif step.kind == "event_time":
        kept = _event_time(step, kept, tick)
    elif step.kind == "split":
        kept = _parted(kept, np.fromiter(chain.from_iterable(results), bool, len(results)))
    else:
        lengths = np.fromiter(map(len, results), np.int64, len(results))
        kept = kept.unrolled(list(chain.from_iterable(results)), lengths)
    return replace(kept, failed=failed, diverted=failed if step.on_error == "divert" else None)


def survivors(function: Callable[[Any], T], source: list[Any]) -> tuple[list[T], list[tuple[int, Exception]]]:
    """What the function gives for the rows on which it does not raise, in order, and where it raised what."""
    items, results = iter(source), list[T]()
    failures: list[tuple[int, Exception]] = []
    while len(results) + len(failures) < len(source):
        try:
            results.extend(map(function, items))  # what came before an exception stays in the list
            error: Exception = RuntimeError("the function raised StopIteration")
        except Exception as raised:  # noqa: BLE001 (whatever a user's function raises is the row's)
            error = raised
        if len(results) + len(failures) < len(source):
            failures.append((len(source) - length_hint(items) - 1, error))
    return results, failures


def _map_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [function(row)]


def _filter_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [row] if function(row) else []


def _split_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [bool(function(row))]


def _flat_map_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: _listed(function(row))


def _map_values_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [(_pair(row)[0], function(row[1]))]


def _flat_map_values_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [(_pair(row)[0], value) for value in _listed(function(row[1]))]


def _key_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def keyed(row: Any) -> list[Any]:
        key = function(row)
        key_group(key)
        return [key]

    return keyed


def _event_time_row(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda row: [function(row)]


_ROW_FORMS: dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], list[Any]]]] = {
    "map": _map_row, "filter": _filter_row, "flat_map": _flat_map_row, "split": _split_row,
    "map_values": _map_values_row, "flat_map_values": _flat_map_values_row, "key": _key_row,
    "event_time": _event_time_row,
}  # fmt: skip
"""By kind of step: from its function to one that gives all that comes of one row; or raises, and gives nothing."""


def _listed(result: Any) -> list[Any]:
    """The rows that a function returned for one row of a ``flat_map``."""
    kind = type(result).__name__
    if isinstance(result, str | bytes):
        raise TypeError(
            f"flat_map got the {kind} {shortened(result)}, and would cut it up; return a list of rows, such as [text], "
            "or list(text) if that is what is meant"
        )
    try:
        each = iter(result)
    except TypeError:
        raise TypeError(
            f"flat_map needs an iterable of rows for each row, and got {kind}; return a list, an empty one for no rows"
        ) from None
    return list(each)


def _by_column(name: str, function: Callable[[Any], Any], column: Column, tick: int) -> Column | None:
    """The function's result for the whole column; None if it wants rows."""
    try:
        return apply_column(function, column)
    except Exception as error:
        _by_row(name, function, rows(column), tick)  # names the row, if it is the row's fault
        raise user_error(name, tick, f"column of {len(column)} rows", error) from error


def _by_row(name: str, function: Callable[[Any], Any], source: list[Any], tick: int) -> list[Any]:
    by_row = row_form(function)
    return _traced(name, source, source, tick, lambda it: list(map(by_row, it)))


def _traced(name: str, source: list[Any], records: Sequence[Any], tick: int, loop: Callable[[Iterator[Any]], T]) -> T:
    """What ``loop`` makes of ``source``; if it raises, the error names the record at the place that it had come to.

    The good case pays nothing for it: a list's iterator knows how much is left of it.
    """
    items = iter(source)
    try:
        result = loop(items)
    except Exception as error:
        at = len(source) - length_hint(items) - 1
        raise row_error(name, tick, records[at], error, at) from error
    if left := length_hint(items):  # a StopIteration of the user's ends a loop in C without a sound
        problem = RuntimeError("the function raised StopIteration, which would have dropped all rows after this one")
        raise row_error(name, tick, records[len(source) - left - 1], problem, len(source) - left - 1)
    return result
