"""Whatever writers do in whatever order, the log holds what was logged, and every new writer goes on from there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors.base import LogEntry
from elastic.connectors.input_log import InputLog
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
