"""Streams whose rows go everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from elastic.callables import caller
from elastic.errors import QueryError
from elastic.streams.base import BaseStream
from elastic.surface import surface


@surface
class BroadcastStream(BaseStream):
    """Rows that go to every instance of the operator that they are united with a keyed stream for."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"a BroadcastStream has no {name!r}", name=name, obj=self)
            raise QueryError(
                f"{caller()}: {name}() does not follow broadcast(), which ends a stream; write .{name}(…) before it, "
                "and then keyed.union(stream.broadcast()).apply(operator)"
            )
