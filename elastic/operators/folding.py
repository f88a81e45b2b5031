"""Aggregates of the user's own functions: reductions, and foldings with an accumulator of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import length_hint
from typing import Any, NoReturn

from elastic.batch import Batch, Column, Indices, columnar, rows
from elastic.operators.accumulator import MISSING, Accumulator, absorbed, failure_at, values_at
from elastic.operators.failure import row_at, row_error, user_error
from elastic.operators.snapshot import UnserialisableStateError, copied, freeze, frozen, thaw
from elastic.plan import Folding


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Stands for a result that the user's function did not give, where that is not to end the job."""

    accumulator: Any
    error: Exception


def accumulated(value: Any) -> Any:
    """What a result was to be made of, in its place; else the value itself."""
    return value.accumulator if isinstance(value, Unresolved) else value


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

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self.add(slots, absorbed(thaw(fields["value"])), tick)


class Foldings(_Objects):
    """What the functions of a user's ``aggregate`` make of a key's rows, or of accumulators that senders began."""

    def __init__(self, operator: str, folding: Folding, *, careful: bool = False) -> None:
        super().__init__(operator)
        self._folding, self._careful = folding, careful

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values, init, add = self._values, self._folding.init, self._folding.add
        given = rows(batch.values)
        if batch.partial:
            assert self._folding.merge is not None
            add = self._folding.merge
            given = copied(self._operator, rows(batch.keys), given)  # merge may keep them
        news, careful = iter(given), self._careful
        slot, before = -1, None
        try:
            for slot, new in zip(slots.tolist(), news, strict=True):
                if (so_far := values[slot]) is MISSING:
                    so_far = init()
                elif careful:
                    before = frozen(self._operator, None, so_far)
                after = add(so_far, new)
                if after is None and so_far is not None:
                    _refuse_none(add)
                values[slot], before = after, None
        except UnserialisableStateError:
            raise
        except Exception as error:
            if before is not None:  # it may have been changed in place
                (values[slot],) = thaw([before])
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
            if self._careful:
                return self._each_tried(result, rows(keys), accumulators)
            at = len(accumulators) - length_hint(left) - 1
            raise row_error(self._operator, None, accumulators[at], error, at, key=rows(keys)[at]) from error
        return columnar(copied(self._operator, rows(keys), found))

    def _each_tried(self, result: Callable[[Any], Any], keys: list[Any], accumulators: list[Any]) -> list[Any]:
        """The results, and an ``Unresolved`` for each accumulator of which there is none."""
        found: list[Any] = []
        errors: dict[int, Exception] = {}
        for n, accumulator in enumerate(accumulators):
            try:
                found.append(result(accumulator))
            except Exception as error:  # noqa: BLE001 (a user's function raises what it likes)
                errors[n] = error
                found.append(accumulator)
        own = copied(self._operator, keys, found)
        return [Unresolved(value, errors[n]) if n in errors else value for n, value in enumerate(own)]

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self.add(slots, absorbed(thaw(fields["value"]), partial=True), tick)


class Gathered(_Objects):
    """All values, in a list per slot, in the order in which they came."""

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values = self._values
        for slot, new in zip(slots.tolist(), rows(batch.values), strict=True):
            if values[slot] is MISSING:
                values[slot] = [new]
            else:
                values[slot].append(new)

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        for slot, more in zip(slots.tolist(), thaw(fields["value"]), strict=True):
            self._values[slot] = ([] if self._values[slot] is MISSING else self._values[slot]) + more


def folded(
    folding: Folding, codes: Indices, values: Column, *, operator: str, tick: int, keys: Column
) -> list[Any] | None:
    """An accumulator for each code 0, 1, 2 … of the rows that have it; None where rows must travel whole.

    They must where an accumulator holds a float, whatever the user says of ``merge``: a sum of floats depends on how
    the rows were grouped, and they are grouped by who sends them.

    Args:
        folding: The user's functions.
        codes: Of the rows; each comes first in this order.
        values: The rows.
        operator: Its name, as are the others for errors.
        tick: When.
        keys: Of the rows.

    Raises:
        UserCodeError: A function of the user's raised.
    """
    init, add = folding.init, folding.add
    accumulators: list[Any] = []
    news, row = iter(rows(values)), None
    try:
        if holds_float([init()]):
            return None
        for code, row in zip(codes.tolist(), news, strict=True):
            if code == len(accumulators):
                accumulators.append(init())
            so_far = accumulators[code]
            accumulators[code] = after = add(so_far, row)
            if after is None and so_far is not None:
                _refuse_none(add)
    except Exception as error:
        at = len(codes) - length_hint(news) - 1
        raise user_error(operator, tick, row, error, key=row_at(keys, at)) from error
    return None if holds_float(accumulators) else accumulators


def _refuse_none(add: Callable[[Any, Any], Any]) -> NoReturn:
    name = getattr(add, "__name__", "the function")
    raise TypeError(f"{name} returned None; return the accumulator, also where it was changed in place")


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
