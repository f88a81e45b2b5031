"""Declared states: what a user's operator keeps per key beside the one value, each with a type and perhaps an end.

They are attributes of the operator's class, and each works on the key that is being processed::

    class Cart(Operator):
        items = MapState(str, int, ttl="30m")
        total = ValueState(int, default=0)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, Literal, TypeAlias, get_args

from elastic.units import UnitError, parse_duration_ms

Clock: TypeAlias = Literal["processing", "event"]
"""Processing time is the tick's; event time comes from the rows, and its present is the watermark."""


class State:
    """What the declarations have in common.

    Args:
        types: What values, or keys and values, are to be instances of; without them, anything.
        ttl: How long what was written lives, such as ``"30m"``; each element of a list and each entry of a map has its
            own time. None: until it is deleted.
        clock: Whose time that is; by event time it counts from the time of the row that wrote.

    Raises:
        TypeError, ValueError: At once, where it is declared.
    """

    kind = ""

    def __init__(self, types: tuple[Any, ...], ttl: str | None, clock: Clock) -> None:
        for given in types:
            if given is not None and not isinstance(given, type):
                raise TypeError(f"{type(self).__name__} takes types such as int or str, not {given!r}")
        if clock not in get_args(Clock):
            raise ValueError(f"{type(self).__name__}(clock={clock!r}): write clock='processing' or clock='event'")
        self.types, self.clock = types, clock
        self.ttl_ms = None if ttl is None else _ttl_ms(type(self).__name__, ttl)


def describe(state: State) -> str:
    """The kind of state, in words that are equal where one can take over what the other has kept."""
    types = [given.__qualname__ for given in state.types if given is not None]
    text = f"{state.kind} of {' to '.join(types)}" if types else state.kind
    return text if state.ttl_ms is None else f"{text} with a ttl by {state.clock} time"


def checked(state: State, value: Any, place: int = 0) -> Any:
    """The value, if it is of the type declared for this place.

    Raises:
        TypeError: It is of another.
    """
    wanted = state.types[place]
    if wanted is None or isinstance(value, wanted) or (wanted is float and isinstance(value, int)):
        return value
    raise TypeError(f"a {describe(state)} cannot take {value!r}, of type {type(value).__name__}")


def unbound(state: State) -> RuntimeError:
    """The error that refuses to work outside of a running job."""
    kind = type(state).__name__
    return RuntimeError(f"a {kind} has no key before the job runs; use it inside of process or on_timer")


class ListState(State):
    """The elements that a key has, in the order in which they were added.

    Args:
        of: Type of the elements.
        ttl: How long an element lives.
        clock: Whose time that is.
    """

    kind = "list"

    def __init__(self, of: type | None = None, *, ttl: str | None = None, clock: Clock = "processing") -> None:
        super().__init__((of,), ttl, clock)

    def get(self) -> list[Any]:
        """The elements, in a list of the caller's own."""
        raise unbound(self)

    def append(self, value: Any) -> None:
        """Add an element at the end."""
        raise unbound(self)

    def extend(self, values: Iterable[Any]) -> None:
        """Add elements at the end."""
        raise unbound(self)

    def set(self, values: Iterable[Any]) -> None:
        """These elements instead of those that are there."""
        raise unbound(self)

    def clear(self) -> None:
        """No elements."""
        raise unbound(self)

    def __len__(self) -> int:
        raise unbound(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get())


class MapState(State, MutableMapping[Any, Any]):
    """The entries that a key has: a dict, in the order in which they were written first.

    Args:
        keys: Type of the entries' keys.
        values: Type of their values.
        ttl: How long an entry lives after it was written.
        clock: Whose time that is.
    """

    kind = "map"

    def __init__(
        self,
        keys: type | None = None,
        values: type | None = None,
        *,
        ttl: str | None = None,
        clock: Clock = "processing",
    ) -> None:
        super().__init__((keys, values), ttl, clock)

    def __getitem__(self, key: Any) -> Any:
        raise unbound(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise unbound(self)

    def __delitem__(self, key: Any) -> None:
        raise unbound(self)

    def __iter__(self) -> Iterator[Any]:
        raise unbound(self)

    def __len__(self) -> int:
        raise unbound(self)


def _ttl_ms(kind: str, ttl: str) -> int:
    try:
        ttl_ms = parse_duration_ms(ttl)
    except UnitError as error:
        raise ValueError(f"{kind}(ttl={ttl!r}): {error}") from None
    if not ttl_ms:
        raise ValueError(f"{kind}(ttl={ttl!r}): what is written would be gone at once; leave ttl out to keep it")
    return ttl_ms
