"""Whatever writers do in whatever order, the log holds what was logged, and every new writer goes on from there."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors import input_log
from elastic.connectors.base import LogEntry
from elastic.connectors.input_log import InputLog
from elastic.connectors.positions import LONG, restored, stored
from elastic.errors import FencedError

opens = st.tuples(st.just("open"), st.integers(0, 2), st.integers(0, 3))
appends = st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 3))
trims = st.tuples(st.just("trim"), st.integers(0, 2), st.integers(0, 4))


@given(st.lists(opens | appends | trims, max_size=60))
def test_the_log_is_what_its_writers_were_told_it_is(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    handles: dict[int, InputLog] = {}
    logged, floor = list[LogEntry](), 0

    for move, writer, value in moves:
        try:
            if move == "open":
                opened = InputLog(folder, value, segment_entries=2)
                if writer in handles:
                    handles[writer].close()
                handles[writer] = opened
                assert opened.last == (logged[-1] if logged else None)
            elif writer in handles and move == "append":
                last = handles[writer].last
                entry = LogEntry(last.tick + value, last.end, last.tick) if last else LogEntry(value, 0, 5)
                handles[writer].append(entry)
                logged.append(entry)
            elif writer in handles and logged:
                through = logged[-1].tick - value
                handles[writer].trim(through)
                floor = max(floor, through)
        except FencedError:
            continue
        if writer in handles and handles[writer].last == (logged[-1] if logged else None):
            assert handles[writer].floor <= floor
            assert handles[writer].entries(floor) == [e for e in logged if e.tick > floor]

    final = InputLog(folder, 4, segment_entries=2)
    assert final.floor == floor
    assert final.entries(floor) == [e for e in logged if e.tick > floor]
    for log in [*handles.values(), final]:
        log.close()


numbers = st.lists(st.integers(0, 3), max_size=LONG + 8)


@given(st.lists(numbers | st.integers(0, 9), min_size=1, max_size=12))
def test_positions_come_back_whole_whatever_came_before_them(positions: list[list[int] | int]) -> None:
    written = [
        msgpack.unpackb(msgpack.packb(stored(new, old)))
        for old, new in zip([None, *positions], positions, strict=False)
    ]

    before = None
    for found, position in zip(written, positions, strict=True):
        before = restored(found, before)
        assert before == position


@given(st.lists(st.tuples(st.integers(0, 2), numbers, st.lists(numbers, max_size=2)), max_size=12))
def test_a_log_of_long_positions_holds_them_whole_whoever_wrote_which_and_wherever_a_segment_ends(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, list[int], list[list[int]]]]
) -> None:
    folder, generation = tmp_path_factory.mktemp("log"), 0
    log = InputLog(folder, generation, segment_entries=3)
    logged: list[LogEntry] = []
    for tick, (takes_over, end, cuts) in enumerate(moves, 1):
        if takes_over == 0:
            log.close()
            generation += 1
            log = InputLog(folder, generation, segment_entries=3)
        start = logged[-1].end if logged else []
        logged.append(LogEntry(tick, list(start), end, 1, 1, 0.5, cuts=tuple(cuts), read=(tick, tick)))  # type: ignore[arg-type]
        log.append(logged[-1])
    log.close()

    final = InputLog(folder, generation + 1)
    assert final.entries(0) == logged
    assert final.last == (logged[-1] if logged else None)
    final.close()


def test_of_many_files_an_entry_tells_only_of_those_that_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_log, "SEGMENT_NUMBERS", 200_000)
    log, position = InputLog(tmp_path, 1), [10**9 + n for n in range(500 * 7)]
    log.append(LogEntry(1, [], position, 500, 500, 0.0))
    for tick in range(2, 102):
        end = [*position]
        end[7 * tick + 5 : 7 * tick + 7] = [tick, 2**31 + tick]
        log.append(LogEntry(tick, position, end, 1, 20, 0.0, read=(tick, tick)))
        position = end
    log.close()

    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) == 2, "what a successor reads into memory at once is bounded, too"
    assert sum(path.stat().st_size for path in segments) < 2 * 5 * len(position) + 100 * 120
    again = InputLog(tmp_path, 2)
    assert again.last is not None
    assert again.last.end == position
    again.close()
