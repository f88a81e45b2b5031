"""Keyed streams cut into windows: what can be made of each key's rows in each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from elastic.callables import caller, check_function, did_you_mean, shortened
from elastic.errors import QueryError
from elastic.graph import Graph, Path
from elastic.nodes import Windowed, check_window_function, folding
from elastic.operators.aggregates import Kind
from elastic.operators.window_results import How, WindowFunction
from elastic.plan import Folding, OnError
from elastic.streams.base import BaseStream
from elastic.surface import surface

if TYPE_CHECKING:
    from elastic.streams.keyed import KeyedStream
    from elastic.streams.plain import Stream


@surface
class WindowedStream(BaseStream):
    """The rows of a keyed stream in windows, to be aggregated in each of them.

    Results are dicts with the fields ``key``, ``start``, ``end`` (Unix time, seconds) and ``value``, emitted when the
    window ends. Rows that came too late are on the output ``late``.
    """

    def __init__(self, graph: Graph, paths: Sequence[Path], origin: str, windowed: Windowed) -> None:
        super().__init__(graph, paths, origin)
        self._windowed = windowed

    def count(self, *, name: str | None = None) -> Stream:
        """Number of rows per key and window."""
        return self._made("count", None, None, name)

    def sum(
        self, value: Callable[[Any], Any] | None = None, *, on_error: OnError = "fail", name: str | None = None
    ) -> Stream:
        """Sum per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("sum", None, value, name, on_error=on_error)

    def mean(
        self, value: Callable[[Any], Any] | None = None, *, on_error: OnError = "fail", name: str | None = None
    ) -> Stream:
        """Mean per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("mean", None, value, name, on_error=on_error)

    def min(
        self, value: Callable[[Any], Any] | None = None, *, on_error: OnError = "fail", name: str | None = None
    ) -> Stream:
        """Smallest per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("min", None, value, name, on_error=on_error)

    def max(
        self, value: Callable[[Any], Any] | None = None, *, on_error: OnError = "fail", name: str | None = None
    ) -> Stream:
        """Largest per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("max", None, value, name, on_error=on_error)

    def reduce(
        self,
        function: Callable[[Any, Any], Any],
        value: Callable[[Any], Any] | None = None,
        *,
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Per key and window ``function(so far, next)`` over what ``value`` gives for each row; without it, the rows.

        In sliding and session windows it is also given what it has made of two parts of a window.
        """
        check_function("reduce", function, called="two values", arguments=2)
        return self._made("reduce", function, value, name, on_error=on_error)

    def aggregate(
        self,
        init: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        result: Callable[[Any], Any] | None = None,
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Per key and window ``add(accumulator, row)``, from ``init()`` on; emitted is ``result(accumulator)``.

        Sliding and session windows need ``merge(accumulator, accumulator)``, which is given parts in order of time.
        """
        return self._made("aggregate", folding(init, add, merge, result), None, name, on_error=on_error)

    def apply(self, function: WindowFunction, *, on_error: OnError = "fail", name: str | None = None) -> Stream:
        """The rows that ``function(key, values, window)`` returns or yields for each key and window.

        ``values`` are the rows in the order in which they came; ``window.start`` and ``window.end`` are Unix times.
        """
        checked = check_window_function(function)
        return self._made("gather", checked, None, name, default="apply", on_error=on_error)

    def join(
        self,
        other: KeyedStream,
        function: Callable[[Any, Any], Any] | None = None,
        *,
        how: How = "inner",
        name: str | None = None,
    ) -> Stream:
        """Every pair of a row of this stream and one of the other, of the same key and window.

        The value is ``function(row, other row)``, or the tuple of both. With ``how`` ``"left"``, ``"right"`` or
        ``"outer"``, a row of that side (or of both) that has no partner is paired with None.
        """
        if not isinstance(other, self.with_keys):
            raise QueryError(
                f"{caller()}: join() takes a KeyedStream, such as stream.key_by(…), not {shortened(other)}"
            )
        self._check_one_query("join", other)
        self._read()
        return self._of(self._windowed.joined(other._read(), function, how, name))

    def _made(
        self,
        kind: Kind | Literal["gather"],
        function: Callable[..., Any] | Folding | None,
        value: Callable[[Any], Any] | None,
        name: str | None,
        *,
        default: str | None = None,
        on_error: OnError = "fail",
    ) -> Stream:
        self._read()
        node = self._windowed.node(kind, function, value, name, default=default or kind, on_error=on_error)
        return self._applied(node)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"a WindowedStream has no {name!r}", name=name, obj=self)
            if hasattr(self.without_keys, name):
                raise QueryError(
                    f"{caller()}: {name}() does not follow window(); say first what is to be made of each window, "
                    f"as in .window(…).count().{name}(…)"
                )
            raise AttributeError(f"a WindowedStream has no {name}{did_you_mean(name, dir(self))}")
