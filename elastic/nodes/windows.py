"""Windows on keyed rows, and the operators that are made of each key's rows in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from elastic.arguments import check_on_error, duration_ms
from elastic.callables import caller, check_function, shortened
from elastic.errors import QueryError
from elastic.graph import Graph, Node, Path
from elastic.operators.aggregates import Kind
from elastic.operators.window_results import How, Pairing, WindowFunction
from elastic.operators.windowed import Aggregation, Timing
from elastic.operators.windowing import Windowing
from elastic.plan import ByPane, Combine, Folding, OnError
from elastic.windows import FixedWindows, SessionWindows


class Windowed:
    """Windows on the paths of a keyed stream, before it is said what is to be made of them."""

    def __init__(
        self, graph: Graph, paths: Sequence[Path], spec: Any, lateness: str, time: Literal["event", "processing"] | None
    ) -> None:
        if not isinstance(spec, FixedWindows | SessionWindows):
            raise QueryError(
                f"{caller()}: window() takes one of elastic.windows, such as windows.tumbling('1m'), "
                f"not {shortened(spec)}"
            )
        if time not in ("event", "processing", None):
            raise QueryError(f"{caller()}: window(time={time!r}): write time='event' or time='processing'")
        self._graph, self.paths, self._spec = graph, tuple(paths), spec
        by_event_time = self._is_by_event_time(paths, time)
        lateness_ms = duration_ms("window", "lateness", lateness, "10s")
        if lateness_ms and not by_event_time:
            raise QueryError(
                f"{caller()}: window(lateness={lateness!r}): by processing time no row is late; "
                "declare .event_time(…) behind the source, or leave lateness out"
            )
        self._timing = Timing(by_event_time, lateness_ms * 1000)

    @staticmethod
    def _is_by_event_time(paths: Sequence[Path], time: str | None) -> bool:
        timed = [path for path in paths if path.has_times]
        if time == "processing" or (time is None and not any(path.event_time is not None for path in paths)):
            return False
        if len(timed) == len(paths):
            return True
        without = next(path.producer for path in paths if not path.has_times)
        raise QueryError(
            f"{caller()}: window() needs the event time of every row, and those of {without!r} have none; write "
            ".event_time(…) where they come from, or window(…, time='processing')"
        )

    def node(
        self,
        kind: Kind | Literal["gather"],
        function: Callable[..., Any] | Folding | None,
        value: Callable[[Any], Any] | None,
        name: str | None,
        *,
        default: str,
        others: Sequence[Path] = (),
        on_error: OnError = "fail",
    ) -> Node:
        """The operator; ``others`` are the paths of the stream that this one is joined with."""
        if value is not None:
            check_function(kind, value)
        check_on_error(kind, on_error)
        if isinstance(function, Folding) and function.merge is None and not self._is_tumbling:
            raise QueryError(
                f"{caller()}: aggregate() in {self._spec} windows puts windows together of parts; give it "
                "merge=(accumulator, accumulator) -> accumulator"
            )
        aggregation = Aggregation(kind, function, sided=bool(others))
        windowing = Windowing(self._spec, aggregation, self._timing)
        node = self._graph.add("keyed", windowing, verb="window", name=name, default=default, on_error=on_error)
        self._graph.connect(node, (*self.paths, *others), value=value, combine=self._combine(kind))
        return node

    @property
    def _is_tumbling(self) -> bool:
        return isinstance(self._spec, FixedWindows) and self._spec.is_tumbling

    def _combine(self, kind: str) -> Combine | None:
        """What can be made of rows before the shuffle; by processing time, those of a tick are in one pane."""
        if isinstance(self._spec, SessionWindows):
            return None
        if self._timing.by_event_time:
            return ByPane(self._spec.pane_us, self._spec.offset_us) if kind == "count" else None
        combines: dict[str, Combine] = {
            "count": "count", "sum": "sum", "mean": "mean", "min": "min", "max": "max"
        }  # fmt: skip
        return combines.get(kind)

    def joined(
        self, others: Sequence[Path], function: Callable[[Any, Any], Any] | None, how: How, name: str | None
    ) -> Node:
        """A join with the rows of other paths in the same windows."""
        if how not in get_args(How):
            raise QueryError(f"{caller()}: join(how={how!r}): write one of {', '.join(map(repr, get_args(How)))}")
        if len(self.paths) != 1 or len(others) != 1:
            raise QueryError(f"{caller()}: join() takes one stream on each side, and one of them is a union")
        if function is not None:
            check_function("join", function, called="a value of each side", arguments=2)
        if self._timing.by_event_time and not all(path.has_times for path in others):
            raise QueryError(f"{caller()}: join() by event time, and the rows of the other stream have none")
        return self.node("gather", Pairing(function, how), None, name, default="join", others=others)


def check_window_function(function: Any) -> WindowFunction:
    """The function, if it can be given a window."""
    if not callable(function):
        raise QueryError(f"{caller()}: apply() takes function(key, values, window), not {shortened(function)}")
    check_function("apply", function, called="a key, its values and the window", arguments=3, one_row=False)
    apply: WindowFunction = function
    return apply
