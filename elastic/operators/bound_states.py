"""Declared states at work: bound to one instance, each on the key that is being processed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from elastic.batch import Column
from elastic.errors import UserError
from elastic.operators.base import Operator, ValueState
from elastic.operators.snapshot import all_immutable, freeze, frozen, thaw
from elastic.operators.states import ListState, MapState, State, checked
from elastic.operators.timers import Timers
from elastic.operators.user_state import KeyedValues, Present

SWEEP_US = 1_000_000
"""What has expired is not seen any more; it is thrown away once a second, so that idle keys wake nobody every tick."""

_MISSING: Any = object()


class StateMismatchError(UserError):
    """A checkpoint holds a state that the operator does not declare like that.

    Attributes:
        operator: Name of the operator in the query.
        state: Name of the state.
        held: What the checkpoint holds.
        declared: What the operator declares; None for nothing of that name.
    """

    def __init__(self, operator: str, state: str, held: str, declared: str | None) -> None:
        super().__init__(operator, state, held, declared)
        self.operator, self.state, self.held, self.declared = operator, state, held, declared

    def __str__(self) -> str:
        what = "does not declare it" if self.declared is None else f"declares a {self.declared}"
        return (
            f"operator {self.operator!r} cannot take over its state {self.state!r}: the checkpoint holds "
            f"a {self.held}, and the operator {what}; declare it as it was, give the new state another name, "
            "or start a new job"
        )


class Cells:
    """What one declared state of an instance holds: per key a value, a list or a dict, of pairs with their end if any.

    Attributes:
        ends: When something of a key comes to its end; None without a ttl.
    """

    def __init__(self, name: str, declared: State, kept: KeyedValues, present: Present) -> None:
        self.name, self.declared, self._kept, self._present = name, declared, kept, present
        self._held: dict[Any, Any] = {}
        self._ttl_us = None if declared.ttl_ms is None else declared.ttl_ms * 1000
        self.ends = None if self._ttl_us is None else Timers(SWEEP_US)
        self._by_event_time = declared.clock == "event"

    def __contains__(self, key: Any) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[Any]:
        return iter(self._held)

    # -- for the key that is being processed ---------------------------------------------------------------------------

    def held(self) -> Any:
        """What the key has, with what is past its end; ``_MISSING`` if nothing. Not to be changed without ``keep``."""
        return self._held.get(self._kept.key, _MISSING)

    def keep(self, held: Any) -> None:
        """The key has this from now on."""
        self._held[self._kept.key] = held
        self._kept.written[self._kept.key] = None

    def drop(self) -> None:
        """The key has nothing any more."""
        key = self._kept.key
        if self._held.pop(key, _MISSING) is not _MISSING:
            self._kept.written[key] = None
            if self.ends is not None:
                self.ends.cancel(key, "")

    def dated(self, value: Any) -> Any:
        """The value as it is kept: with its end, if the state has a ttl."""
        if self._ttl_us is None or self.ends is None:
            return value
        key, present = self._kept.key, self._present
        end = (present.row_us if self._by_event_time else present.now_us) + self._ttl_us
        first = self.ends.at(key, "")
        if first is None or end < first:
            self.ends.set(key, "", end)
        return value, end

    def lives(self, kept: Any) -> bool:
        """Whether a kept value has not come to its end."""
        return self._ttl_us is None or kept[1] > self._now_us

    def bare(self, kept: Any) -> Any:
        """The value without its end."""
        return kept if self._ttl_us is None else kept[0]

    @property
    def has_ends(self) -> bool:
        """Whether values are kept with their ends."""
        return self._ttl_us is not None

    def shown(self, values: Sequence[Any]) -> None:
        """User code gets hold of these values; what it could change in place counts as written."""
        if not all_immutable(values):
            self._kept.aliased = True
            self._kept.written[self._kept.key] = None

    @property
    def _now_us(self) -> int:
        return self._present.watermark_us if self._by_event_time else self._present.now_us

    # -- for the instance ----------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Throw away what has come to its end."""
        if self.ends is None:
            return
        now_us = self._now_us
        for key, name in self.ends.due(now_us):
            if self.ends.settle(key, name, now_us) is None or key not in self._held:
                continue
            left = _still(self._held[key], now_us)
            self._kept.written[key] = None
            if left is None:
                del self._held[key]
            else:
                self._held[key] = left
                self.ends.set(key, "", _first_end(left))

    def next_us(self) -> int | None:
        """When something is to be thrown away, by processing time; None for nothing."""
        return None if self.ends is None or self._by_event_time else self.ends.next_us()

    def column(self, operator: str, keys: Sequence[Any]) -> Column:
        """What each key has, as it is now; None where it has nothing."""
        return freeze(operator, keys, [_packed(self._held.get(key)) for key in keys])

    def restore(self, keys: Sequence[Any], column: Column) -> None:
        """Take over what ``column`` gave."""
        for key, packed in zip(keys, thaw(column), strict=True):
            if packed is not None:
                self._hold(key, packed)

    def _hold(self, key: Any, packed: Any) -> None:
        unpacked: Callable[[Any], Any] = {"list": list, "map": dict}.get(self.declared.kind, _same)
        self._held[key] = held = unpacked(packed)
        if self.ends is not None:
            self.ends.set(key, "", _first_end(held))

    def remember(self, operator: str, key: Any) -> Any:
        """What the key has, as it is now."""
        return frozen(operator, key, _packed(self._held.get(key)))

    def recall(self, key: Any, remembered: Any) -> None:
        """The key has what it had."""
        (packed,) = thaw([remembered])
        self._held.pop(key, None)
        if self.ends is not None:
            self.ends.cancel(key, "")
        if packed is not None:
            self._hold(key, packed)


def _same(value: Any) -> Any:
    return value


def _packed(held: Any) -> Any:
    """Without a container that could be changed in place, so that plain values need no pickling one by one."""
    if type(held) is list:
        return tuple(held)
    return tuple(held.items()) if type(held) is dict else held


def _still(held: Any, now_us: int) -> Any:
    """What of the key's values, kept with their ends, has not come to it; None for nothing."""
    if isinstance(held, list):
        return [kept for kept in held if kept[1] > now_us] or None
    if isinstance(held, dict):
        return {entry: kept for entry, kept in held.items() if kept[1] > now_us} or None
    return held if held[1] > now_us else None


def _first_end(held: Any) -> int:
    kept = held if isinstance(held, list) else held.values() if isinstance(held, dict) else [held]
    return int(min(end for _, end in kept))


class BoundValue(ValueState):
    """A value per key."""

    _cells: Cells

    def get(self) -> Any:
        cells = self._cells
        kept = cells.held()
        if kept is _MISSING or not cells.lives(kept):
            return self.default
        value = cells.bare(kept)
        cells.shown((value,))
        return value

    def set(self, value: Any) -> None:
        if value is None:
            self._cells.drop()
            return
        self._cells.keep(self._cells.dated(checked(self, value)))
        self._cells.shown((value,))

    def clear(self) -> None:
        self._cells.drop()


class BoundList(ListState):
    """A list per key."""

    _cells: Cells

    def get(self) -> list[Any]:
        cells = self._cells
        held = cells.held()
        if held is _MISSING:
            return []
        values = [kept for kept, end in held if cells.lives((kept, end))] if cells.has_ends else list(held)
        cells.shown(values)
        return values

    def append(self, value: Any) -> None:
        self.extend((value,))

    def extend(self, values: Iterable[Any]) -> None:
        cells, held = self._cells, self._cells.held()
        given = [checked(self, value) for value in values]
        if not given:
            return
        kept = [] if held is _MISSING else held
        kept += [cells.dated(value) for value in given]
        cells.keep(kept)
        cells.shown(given)

    def set(self, values: Iterable[Any]) -> None:
        given = list(values)
        self._cells.drop()
        self.extend(given)

    def clear(self) -> None:
        self._cells.drop()

    def __len__(self) -> int:
        return len(self.get())


class BoundMap(MapState):
    """A dict per key."""

    _cells: Cells

    def _living(self) -> dict[Any, Any]:
        """The entries as they are kept."""
        cells = self._cells
        held = cells.held()
        if held is _MISSING:
            return {}
        entries: dict[Any, Any] = held
        return {key: kept for key, kept in entries.items() if cells.lives(kept)} if cells.has_ends else entries

    def __getitem__(self, key: Any) -> Any:
        cells = self._cells
        held = cells.held()
        kept = _MISSING if held is _MISSING else held.get(key, _MISSING)
        if kept is _MISSING or not cells.lives(kept):
            raise KeyError(key)
        value = cells.bare(kept)
        cells.shown((value,))
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        cells, held = self._cells, self._cells.held()
        entries = {} if held is _MISSING else held
        entries[checked(self, key)] = cells.dated(checked(self, value, 1))
        cells.keep(entries)
        cells.shown((key, value))

    def __delitem__(self, key: Any) -> None:
        cells, held = self._cells, self._cells.held()
        kept = _MISSING if held is _MISSING else held.get(key, _MISSING)
        if kept is _MISSING or not cells.lives(kept):
            raise KeyError(key)
        del held[key]
        if held:
            cells.keep(held)
        else:
            cells.drop()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._living()))

    def __len__(self) -> int:
        return len(self._living())

    def clear(self) -> None:
        self._cells.drop()


_BOUND: dict[type[State], type[State]] = {ValueState: BoundValue, ListState: BoundList, MapState: BoundMap}


def declared_states(operator: Operator) -> dict[str, State]:
    """The states that an operator declares, by the name of the attribute."""
    found: dict[str, Any] = {}
    for owner in (*reversed(type(operator).__mro__), operator):
        found |= vars(owner)
    return {name: value for name, value in sorted(found.items()) if isinstance(value, State)}


def bind(operator: Operator, kept: KeyedValues, present: Present) -> dict[str, Cells]:
    """Make the operator's declared states work on ``kept``; what each of them holds, by name."""
    bound: dict[str, Cells] = {}
    for name, declared in declared_states(operator).items():
        state: Any = copy(declared)
        state.__class__ = _BOUND[type(declared)]
        state._cells = bound[name] = Cells(name, declared, kept, present)  # noqa: SLF001 (its other half)
        setattr(operator, name, state)
    return bound
