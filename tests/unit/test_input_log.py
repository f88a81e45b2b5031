"""The log of a source partition: complete, in order, of one writer, through segments and trimming."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from elastic.connectors import input_log
from elastic.connectors.base import LogEntry
from elastic.connectors.fenced_file import FencedFile
from elastic.connectors.input_log import InputLog, read_log
from elastic.errors import FencedError, SinkError


def entry(tick: int) -> LogEntry:
    """One that reads ten bytes in every tick."""
    return LogEntry(tick, tick * 10, tick * 10 + 10, 2, 10, 1.5)


def fill(log: InputLog, ticks: range) -> None:
    for tick in ticks:
        log.append(entry(tick))


def test_a_new_generation_goes_on_where_the_log_ends(tmp_path: Path) -> None:
    old = InputLog.open(tmp_path, "text files/a", 3, 1)
    assert (old.last, old.floor) == (None, 0)
    entries = [
        LogEntry(4, 0, 100, 7, 100, 1.25),
        LogEntry(9, 100, 100),
        LogEntry(10, 100, 130, 2, 30, 1.5, finished=True, owed=70),
        LogEntry(11, 130, 130, finished=True, final=True, read=(9, 130)),
    ]
    for e in entries:
        old.append(e)

    new = InputLog.open(tmp_path, "text files/a", 3, 2)

    assert new.last == entries[-1]
    assert new.entries(0) == entries
    assert new.entries(9) == entries[2:]
    assert read_log(tmp_path, "text files/a", 3) == entries
    assert read_log(tmp_path, "text files/a", 2) == []


def test_a_zombie_can_log_nothing_more(tmp_path: Path) -> None:
    old = InputLog.open(tmp_path, "lines", 0, 1)
    old.append(entry(0))
    new = InputLog.open(tmp_path, "lines", 0, 2)

    with pytest.raises(FencedError):
        old.append(entry(1))
    with pytest.raises(FencedError):
        InputLog.open(tmp_path, "lines", 0, 1)

    new.append(entry(1))
    assert read_log(tmp_path, "lines", 0) == [entry(0), entry(1)]


def test_an_entry_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    log = InputLog.open(tmp_path, "lines", 0, 1)
    log.append(entry(5))

    with pytest.raises(ValueError, match="does not follow"):
        log.append(LogEntry(5, 60, 70))
    with pytest.raises(ValueError, match="does not follow"):
        log.append(LogEntry(6, 61, 70))

    assert read_log(tmp_path, "lines", 0) == [entry(5)]


def test_positions_may_be_lists(tmp_path: Path) -> None:
    log = InputLog.open(tmp_path, "topic", 0, 1)
    log.append(LogEntry(0, [0, 0], [4, 7], 11))

    assert InputLog.open(tmp_path, "topic", 0, 2).last == LogEntry(0, [0, 0], [4, 7], 11)


def test_segments_read_as_one_log_and_trimming_deletes_those_that_are_done(tmp_path: Path) -> None:
    log = InputLog(tmp_path, 1, segment_entries=4)
    fill(log, range(10))

    log.trim(6)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["4.log", "8.log"]
    assert log.entries(6) == [entry(7), entry(8), entry(9)]
    with pytest.raises(ValueError, match="trimmed through 6; 5 was asked"):
        log.entries(5)


def test_a_log_that_is_kept_can_be_read_whole_after_trimming(tmp_path: Path) -> None:
    log = InputLog.open(tmp_path, "lines", 0, 1, keep=True)
    log._segment_entries = 4
    fill(log, range(10))

    log.trim(6)

    assert read_log(tmp_path, "lines", 0) == [entry(t) for t in range(10)]
    assert log.entries(8) == [entry(9)]


@pytest.mark.parametrize("ticks", [2, 4, 5, 9])
def test_the_floor_survives_the_writer_whatever_segment_it_was_written_in(tmp_path: Path, ticks: int) -> None:
    log = InputLog(tmp_path, 1, segment_entries=4)
    fill(log, range(2))
    log.trim(1)
    fill(log, range(2, ticks))

    assert InputLog(tmp_path, 2).floor == 1
    with pytest.raises(FencedError):
        log.trim(2)


def test_the_last_position_survives_trimming_everything(tmp_path: Path) -> None:
    fill(InputLog(tmp_path, 1, segment_entries=4), range(8))
    log = InputLog(tmp_path, 2, segment_entries=4)
    log.trim(7)
    assert log.last == entry(7)

    reopened = InputLog(tmp_path, 3, segment_entries=4)
    fill(reopened, range(8, 9))
    reopened.trim(8)

    assert InputLog(tmp_path, 4).last == entry(8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["8.log"]


def test_a_segment_that_was_announced_but_never_begun_is_begun_by_the_next_generation(tmp_path: Path) -> None:
    log = InputLog(tmp_path, 1, segment_entries=4)
    fill(log, range(5))
    (tmp_path / "4.log").unlink()  # as if it had died in between

    new = InputLog(tmp_path, 2, segment_entries=4)

    assert new.last == entry(3)
    new.append(entry(4))
    assert new.entries(0) == [entry(t) for t in range(1, 5)]


def test_a_zombie_that_goes_on_to_a_new_segment_is_stopped_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = InputLog(tmp_path, 1, segment_entries=4)
    fill(old, range(4))
    real = FencedFile

    def take_over_first(path: Path, generation: int, **options: Any) -> Any:
        monkeypatch.setattr(input_log, "FencedFile", real)
        assert InputLog(tmp_path, 2, segment_entries=4).last == entry(3)
        return real(path, generation, **options)

    monkeypatch.setattr(input_log, "FencedFile", take_over_first)  # between announcing the segment and beginning it

    with pytest.raises(FencedError):
        old.append(entry(4))
    assert InputLog(tmp_path, 3).entries(0) == [entry(t) for t in range(1, 4)]


def test_a_segment_trimmed_while_it_is_taken_over_leads_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = InputLog(tmp_path, 1, segment_entries=4)
    fill(old, range(4))
    real = FencedFile

    def go_on_first(path: Path, generation: int, **options: Any) -> Any:
        monkeypatch.setattr(input_log, "FencedFile", real)
        fill(old, range(4, 6))
        old.trim(5)
        return real(path, generation, **options)

    monkeypatch.setattr(input_log, "FencedFile", go_on_first)  # between listing the segments and opening the newest
    new = InputLog(tmp_path, 2, segment_entries=4)

    assert new.last == entry(5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4.log"]
    with pytest.raises(FencedError):
        old.append(entry(6))


def test_a_segment_that_cannot_be_begun_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = InputLog(tmp_path, 1, segment_entries=2)
    fill(log, range(2))

    def full(path: Path, generation: int, **options: Any) -> Any:
        raise SinkError("no space")

    with monkeypatch.context() as full_disk:
        full_disk.setattr(input_log, "FencedFile", full)
        with pytest.raises(SinkError):
            log.append(entry(2))

    fill(log, range(2, 5))

    assert InputLog(tmp_path, 2).entries(0) == [entry(t) for t in range(1, 5)]


def test_an_append_costs_far_less_than_a_tick(tmp_path: Path) -> None:
    log = InputLog.open(tmp_path, "lines", 0, 1)
    fill(log, range(100))

    best_s = min(_seconds(log, range(first, first + 100)) for first in range(100, 2100, 100))

    assert best_s / 100 < 100e-6  # measured: 3 µs; the bound leaves room for a busy machine


def _seconds(log: InputLog, ticks: range) -> float:
    start = perf_counter()
    fill(log, ticks)
    return perf_counter() - start


def test_what_was_kept_of_chunks_comes_back_and_fills_segments_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_log, "SEGMENT_BYTES", 1000)
    entries = [LogEntry(n, n, n + 1, 2, 600, 1.5, kept=(b"x" * 300, b"\xff" * 300)) for n in range(1, 7)]
    log = InputLog.open(tmp_path, "tcp", 0, 1)
    for entry in entries:
        log.append(entry)

    assert len(list(tmp_path.rglob("*.log"))) == 3
    assert InputLog.open(tmp_path, "tcp", 0, 2).entries(0) == entries
    log.close()
