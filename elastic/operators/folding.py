"""Aggregates of the user's own functions: reductions, and foldings with an accumulator of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import length_hint
from typing import Any

import numpy as np

from elastic.batch import Batch, Column, Indices, columnar, rows, take
from elastic.operators.accumulator import MISSING, Accumulator, failure_at, values_at
from elastic.operators.failure import user_error
from elastic.operators.snapshot import copied, freeze, thaw
from elastic.plan import Folding
from elastic.state.processing import dict_keys


class _Objects(Accumulator):
    """Python objects by slot."""

    def __init__(self, operator: str) -> None:
        self._operator = operator
        self._values: list[Any] = []

    def grow(self, size: int) -> None:
        self._values += [MISSING] * (size - len(self._values))

    def results(self, keys: Column, slots: Indices) -> Column:
        return columnar(copied(self._operator, rows(keys), values_at(self._values, slots)))

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        return {"value": freeze(self._operator, rows(keys), values_at(self._values, slots))}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        for slot, value in zip(slots.tolist(), thaw(fields["value"]), strict=True):
            self._values[slot] = value


class Reductions(_Objects):
    """What a function of the user's makes of the value so far and the next one, from a key's first value on."""

    def __init__(self, operator: str, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(operator)
        self._function = function

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values, function = self._values, self._function
        news = iter(rows(batch.values))
        try:
            for slot, new in zip(slots.tolist(), news, strict=True):
                so_far = values[slot]
                values[slot] = new if so_far is MISSING else function(so_far, new)
        except Exception as error:
            raise failure_at(self._operator, tick, batch, length_hint(news), error) from error


class Foldings(_Objects):
    """What the functions of a user's ``aggregate`` make of a key's rows, or of accumulators that senders began."""

    def __init__(self, operator: str, folding: Folding) -> None:
        super().__init__(operator)
        self._folding = folding

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values, init, add = self._values, self._folding.init, self._folding.add
        given = rows(batch.values)
        if batch.partial:
            assert self._folding.merge is not None
            add = self._folding.merge
            given = copied(self._operator, rows(batch.keys), given)  # merge may keep them
        news = iter(given)
        try:
            for slot, new in zip(slots.tolist(), news, strict=True):
                so_far = values[slot]
                values[slot] = _after(add, init() if so_far is MISSING else so_far, new)
        except Exception as error:
            raise failure_at(self._operator, tick, batch, length_hint(news), error) from error

    def results(self, keys: Column, slots: Indices) -> Column:
        result = self._folding.result
        if result is None:
            return super().results(keys, slots)
        accumulators = values_at(self._values, slots)
        left = iter(accumulators)
        try:
            found = list(map(result, left))
        except Exception as error:
            at = len(accumulators) - length_hint(left) - 1
            raise user_error(self._operator, None, accumulators[at], error, key=rows(keys)[at]) from error
        return columnar(copied(self._operator, rows(keys), found))


def folded(
    folding: Folding, operator: str, keys: Column, values: Column, tick: int, most: float
) -> tuple[Column, list[Any]] | None:
    """The different keys and an accumulator of the rows of each; None where they must travel whole, or had better.

    They must where an accumulator holds a float, whatever the user says of ``merge``: a sum of floats depends on how
    the rows were grouped, and they are grouped by who sends them.

    Args:
        folding: The user's functions.
        operator: Its name, for errors.
        keys: Of the rows.
        values: The rows.
        tick: When.
        most: Share of different keys among the rows above which it is not worth it.

    Raises:
        UserCodeError: A function of the user's raised.
    """
    if folding.merge is None:
        return None
    each = dict_keys(keys)
    try:
        first = {key: at for at, key in reversed(list(enumerate(each)))}
    except TypeError:
        return None  # an unhashable key, which will be refused as such
    if len(first) > len(each) * most:
        return None
    accumulators: dict[Any, Any] = {}
    news, row = iter(rows(values)), None
    try:
        if holds_float([folding.init()]):
            return None
        for key, row in zip(each, news, strict=True):
            so_far = accumulators[key] if key in accumulators else folding.init()
            accumulators[key] = _after(folding.add, so_far, row)
    except Exception as error:
        raise user_error(operator, tick, row, error, key=each[len(each) - length_hint(news) - 1]) from error
    if holds_float(accumulators.values()):
        return None
    return take(keys, np.array([first[key] for key in accumulators], np.int64)), list(accumulators.values())


def _after(add: Callable[[Any, Any], Any], so_far: Any, new: Any) -> Any:
    after = add(so_far, new)
    if after is None and so_far is not None:
        name = getattr(add, "__name__", "the function")
        raise TypeError(f"{name} returned None; return the accumulator, also where it was changed in place")
    return after


def holds_float(values: Iterable[Any]) -> bool:
    """Whether a float is among the values, or anywhere in their tuples, lists, sets and dicts."""
    level = list(values)
    while level:
        if float in set(map(type, level)):
            return True
        dicts = [v for v in level if isinstance(v, dict)]
        nested = [v for v in level if isinstance(v, tuple | list | set | frozenset)]
        level = [*chain.from_iterable(nested), *chain.from_iterable(dicts)]
        level += chain.from_iterable(d.values() for d in dicts)
    return False
