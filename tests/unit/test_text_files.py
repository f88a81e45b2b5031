"""Which text files are found, how they are cut, what a line is, and what is said when they cannot be read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from elastic.batch import rows
from elastic.connectors.base import Chunk, Malformed, Rate, Reader
from elastic.connectors.files import FilePatterns
from elastic.connectors.text_files import LineFiles, text_files
from elastic.errors import QueryError, SourceError


def lines_of(reader: Reader, limit_bytes: int = 1 << 20, limit_records: int | None = None) -> list[str]:
    """All rows up to the end; fails if a read makes no progress."""
    result: list[str] = []
    while not reader.finished:
        chunk = reader.read(limit_bytes, limit_records)
        assert chunk is not None
        assert chunk.records > 0
        result += rows(chunk.rows)
    return result


def read_all(source: LineFiles, count: int = 1) -> list[str]:
    return [line for partition in source.partitions(count) for line in lines_of(partition.open())]


def write(path: Path, text: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_lines_lose_their_end_and_nothing_else(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\r\n\n \ttwo \r\r\nth\rr\x0be\x85\u2028e\n\x00\nlast")

    assert read_all(text_files(file)) == ["one", "", " \ttwo \r", "th\rr\x0be\x85\u2028e", "\x00", "last"]


def test_files_are_read_in_order_of_name_whole_and_once(tmp_path: Path) -> None:
    write(tmp_path / "b" / "2.txt", "second")
    write(tmp_path / "a.txt", "first\n")
    write(tmp_path / "b" / "c" / "3.txt", "third\r\n")
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "z.md", "no text")

    source = text_files([f"{tmp_path}/**/*.txt", f"{tmp_path}/b/../b/2.txt"])

    assert read_all(source) == ["first", "second", "third"]


def test_a_name_that_looks_like_a_pattern_is_a_name_when_there_is_such_a_file(tmp_path: Path) -> None:
    write(tmp_path / "[1].txt", "named")
    write(tmp_path / "1.txt", "matched")

    assert read_all(text_files(tmp_path / "[1].txt")) == ["named"]


def test_excluded_files_are_left_out_by_part_of_the_path_or_by_pattern(tmp_path: Path) -> None:
    for name in ("keep.py", "sub/tests/no.py", "sub/no.tmp.py"):
        write(tmp_path / name, name)

    found = FilePatterns("text_files", (f"{tmp_path}/**/*.py",), ("/sub/tests/", "*.tmp.*")).find()

    assert [Path(f).name for f in found] == ["keep.py"]


def test_repeat_reads_everything_again_and_positions_go_on(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\ntwo")
    reader = text_files(file, repeat=3).partitions(1)[0].open()

    assert lines_of(reader) == ["one", "two"] * 3
    assert rows(reader.reread(7, 18)) == ["one", "two", "one"]


def test_a_large_file_is_cut_between_lines_into_parts_of_equal_size(tmp_path: Path) -> None:
    lines = [f"{i:07d}" for i in range(50_000)]
    file = write(tmp_path / "a.txt", "\n".join(lines))

    parts = [lines_of(p.open()) for p in text_files(file).partitions(4)]

    assert [line for part in parts for line in part] == lines
    assert [len(part) for part in parts] == [12_500] * 4


def test_files_of_about_one_size_are_not_cut_where_each_can_be_a_part(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"{i}.txt", f"{i:07d}\n" * (20_000 + 300 * i))

    parts = [lines_of(p.open()) for p in text_files(f"{tmp_path}/*.txt").partitions(4)]

    assert [set(part) for part in parts] == [{f"{i:07d}"} for i in range(4)]


def test_small_files_are_not_cut(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.txt", f"{i}\n" * 1000)

    parts = [lines_of(p.open()) for p in text_files(f"{tmp_path}/*.txt").partitions(3)]

    assert [sorted(set(part)) for part in parts] == [["0", "1", "2"], ["3", "4", "5", "6"], ["7", "8", "9"]]


def test_a_line_longer_than_the_limit_comes_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "short\n" + "x" * 300_000 + "\nend")
    reader = text_files(file).partitions(1)[0].open()

    assert [len(line) for line in lines_of(reader, limit_bytes=10)] == [5, 300_000, 3]


def test_one_read_spans_many_small_files(tmp_path: Path) -> None:
    for i in range(100):
        write(tmp_path / f"{i:03d}.txt", f"{i}\nend")
    reader = text_files(f"{tmp_path}/*").partitions(1)[0].open()

    chunk = reader.read(1 << 20)

    assert chunk is not None
    assert (chunk.records, chunk.size_bytes, reader.finished) == (200, 590, True)
    assert reader.read(1 << 20) is None


def test_a_limit_in_records_is_kept_exactly(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.txt", "\n" * 7 + "x" * 40)
    reader = text_files(f"{tmp_path}/*").partitions(1)[0].open()

    records = []
    while (chunk := reader.read(1 << 20, limit_records=9)) is not None:
        records.append(chunk.records)

    assert sum(records) == 40
    assert max(records) <= 9


@pytest.mark.parametrize(
    ("errors", "expected", "counts"),
    [
        ("replace", ["good", "b\ufffdd", "é", "\ufffd", "end"], (0, 2, 0)),
        ("skip", ["good", "é", "end"], (2, 0, 1)),
        ("divert", ["good", "é", "end"], (0, 0, 2)),
    ],
)
def test_invalid_text_is_repaired_skipped_or_diverted_and_counted(
    tmp_path: Path, errors: Any, expected: list[str], counts: tuple[int, int, int]
) -> None:
    file = write(tmp_path / "a.txt", b"good\nb\xe9d\n\xc3\xa9\n\xc3\r\nend")
    reader = text_files(file, errors=errors).partitions(1)[0].open()

    chunk = reader.read(1 << 20)

    assert chunk is not None
    assert (rows(chunk.rows), chunk.records) == (expected, 5)
    assert (chunk.skipped, chunk.repaired, len(chunk.malformed)) == counts
    told = [Malformed("b\\xe9d", f"{file}:2", "the line is not UTF-8"), Malformed("\\xc3", f"{file}:4", ANY)]
    assert list(chunk.malformed) == told[: counts[2]]
    again = reader.reread(0, chunk.position)
    assert rows(again.rows if isinstance(again, Chunk) else again) == expected
    assert (again.malformed if isinstance(again, Chunk) else ()) == chunk.malformed


def test_invalid_text_fails_with_file_line_and_offset_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "fine\r\n")
    write(tmp_path / "b.txt", b"one\r\ntwo\nthr\xff\n")
    reader = text_files(f"{tmp_path}/*", errors="fail").partitions(1)[0].open()

    with pytest.raises(SourceError, match=r"b\.txt', line 3 \(at byte 9\): the line is not UTF-8.*errors='replace'"):
        reader.read(1 << 20)


def test_a_source_and_its_partitions_survive_pickling(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\ntwo\n")

    source = pickle.loads(pickle.dumps(text_files(file, rate="4MiB/s")))
    partition = pickle.loads(pickle.dumps(source.partitions(1)[0]))

    assert source.rate == Rate(4 << 20, "bytes")
    assert lines_of(partition.open()) == ["one", "two"]


def test_a_relative_path_stays_the_same_file_wherever_the_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.txt", "here")
    monkeypatch.chdir(tmp_path)
    partition = text_files("a.txt").partitions(1)[0]
    monkeypatch.chdir("/")

    assert lines_of(partition.open()) == ["here"]


def test_empty_files_give_finished_partitions(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "")

    readers = [p.open() for p in text_files(file).partitions(3)]

    assert [reader.finished for reader in readers] == [True, True, True]
    assert readers[0].read(100) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing.txt", "there is no file '.*missing.txt'"),
        ("*.log", "no file matches '.*log'"),
        ("", "is a directory; name the files in it, such as '.*[*]'"),
        ("s*", "matches only directories"),
        ("broken", "cannot read '.*broken': No such file"),
        ("pipe", "regular files"),
    ],
)
def test_a_path_that_cannot_be_read_is_refused_in_words(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SourceError, match=said):
        text_files(tmp_path / path).partitions(1)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.txt", "secret")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything, so chmod would not do

    with pytest.raises(SourceError, match=r"no permission to read '.*a\.txt'"):
        text_files(file).partitions(1)


def test_leaving_out_every_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "text")

    with pytest.raises(SourceError, match="leaves out every file"):
        text_files(file, exclude="a.").partitions(1)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\n" * 10)
    reader = text_files(file).partitions(1)[0].open()
    reader.read(8)
    os.truncate(file, 20)

    with pytest.raises(SourceError, match=r"became shorter.*40 bytes were expected, 20 found"):
        reader.read(1 << 20)


def test_a_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\n")
    reader = text_files(file).partitions(1)[0].open()
    file.unlink()

    with pytest.raises(SourceError, match="has gone since the job started"):
        reader.read(1 << 20)


def test_what_is_appended_later_is_not_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "one\ntw")
    partition = text_files(file, repeat=2).partitions(1)[0]
    write(file, "one\ntwo\nthree\n")

    assert lines_of(partition.open()) == ["one", "tw", "one", "tw"]


def test_a_reader_holds_one_file_open_and_none_after_close(tmp_path: Path) -> None:
    for i in range(50):
        write(tmp_path / f"{i}.txt", "x\n")
    reader = text_files(f"{tmp_path}/*").partitions(1)[0].open()

    def held() -> int:
        return sum(str(p.resolve()).startswith(str(tmp_path)) for p in Path("/proc/self/fd").iterdir())

    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted through /proc")

    reader.read(1 << 20)
    assert held() == 1
    reader.close()
    assert held() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"paths": []}, "at least one path"),
        ({"paths": "a", "errors": "ignore"}, "'replace', 'skip', 'fail' or 'divert'"),
        ({"paths": "a", "repeat": 0}, "whole number from 1 up"),
        ({"paths": "a", "repeat": 1.5}, "whole number from 1 up"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_query_is_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        text_files(**arguments)
