"""Datasets with state: what a key has come to over all intervals so far.

State is advanced in place, interval by interval, and versions of it are cut between two of them: all of it, or what was
written since the last one. What a stage gives is a function of the inputs of its intervals alone, so state can be
computed again from an older version and them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dstream.datasets import ROWS, SNAPSHOT, Dataset, by_key, everything
from dstream.logic import Given, LogicContext
from dstream.merges import accumulator
from dstream.pairs import Merging, one, ordered, together
from elastic.batch import Column, Pairs, columnar, rows
from elastic.keys import groups_of
from elastic.operators.aggregates import AggregateProcessor
from elastic.operators.base import Output, TickInput
from elastic.operators.failure import user_error
from elastic.operators.snapshot import copied, freeze, is_immutable, thaw
from elastic.state.processing import StateTable, dict_keys


class KeyedState(Dataset):
    """A value per key.

    Attributes:
        values: By key.
        written: Keys whose values may have changed, or were dropped, since a version was cut.
    """

    def __init__(self, name: str, context: LogicContext) -> None:
        self.name, self._key_groups = name, context.runtime.key_groups
        self.values: dict[Any, Any] = {}
        self.written: dict[Any, None] = {}

    def given(self, changed: list[Any], wanted: frozenset[str]) -> Mapping[str, Column]:
        """The views: changed keys that still have a value, and all keys."""
        views: dict[str, Column] = {ROWS: self._pairs([k for k in changed if k in self.values])}
        if SNAPSHOT in wanted:
            views[SNAPSHOT] = self._pairs(list(self.values))
        return views

    def _pairs(self, keys: list[Any]) -> Column:
        if not keys:
            return []
        values = copied(self.name, keys, [self.shown(self.values[key]) for key in keys])
        return ordered(Pairs(one(keys), one(values)), self._key_groups)

    def shown(self, value: Any) -> Any:
        """What is told of a key's state."""
        return value

    def full(self) -> StateTable:
        return self._table(list(self.values))

    def delta(self) -> StateTable:
        gone = [key for key in self.written if key not in self.values]
        table = self._table([key for key in self.written if key in self.values])
        if not gone:
            return table
        keys = columnar(gone)
        return StateTable(table.groups, table.keys, table.fields, groups_of(keys, self._key_groups), keys)

    def _table(self, keys: list[Any]) -> StateTable:
        self.written = {}
        column = columnar(keys)
        groups = groups_of(column, self._key_groups) if keys else np.empty(0, np.uint16)
        return StateTable(groups, column, {"value": freeze(self.name, keys, [self.values[key] for key in keys])})

    def restore(self, table: StateTable) -> None:
        self.values = dict(zip(dict_keys(table.keys), thaw(table.fields["value"]), strict=True))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Running:
    """Each key's values of all intervals, merged."""

    merging: Merging

    def __call__(self, context: LogicContext) -> Dataset:
        return _Running(self.merging, context)


class _Running(Dataset):
    """An aggregate as the elastic model has it, emitted after each interval."""

    def __init__(self, merging: Merging, context: LogicContext) -> None:
        self._aggregate = AggregateProcessor(accumulator(merging), emit_ticks=1)

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        slices = [(0, batch) for content in everything(given) for _, batch in content if len(batch)]
        views = {ROWS: _column(self._aggregate.process(TickInput(given.through, slices, given.final)))}
        if SNAPSHOT in wanted:
            views[SNAPSHOT] = _column(self._aggregate.changed(-1))
        return views

    def full(self) -> StateTable:
        return self._aggregate.full()

    def delta(self) -> StateTable:
        return self._aggregate.delta()

    def restore(self, table: StateTable) -> None:
        self._aggregate.restore(table)

    def __len__(self) -> int:
        return len(self._aggregate)


def _column(outputs: Sequence[Output]) -> Column:
    return outputs[0].values if outputs else []


@dataclass(frozen=True)
class Updating:
    """``update_state_by_key``: the function is called for every key in every interval; None drops the key.

    Attributes:
        every: It is called in intervals only that are multiples of this: those in which its input has rows.
    """

    name: str
    function: Callable[[list[Any], Any], Any]
    initial: tuple[tuple[Any, Any], ...] = ()
    every: int = 1

    def __call__(self, context: LogicContext) -> Dataset:
        return _Updating(self, context)


class _Updating(KeyedState):
    def __init__(self, made_by: Updating, context: LogicContext) -> None:
        super().__init__(made_by.name, context)
        self._function, self._every = made_by.function, made_by.every
        self.values = _mine(made_by.initial, context)  # in the first version, which is whole

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        if given.interval % self._every and not given.final:
            return self.given([], wanted)
        news = by_key(together(everything(given)))
        keys = [*self.values, *(key for key in news if key not in self.values)]
        values: dict[Any, Any] = {}
        for key in keys:
            before = self.values.get(key)
            try:
                value = self._function(news.get(key, []), before)
            except Exception as error:
                raise user_error(self.name, given.through, news.get(key, []), error, key=key) from error
            if value is not None:
                values[key] = value
            if not _is_same(before, value):
                self.written[key] = None
        self.values = values
        return self.given(list(values), wanted)


@dataclass(frozen=True)
class Tracking:
    """``track``: called for each event of the interval; None drops the key, and so does silence.

    Attributes:
        timeout: Intervals without an event after which a key is dropped; None for never.
    """

    name: str
    initialize: Callable[[Any, Any], Any]
    update: Callable[[Any, Any, Any], Any]
    timeout: int | None

    def __call__(self, context: LogicContext) -> Dataset:
        return _Tracking(self, context)


class _Tracking(KeyedState):
    """A value is (state, interval of the last event).

    Where keys time out they are known by that interval too, so that dropping them costs what is dropped.
    """

    def __init__(self, made_by: Tracking, context: LogicContext) -> None:
        super().__init__(made_by.name, context)
        self._made_by = made_by
        self._seen: dict[int, dict[Any, None]] = {}

    def shown(self, value: Any) -> Any:
        return value[0]

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        column = together(everything(given))
        pairs = column if isinstance(column, Pairs) else Pairs([], [])
        touched: dict[Any, None] = {}
        key = event = None
        try:
            for key, event in zip(dict_keys(pairs.keys), rows(pairs.values), strict=True):
                touched[key] = None
                self._put(key, self._next(key, event), given.interval)
        except Exception as error:
            raise user_error(self.name, given.through, event, error, key=key) from error
        self.written |= touched
        self._time_out(given.interval)
        return self.given(list(touched), wanted)

    def _next(self, key: Any, event: Any) -> Any:
        held = self.values.get(key)
        return self._made_by.initialize(key, event) if held is None else self._made_by.update(key, held[0], event)

    def _put(self, key: Any, state: Any, interval: int) -> None:
        if (held := self.values.pop(key, None)) is not None:
            self._forget(key, held[1])
        if state is not None:
            self.values[key] = (state, interval)
            self._see(key, interval)

    def _see(self, key: Any, interval: int) -> None:
        if self._made_by.timeout is not None:
            self._seen.setdefault(interval, {})[key] = None

    def _forget(self, key: Any, interval: int) -> None:
        if (seen := self._seen.get(interval)) is not None:
            del seen[key]
            if not seen:
                del self._seen[interval]

    def _time_out(self, interval: int) -> None:
        if self._made_by.timeout is None:
            return
        for seen in [i for i in self._seen if interval - i >= self._made_by.timeout]:
            timed_out = self._seen.pop(seen)
            self.written |= timed_out
            for key in timed_out:
                del self.values[key]

    def restore(self, table: StateTable) -> None:
        super().restore(table)
        for key, (_, interval) in self.values.items():
            self._see(key, interval)


_SAME: frozenset[type] = frozenset({bool, int, str, bytes})
"""Types whose equal values cannot be told apart."""


def _is_same(before: Any, now: Any) -> bool:
    """Whether a value is what it was, for all that can be known: one that can be changed in place may have been."""
    if type(now) is type(before) and type(now) in _SAME:
        return bool(now == before)
    return now is before and is_immutable(now)


def _mine(pairs: tuple[tuple[Any, Any], ...], context: LogicContext) -> dict[Any, Any]:
    """Those whose key lies in the partition's key groups."""
    if not pairs:
        return {}
    groups = groups_of(columnar([key for key, _ in pairs]), context.runtime.key_groups)
    mine = (groups >= context.interval.low) & (groups < context.interval.high)
    return {key: value for (key, value), here in zip(pairs, mine.tolist(), strict=True) if here}
