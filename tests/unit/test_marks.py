"""Event times and marks of batches, wherever they go; and what clocks make of marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elastic.batch import Batch, carried, sorted_batch
from elastic.fingerprint import fingerprint
from elastic.keys import KeyInterval
from elastic.operators.event_clock import IS_IDLE, EventClock, TimedInput
from elastic.operators.timestamps import BEGINNING, END
from elastic.wire.codec import Codec

GROUPS = np.array([3, 1, 2], np.uint16)
TIMES = np.array([30, 10, 20], np.int64)


def batch(marks: Any = ((0, 30),)) -> Batch:
    given = sorted_batch(GROUPS, ["c", "a", "b"], [3, 1, 2], times=TIMES)
    return Batch(given.groups, given.keys, given.values, False, given.times, marks)


def test_times_go_with_their_rows_and_marks_with_every_part() -> None:
    first, nothing = batch().slice(KeyInterval(0, 2)), batch().slice(KeyInterval(7, 9))

    assert first is not None
    assert (first.times, first.marks) == (np.array([10]), ((0, 30),))
    assert nothing is not None, "marks go to all consumers, whether or not there are rows for them"
    assert (len(nothing), nothing.marks) == (0, ((0, 30),))
    assert batch(marks=()).slice(KeyInterval(7, 9)) is None


def test_merged_batches_carry_the_furthest_mark_of_each_origin() -> None:
    whole = carried([batch(), None, batch(marks=((0, 20), (4, 7)))], ((4, 9),))

    assert whole is not None
    assert whole.marks == ((0, 30), (4, 9))
    assert whole.times is not None
    assert whole.times.tolist() == [10, 10, 20, 20, 30, 30]
    only_marks = carried([], ((0, 5),))
    assert only_marks is not None
    assert (len(only_marks), only_marks.marks) == (0, ((0, 5),))
    assert carried([]) is None


def test_times_and_marks_survive_the_wire_and_are_in_the_fingerprint() -> None:
    codec = Codec(trusted=True)

    for given in (batch(), batch(marks=()), Batch(GROUPS[:0], None, None, marks=((0, 30), (8, -5)))):
        again = codec.decode(codec.encode(given))
        assert fingerprint(again) == fingerprint(given)
        assert again.marks == given.marks
        assert (again.times is None) == (given.times is None)
    assert fingerprint(batch()) != fingerprint(batch(marks=()))


def clock(*, idle_ticks: int = 0, slack_us: int = 5) -> EventClock:
    return EventClock({0: TimedInput((0, 8), slack_us, idle_ticks)})


def test_a_watermark_is_the_least_of_what_the_partitions_promise_and_never_goes_back() -> None:
    of = clock()

    seen = []
    for tick, marks in enumerate([((0, 100),), ((8, 50),), ((8, 70),), ((8, 60),), ((0, 90), (8, 200))], 1):
        of.advance(tick, [(0, marks)], final=False)
        seen.append(of.watermark_us)

    assert seen == [BEGINNING, 45, 65, 65, 95]
    of.advance(9, [], final=True)
    assert of.watermark_us == END


def test_an_idle_partition_is_not_waited_for_until_it_speaks_again() -> None:
    of = clock(idle_ticks=8)
    of.advance(1, [(0, ((0, 100), (8, 50)))], final=False)
    of.advance(5, [(0, ((0, 120),))], final=False)

    assert (of.watermark_us, of.due_after(5)) == (45, 9)
    of.advance(9, [], final=False)
    assert (of.watermark_us, of.idle) == (115, False)
    of.advance(10, [(0, ((8, 60),))], final=False)
    assert of.watermark_us == 115, "it does not go back for who comes late"
    of.advance(11, [(0, ((0, 300),))], final=False)
    assert of.watermark_us == 115, "but waits for it from then on"


def test_when_all_are_idle_event_time_goes_as_far_as_any_has_come() -> None:
    of = clock(idle_ticks=8)
    of.advance(1, [(0, ((0, 100), (8, 50)))], final=False)
    of.advance(9, [], final=False)

    assert (of.watermark_us, of.idle) == (95, True)


def test_an_operator_says_itself_that_it_is_idle() -> None:
    of = EventClock({0: TimedInput((0,)), 1: TimedInput((0,))})
    of.advance(1, [(0, ((0, 100),)), (1, ((IS_IDLE, 1), (0, 40)))], final=False)
    assert of.watermark_us == 100
    of.advance(2, [(0, ((0, 200),)), (1, ((IS_IDLE, 0), (0, 150)))], final=False)
    assert of.watermark_us == 150


@pytest.mark.parametrize("at", range(5))
def test_a_clock_that_is_restored_goes_on_as_it_would_have(at: int) -> None:
    of = clock(idle_ticks=3)
    for tick in range(1, 9):
        if tick == at:
            again = clock(idle_ticks=3)
            again.restore(of.state())
            of = again
        of.advance(tick, [(0, ((0, tick * 10), (8, tick * 7))[: tick % 3])], final=False)

    other = clock(idle_ticks=3)
    for tick in range(1, 9):
        other.advance(tick, [(0, ((0, tick * 10), (8, tick * 7))[: tick % 3])], final=False)
    assert of.state() == other.state()
