"""What users write: streams of datasets, one for each interval, and what is made of them.

Every method gives a new stream, or ends one; a mistake is refused at the line that makes it. Streams of pairs are
streams whose rows are ``(key, value)`` tuples; methods that need pairs say so when a row is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from dstream.datasets import SNAPSHOT
from dstream.pairs import Merging
from dstream.plan import Kind
from dstream.refreshed import transforming
from dstream.state import Running, Tracking, Updating
from dstream.streams.base import Bounded
from dstream.streams.by_key import ByKeySteps
from dstream.streams.outputs import Outputs
from dstream.streams.rows import RowSteps
from dstream.streams.stages import At, Builds, all_in_one, checked_merging, counted, stateful
from dstream.streams.tables import TableSteps
from dstream.streams.windows import WindowSteps, whole_intervals
from dstream.transforms import arity, one_by_one, timed
from elastic.callables import add_query_room, caller, check_function, check_shippable, describe, shortened
from elastic.errors import QueryError
from elastic.plan import ERRORS
from elastic.surface import surface

add_query_room(__file__)


@surface
class DStream(
    RowSteps["DStream"], ByKeySteps["DStream"], TableSteps["DStream"], WindowSteps["DStream"], Outputs["DStream"]
):
    """A dataset for each interval.

    Source: D-Streams §3.3 and Spark Streaming's DStream; the reference says where the two differ from this.
    """

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a stream, which has no rows that a function could use; join the two streams")

    @property
    def context(self) -> Builds:
        """Where the stream belongs."""
        return self._context

    def output(self, name: str) -> DStream:
        """The records that the stream's source cannot read, where it diverts them: ``output("errors")``.

        They are dicts, as of an elastic query: with ``record``, ``place`` and ``cause``.

        Raises:
            QueryError: The stream is not what a source gives, or the source does not divert.
        """
        draft = self._at.draft
        if name != ERRORS:
            raise QueryError(f"{caller()}: a stream has no output {shortened(name)}, only {ERRORS!r}, of its source")
        if draft.kind is not Kind.SOURCE or self._at.pieces:
            raise QueryError(f"{caller()}: output({ERRORS!r}) of a step; call it on what context.source(…) gives")
        if draft.logic.errors != "divert":
            raise QueryError(
                f"{caller()}: {draft.name!r} diverts nothing, so it has no output {ERRORS!r}; give the source "
                "errors='divert', as in sources.json_lines('rows.jsonl', errors='divert')"
            )
        return self._new(replace(self._at, view=ERRORS))

    def transform(self, function: Callable[..., Any]) -> DStream:
        """What the function makes of each interval's dataset: ``function(rdd)``, or ``function(time, rdd)``.

        A function of the time is called for every interval, by whoever computes a part of it, with the Unix time of the
        interval's end; what it writes there has the steps that it wrote when it was called first, now. A function
        without it writes the same for every interval, and so is called once, now, with the stream.

        Raises:
            QueryError: It takes other arguments, cannot be shipped, or returns something else.
        """
        takes_time = arity("transform", function, {1: "(rdd)", 2: "(time, rdd)"}) == 2
        return self._transformed("transform", function, one_by_one, [self], takes_time=takes_time)

    def transform_with(self, function: Callable[..., Any], other: DStream) -> DStream:
        """The same with two streams: ``function(rdd, other)``, or ``function(time, rdd, other)``."""
        self._mine("transform_with", other)
        takes_time = arity("transform_with", function, {2: "(rdd, other)", 3: "(time, rdd, other)"}) == 3
        return self._transformed("transform_with", function, one_by_one, [self, other], takes_time=takes_time)

    def _transformed(
        self, call: str, function: Any, calls: Callable[..., Any], streams: list[DStream], *, takes_time: bool
    ) -> DStream:
        """What a function makes of streams of which this is the first.

        Args:
            call: What was called.
            function: The user's.
            calls: ``one_by_one`` or ``all_at_once``.
            streams: What it is given.
            takes_time: It takes the time before them.

        Raises:
            QueryError: It cannot be shipped, or returns no stream.
        """
        write = partial(calls, function)
        if takes_time:
            return self._new(timed(call, function, write, self._context, [stream._at for stream in streams]))
        with transforming():
            made = write(None, streams)
        if not isinstance(made, DStream | Bounded):
            raise QueryError(f"{caller()}: {call}() got {shortened(made)} from its function; return an RDD")
        return made if isinstance(made, DStream) else self._new(self._mine(call, made))

    def map_with_time(self, function: Callable[[float, Any], Any]) -> DStream:
        """One row per row: what ``function(time, row)`` returns; the time is that of the interval's end, Unix time.

        It is the same for all rows of the interval, and whenever they are computed again.
        """
        return self._step("map_with_time", function, arguments=2)

    def count(self) -> DStream:
        """One row: how many rows there are; 0 where there are none."""
        return self._new(counted(self._context, self._at))

    def reduce(self, function: Callable[[Any, Any], Any]) -> DStream:
        """One row: all rows merged by an associative function; none where there are none."""
        return self._new(all_in_one(self._context, self._at, checked_merging("reduce", function)))

    # -- state ---------------------------------------------------------------------------------------------------------

    def running_reduce(self, function: Callable[[Any, Any], Any], *, name: str | None = None) -> StateStream:
        """Pairs of each key that the interval has and all of its values so far, merged."""
        merging = checked_merging("running_reduce", function)
        return self._stateful("running_reduce", Running(merging), merging, name)

    def update_state_by_key(
        self, update: Callable[[list[Any], Any], Any], initial: Iterable[tuple[Any, Any]] | Bounded[Any] = (), *,
        name: str | None = None,
    ) -> DStream:  # fmt: skip
        """Pairs of every key and its state, after each interval.

        ``update(values, state)`` is called for every key, in every interval: with the interval's values, maybe none,
        and the state so far, None at first. It returns the new state, or None to drop the key.

        Args:
            update: The function; it must not change a state in place.
            initial: Pairs that there are at the start, or an RDD of them.
            name: Of the operator, in the report.
        """
        check_function("update_state_by_key", update, called="values and state", arguments=2)
        pairs = tuple(initial.collect() if isinstance(initial, Bounded) else initial)
        if (wrong := next((p for p in pairs if not isinstance(p, tuple | list) or len(p) != 2), None)) is not None:
            raise QueryError(
                f"{caller()}: update_state_by_key(initial=…) takes (key, state) pairs, and there is {shortened(wrong)}"
            )
        check_shippable("initial", pairs)
        label = f"update_state_by_key({describe(update)})"
        return self._stateful(
            "update_state_by_key", Updating(label, update, pairs, self._at.every), None, name
        ).snapshots()

    def track(
        self, initialize: Callable[[Any, Any], Any], update: Callable[[Any, Any, Any], Any],
        timeout: str | None = None, *, name: str | None = None,
    ) -> StateStream:  # fmt: skip
        """Pairs of each key that the interval has and its state.

        Args:
            initialize: ``initialize(key, event)`` gives the state of a key that has none.
            update: ``update(key, state, event)`` gives the next one; called for keys of the interval only. None, from
                either, drops the key.
            timeout: A key without an event for so long is dropped; never if None.
            name: Of the operator, in the report.

        Source: D-Streams §3.3, ``track``. As ``mapWithState`` of Spark, it gives what changed; ``snapshots()`` of it
        are the paper's states.
        """
        check_function("track", initialize, called="key and event", arguments=2)
        check_function("track", update, called="key, state and event", arguments=3)
        intervals = None if timeout is None else whole_intervals("track", "timeout", timeout, self._context.interval_ms)
        label = f"track({describe(update)})"
        return self._stateful("track", Tracking(label, initialize, update, intervals), None, name)

    # -- how it is done ------------------------------------------------------------------------------------------------

    def _new(self, at: At) -> DStream:
        return DStream(self._context, at)

    def _mine(self, call: str, other: Any) -> At:
        if isinstance(other, Bounded):
            return self._table(other)
        if not isinstance(other, DStream):
            raise QueryError(f"{caller()}: {call}() takes a stream, not {shortened(other)}")
        if other._context is not self._context:
            raise QueryError(f"{caller()}: {call}() of streams of two contexts; build both from one")
        return other._at

    def _stateful(self, call: str, dataset: Any, merging: Merging | None, name: str | None) -> StateStream:
        return StateStream(self._context, stateful(self._context, call, dataset, self._at, merging, name=name))


@surface
class StateStream(DStream):
    """What changed of the keys' state in an interval: pairs of a key and its state."""

    def snapshots(self) -> DStream:
        """All keys with their state, after each interval."""
        return self._new(replace(self._at, view=SNAPSHOT))
