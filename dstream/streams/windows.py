"""Windows: what the last intervals had, together."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dstream.datasets import Grouped, Merged, Union
from dstream.pairs import Merging
from dstream.plan import Input, Kind, Reach
from dstream.sliding import Sliding
from dstream.streams.base import S, Steps
from dstream.streams.stages import (
    COUNTING,
    At,
    all_in_one,
    checked_merging,
    counted,
    moved,
    narrow,
    reduced,
    second,
    wide,
    with_none,
)
from elastic.callables import add_query_room, caller, check_function, shortened
from elastic.errors import QueryError
from elastic.surface import surface
from elastic.units import UnitError, parse_duration_ms

add_query_room(__file__)


@surface
class WindowSteps(Steps[S]):
    """Steps over several intervals."""

    def window(self, length: str, slide: str | None = None) -> S:
        """In every interval that a slide ends with, the rows of the last intervals, of ``length`` together."""
        return self._new(self._windowed("window", self._at, *self._window("window", length, slide)))

    def count_by_window(self, length: str, slide: str | None = None) -> S:
        """How many rows a window has."""
        intervals, every = self._window("count_by_window", length, slide)
        inside = self._windowed("count_by_window", counted(self._context, self._at), intervals, every)
        return self._new(all_in_one(self._context, inside, COUNTING))

    def count_by_value_and_window(self, length: str, slide: str | None = None) -> S:
        """Pairs of each different row of a window and how often it is there."""
        paired = self._at.then("with_one", "count_by_value_and_window()", None)
        window = self._window("count_by_value_and_window", length, slide)
        merging = Merging("count_by_value_and_window", operator.add, "sum")
        return self._new(self._merged(paired, merging, window, operator.sub))

    def reduce_by_window(
        self, function: Callable[[Any, Any], Any], length: str, slide: str | None = None, *,
        inverse: Callable[[Any, Any], Any] | None = None,
    ) -> S:  # fmt: skip
        """One row: all rows of a window merged. With ``inverse``, see ``reduce_by_key_and_window``."""
        window = self._window("reduce_by_window", length, slide)
        merging = checked_merging("reduce_by_window", function)
        _check_inverse("reduce_by_window", inverse)
        keyed = all_in_one(self._context, self._at, merging).then("map", "reduce_by_window()", with_none)
        return self._new(self._merged(keyed, merging, window, inverse).then("map", "reduce_by_window()", second))

    def reduce_by_key_and_window(
        self, function: Callable[[Any, Any], Any], length: str, slide: str | None = None, *,
        inverse: Callable[[Any, Any], Any] | None = None, name: str | None = None,
    ) -> S:  # fmt: skip
        """One pair per key of a window: its values merged. Each interval's are merged once, for all windows it is in.

        Args:
            function: An associative function of two values.
            length: Of a window: a whole number of intervals.
            slide: Time from one window to the next: a whole number of intervals; one of them if None.
            inverse: ``inverse(merged, value)`` takes a value out again. With it a window costs what enters and leaves
                it, without it all of its intervals.
            name: Of the operator, in the report.

        Raises:
            QueryError: Length or slide is not a whole number of intervals, or a function cannot serve.
        """
        window = self._window("reduce_by_key_and_window", length, slide)
        merging = checked_merging("reduce_by_key_and_window", function)
        _check_inverse("reduce_by_key_and_window", inverse)
        return self._new(self._merged(self._at, merging, window, inverse, name=name))

    def group_by_key_and_window(self, length: str, slide: str | None = None) -> S:
        """One pair per key of a window: the list of its values, oldest first."""
        intervals, every = self._window("group_by_key_and_window", length, slide)
        by_key = wide(self._context, "partition_by", Union(), [(self._at, None)])
        at = self._windowed("group_by_key_and_window", by_key, intervals, every, keyed=True)
        return self._new(narrow(self._context, "group_by_key_and_window", Grouped(self._context.key_groups), at))

    def delayed(self, time: str) -> S:
        """The rows that the stream had so long ago; join a stream with it to see its own past."""
        back = self._intervals("delayed", "time", time)
        at = self._at
        return self._new(moved(self._context, "delayed", at, (back,), keyed=at.by_key, every=at.every))

    def _merged(
        self, at: At, merging: Merging, window: tuple[int, int], inverse: Any, *, name: str | None = None
    ) -> At:
        """One pair per key of a window, its values merged: naively, or kept up."""
        call = merging.name.partition("(")[0]
        intervals, every = window
        each = reduced(self._context, at, merging, call=f"{call}-each")
        if inverse is None:
            inside = self._windowed(call, each, intervals, every, keyed=True)
            return narrow(self._context, call, Merged(merging, self._context.key_groups), inside, name=name)
        inputs = [Input(*each.feed(keyed=True), Reach.SAME, (intervals, 0))]
        draft = self._context.graph.add(
            call, Kind.STATE, Sliding(merging, inverse), inputs, every=every, tasks=each.tasks, given=name
        )
        return At(draft, by_key=True, every=every, tasks=each.tasks)

    def _windowed(self, call: str, at: At, intervals: int, every: int, *, keyed: bool = False) -> At:
        return moved(self._context, call, at, tuple(range(intervals - 1, -1, -1)), keyed=keyed, every=every)

    def _window(self, call: str, length: Any, slide: Any) -> tuple[int, int]:
        intervals = self._intervals(call, "length", length)
        every = self._at.every if slide is None else self._intervals(call, "slide", slide)
        if every % self._at.every or intervals % self._at.every:
            before = self._at.every * self._context.interval_ms
            raise QueryError(
                f"{caller()}: {call}() over a stream that has rows every {before}ms only; "
                f"make length and slide multiples of that"
            )
        return intervals, every

    def _intervals(self, call: str, what: str, time: Any) -> int:
        return whole_intervals(call, what, time, self._context.interval_ms)


def _check_inverse(call: str, inverse: Any) -> None:
    if inverse is not None:
        check_function(call, inverse, called="two values", arguments=2)


def whole_intervals(call: str, what: str, time: Any, interval_ms: int) -> int:
    """A duration as a number of intervals.

    Raises:
        QueryError: It is no duration, or not a whole number of intervals.
    """
    if callable(time):
        raise QueryError(f"{caller()}: {call}({what}={shortened(time)}) is no duration; write inverse=… for a function")
    try:
        time_ms = parse_duration_ms(time)
    except UnitError:
        raise QueryError(f"{caller()}: {call}({what}={time!r}) is no duration; write one such as '30s'") from None
    count, rest_ms = divmod(time_ms, interval_ms)
    if rest_ms or not count:
        near = max(1, round(time_ms / interval_ms)) * interval_ms
        raise QueryError(
            f"{caller()}: {call}({what}={time!r}) is not a whole number of intervals of {interval_ms}ms; "
            f"write {what}='{near}ms', or change the interval"
        )
    return count
