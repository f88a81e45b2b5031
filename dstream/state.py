"""Datasets with state: what a key has come to over all intervals so far, or over those of a window.

State is advanced in place, interval by interval, and snapshots are taken between two of them. What a stage gives is a
function of the inputs of its intervals alone, so state can be computed again from an older snapshot and them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dstream.datasets import ROWS, SNAPSHOT, Dataset, by_key, everything
from dstream.flow import Merging, merged, one, ordered, together
from dstream.logic import Given, LogicContext
from elastic.batch import Column, Pairs, columnar, rows
from elastic.keys import groups_of
from elastic.operators.failure import user_error
from elastic.operators.snapshot import copied, freeze, thaw
from elastic.state.processing import StateTable, dict_keys


class KeyedState(Dataset):
    """A value per key.

    Attributes:
        values: By key.
    """

    def __init__(self, name: str, context: LogicContext) -> None:
        self.name, self._key_groups = name, context.runtime.key_groups
        self.values: dict[Any, Any] = {}

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

    def snapshot(self) -> StateTable | None:
        keys = list(self.values)
        column = columnar(keys)
        groups = groups_of(column, self._key_groups) if keys else np.empty(0, np.uint16)
        return StateTable(groups, column, {"value": freeze(self.name, keys, list(self.values.values()))})

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


class _Running(KeyedState):
    def __init__(self, merging: Merging, context: LogicContext) -> None:
        super().__init__(merging.name, context)
        self._merging = merging

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        column = together(everything(given))
        if not isinstance(column, Pairs):
            return self.given([], wanted)
        news = merged(self._merging, column.keys, column.values, given.through)
        values, function = self.values, self._merging.function
        keys = dict_keys(news.keys)
        key = value = None
        try:
            for key, value in zip(keys, rows(news.values), strict=True):
                values[key] = function(values[key], value) if key in values else value
        except Exception as error:
            raise user_error(self.name, given.through, value, error, key=key) from error
        return self.given(keys, wanted)


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
        self.values = _mine(made_by.initial, context)

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        if given.interval % self._every and not given.final:
            return self.given([], wanted)
        news = by_key(together(everything(given)))
        keys = [*self.values, *(key for key in news if key not in self.values)]
        values: dict[Any, Any] = {}
        for key in keys:
            try:
                value = self._function(news.get(key, []), self.values.get(key))
            except Exception as error:
                raise user_error(self.name, given.through, news.get(key, []), error, key=key) from error
            if value is not None:
                values[key] = value
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
    """A value is (state, interval of the last event); of keys by that interval, so dropping costs what it drops."""

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
        self._time_out(given.interval)
        return self.given(list(touched), wanted)

    def _next(self, key: Any, event: Any) -> Any:
        held = self.values.get(key)
        return self._made_by.initialize(key, event) if held is None else self._made_by.update(key, held[0], event)

    def _put(self, key: Any, state: Any, interval: int) -> None:
        if (held := self.values.pop(key, None)) is not None:
            self._seen[held[1]].pop(key, None)
        if state is not None:
            self.values[key] = (state, interval)
            self._seen.setdefault(interval, {})[key] = None

    def _time_out(self, interval: int) -> None:
        if self._made_by.timeout is None:
            return
        for seen in [i for i in self._seen if interval - i >= self._made_by.timeout]:
            for key in self._seen.pop(seen):
                del self.values[key]

    def restore(self, table: StateTable) -> None:
        super().restore(table)
        for key, (_, interval) in self.values.items():
            self._seen.setdefault(interval, {})[key] = None


@dataclass(frozen=True)
class Sliding:
    """A window's merged values per key, kept up: what enters it is merged in, what leaves it is taken out.

    The first input is of the intervals that enter and of the one that leaves: (length, 0) intervals back. A key stays
    as long as some interval of the window has it, so what is given equals what merging the whole window gives.
    """

    merging: Merging
    inverse: Callable[[Any, Any], Any]

    def __call__(self, context: LogicContext) -> Dataset:
        return _Sliding(self, context)


class _Sliding(KeyedState):
    """A value is (merged value, how many intervals of the window have the key)."""

    def __init__(self, made_by: Sliding, context: LogicContext) -> None:
        super().__init__(made_by.merging.name, context)
        self._merging, self._inverse = made_by.merging, made_by.inverse

    def shown(self, value: Any) -> Any:
        return value[0]

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        leaving, entering = (together(partitions) for partitions in given.inputs[0])
        values, function, inverse = self.values, self._merging.function, self._inverse
        key = value = None
        try:
            for key, value in _each(leaving):
                merged_, count = values[key]
                if count == 1:
                    del values[key]
                else:
                    values[key] = (inverse(merged_, value), count - 1)
            for key, value in _each(entering):
                held = values.get(key)
                values[key] = (value, 1) if held is None else (function(held[0], value), held[1] + 1)
        except Exception as error:
            raise user_error(self.name, given.through, value, error, key=key) from error
        return self.given(list(values), wanted)


def _each(column: Column) -> Any:
    return zip(dict_keys(column.keys), rows(column.values), strict=True) if isinstance(column, Pairs) else ()


def _mine(pairs: tuple[tuple[Any, Any], ...], context: LogicContext) -> dict[Any, Any]:
    """Those whose key lies in the partition's key groups."""
    if not pairs:
        return {}
    groups = groups_of(columnar([key for key, _ in pairs]), context.runtime.key_groups)
    mine = (groups >= context.interval.low) & (groups < context.interval.high)
    return {key: value for (key, value), here in zip(pairs, mine.tolist(), strict=True) if here}
