"""Broadcast rows: every instance keeps the same of them, whatever is cut, joined or restored, and before other rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, columnar, rows, sorted_batch
from elastic.errors import UserCodeError, UserError
from elastic.keys import KeyInterval, groups_of
from elastic.operators.apply import Apply
from elastic.operators.base import (
    BroadcastContext,
    Context,
    Operator,
    Processor,
    ProcessorContext,
    TickInput,
    ValueState,
)
from elastic.state.checkpoint import Checkpoint, fold_checkpoint, join_checkpoints, partition_checkpoint
from elastic.state.folding import folded
from tests.property.test_operators import ALL, GROUPS, cuts

Tick = tuple[list[tuple[int, str]], list[tuple[int, int]]]  # broadcast rows by emitting group, rows with keys


class Notes(Operator):
    """Emits each row with all that was broadcast so far."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        shared.setdefault("notes", []).append((ctx.tick, ctx.input, value))

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        state.set((state.get() or 0) + value)
        yield key, state.get(), list(ctx.shared.get("notes", ()))


def instance(interval: KeyInterval, operator: Operator | None = None) -> Processor:
    context = ProcessorContext("op", interval, GROUPS, 10, 0.0, 0, broadcast=frozenset({1}))
    return Apply(operator or Notes()).make(context)


def keyed(given_rows: list[tuple[int, int]]) -> Batch:
    keys = columnar([key for key, _ in given_rows])
    return sorted_batch(groups_of(keys, GROUPS), keys, columnar([value for _, value in given_rows]))


def broadcast(given_rows: list[tuple[int, str]]) -> Batch:
    ordered = sorted(given_rows, key=lambda row: row[0])
    return Batch(np.array([group for group, _ in ordered], np.uint16), None, [text for _, text in ordered])


def taken(processor: Processor, tick: int) -> Checkpoint:
    return Checkpoint(tick, None, processor.full(), {}, common=processor.common())


def restored(checkpoint: Checkpoint, interval: KeyInterval) -> Processor:
    processor = instance(interval)
    assert checkpoint.state is not None
    processor.restore_common(checkpoint.common)
    processor.restore(folded(checkpoint.state))
    return processor


ticks = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, GROUPS - 1), st.text("ab", max_size=2)), max_size=3),
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5),
    ),
    min_size=1,
    max_size=6,
)


@given(ticks, cuts(), cuts(), cuts())
def test_what_is_emitted_depends_on_no_cut_and_no_restart(
    story: list[Tick], first: list[KeyInterval], second: list[KeyInterval], producers: list[KeyInterval]
) -> None:
    notes: list[Any] = []
    sums: dict[int, int] = {}
    running = [instance(interval) for interval in first]
    intervals = first

    for tick, (texts, numbers) in enumerate(story, 1):
        parts = [broadcast([row for row in texts if own.contains(row[0])]) for own in producers]
        found = []
        for interval, processor in zip(intervals, running, strict=True):
            slices = [(0, part)] if numbers and (part := keyed(numbers).slice(interval)) is not None else []
            slices += [(1, batch) for batch in parts if len(batch)]
            found += [row for output in processor.process(TickInput(tick, slices)) for row in rows(output.values)]
        notes += [(tick, 1, text) for _, text in sorted(texts, key=lambda row: row[0])]
        expected = []
        for key, value in numbers:
            sums[key] = sums.get(key, 0) + value
            expected.append((key, sums[key], list(notes)))
        assert sorted(found, key=repr) == sorted(expected, key=repr)

        whole = join_checkpoints([taken(processor, tick) for processor in running])
        intervals = second if tick % 2 else first
        parts_of_state = partition_checkpoint(whole, intervals)
        running = [restored(part, own) for part, own in zip(parts_of_state, intervals, strict=True)]


def test_a_delta_carries_what_is_shared_as_it_is_then() -> None:
    processor = instance(ALL)
    processor.process(TickInput(1, [(1, broadcast([(0, "a")]))]))
    base = taken(processor, 1)
    processor.process(TickInput(2, [(1, broadcast([(0, "b")]))]))
    delta = Checkpoint(2, 1, processor.delta(), {}, common=processor.common())

    again = restored(fold_checkpoint(base, [delta]), ALL)

    (output,) = again.process(TickInput(3, [(0, keyed([(1, 1)]))]))
    assert rows(output.values) == [(1, 1, [(1, 1, "a"), (2, 1, "b")])]


class Plain(Operator):
    """Has no broadcast input."""

    total = ValueState(int)

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield key, value


class Told(Plain):
    """Has been given one."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        shared[value] = True


def test_an_operator_may_be_given_a_broadcast_input_and_may_not_lose_it() -> None:
    plain, told = instance(ALL, Plain()), instance(ALL, Told())
    told.process(TickInput(1, [(1, broadcast([(0, "a")]))]))

    again = instance(ALL, Told())
    again.restore_common(plain.common())
    again.restore_common(told.common())
    with pytest.raises(UserError, match="cannot take over its state 'what process_broadcast shares'"):
        instance(ALL, Plain()).restore_common(told.common())

    assert again.common() == told.common()


class Wrong(Operator):
    """Does what it must not."""

    def __init__(self, what: str) -> None:
        self.what = what

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> Any:
        if self.what == "returns":
            return [value]
        if self.what == "asks":
            return ctx.random  # type: ignore[attr-defined]
        if self.what == "keeps":
            shared[value] = (n for n in range(3))
        return None

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        ctx.shared["x"] = value  # type: ignore[index]
        yield key, value


@pytest.mark.parametrize(
    ("what", "says"),
    [("returns", "returned a list, and must return None"), ("asks", "ctx.random is for process")],
)
def test_what_belongs_to_a_key_is_refused_with_the_row(what: str, says: str) -> None:
    with pytest.raises(UserCodeError, match=says) as caught:
        instance(ALL, Wrong(what)).process(TickInput(4, [(1, broadcast([(0, "a")]))]))

    assert (caught.value.operator, caught.value.tick, caught.value.record) == ("op", 4, "'a'")


def test_what_is_shared_is_read_only_for_rows_with_keys() -> None:
    with pytest.raises(UserCodeError, match="does not support item assignment"):
        instance(ALL, Wrong("nothing")).process(TickInput(4, [(0, keyed([(1, 1)]))]))


def test_what_no_checkpoint_can_hold_is_refused_with_the_operator() -> None:
    processor = instance(ALL, Wrong("keeps"))
    processor.process(TickInput(4, [(1, broadcast([(0, "a")]))]))

    with pytest.raises(UserError, match="operator 'op' shares what cannot leave its process"):
        processor.common()
