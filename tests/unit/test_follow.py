"""Files that are followed: what is appended, renamed, truncated, replaced or taken away."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from elastic.batch import rows
from elastic.connectors import follow as room
from elastic.connectors import sources
from elastic.connectors.base import Chunk, Position
from elastic.connectors.files import FilePatterns
from elastic.connectors.follow import FollowPartition, FollowReader
from elastic.errors import QueryError, SourceError


class Following:
    """A reader over a folder, with a clock that is set."""

    def __init__(self, folder: Path, kind: Any = sources.text_files, pattern: str = "*.log", **options: Any) -> None:
        self.now = 0.0
        (self.partition,) = kind(f"{folder}/{pattern}", follow=True, **options).partitions(1)
        assert isinstance(self.partition, FollowPartition)
        self.reader = self.again()
        self.positions: list[Position] = [self.reader.start]
        self.chunks: list[list[Any]] = []

    def again(self) -> FollowReader:
        """Another reader, as a successor has it."""
        return FollowReader(self.partition, lambda: self.now)

    def read(self, after_s: float = room.SCAN_S, **limits: Any) -> list[Any]:
        """What is there after a while."""
        self.now += after_s
        found: list[Any] = []
        while (chunk := self.reader.read(1 << 20, **limits)) is not None:
            self.positions.append(chunk.position)
            self.chunks.append(rows(chunk.rows))
            found += self.chunks[-1]
        return found

    def replayed(self) -> list[list[Any]]:
        """All chunks read again by a successor."""
        reader = self.again()
        reader.seek(self.positions[-1])
        found = [reader.reread(*span) for span in pairwise(self.positions)]
        return [rows(chunk.rows if isinstance(chunk, Chunk) else chunk) for chunk in found]


def test_a_diverted_line_is_told_the_same_under_whatever_name_the_file_is_found_again(tmp_path: Path) -> None:
    append(tmp_path / "a.log", '{"n": 1}\nbad\n{"n": 2}\n')
    following = Following(tmp_path, sources.json_lines, errors="divert", types={"n": int}, columns=["n"])
    assert following.read() == [{"n": 1}, {"n": 2}]
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")

    again = following.again().reread(*following.positions[-2:])

    assert isinstance(again, Chunk)
    (told,) = again.malformed
    assert (told.record, told.place) == ("bad", f"inode {(tmp_path / 'a.log.1').stat().st_ino}:2")


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def test_what_is_appended_is_read_once_it_has_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\ntwo\nthr")
    following = Following(tmp_path)

    assert following.read() == ["one", "two"]
    assert following.read() == []
    append(log, "ee\nfour\n")
    assert following.read(0.0) == ["three", "four"]
    assert not following.reader.finished


def test_new_files_that_match_are_read_from_their_start(tmp_path: Path) -> None:
    following = Following(tmp_path)
    assert following.read() == []

    append(tmp_path / "b.log", "first\n")
    append(tmp_path / "other.txt", "no match\n")
    assert following.read(0.0) == []
    assert following.read() == ["first"]
    append(tmp_path / "a.log", "second\n")
    append(tmp_path / "b.log", "third\n")
    assert sorted(following.read()) == ["second", "third"]
    assert following.replayed() == following.chunks


def test_a_file_that_is_renamed_is_read_on_and_the_one_in_its_place_is_another(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\n")
    following = Following(tmp_path)
    assert following.read() == ["one"]

    log.rename(tmp_path / "a.log.1")  # matches no more
    append(tmp_path / "a.log.1", "two\n")
    append(log, "three\n")

    assert following.read() == ["two", "three"]
    assert following.replayed() == following.chunks


def test_a_rotated_file_that_still_matches_is_not_read_twice(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\n")
    following = Following(tmp_path, pattern="*")
    assert following.read() == ["one"]

    log.rename(tmp_path / "a.log.1")
    append(log, "two\n")

    assert following.read() == ["two"]
    successor = following.again()
    successor.seek(following.positions[-1])
    following.now += 1
    assert successor.read(1 << 20) is None


def test_the_last_line_of_a_rotated_file_needs_no_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\ntwo")
    following = Following(tmp_path)
    assert following.read() == ["one"]

    log.rename(tmp_path / "old")
    assert following.read() == []
    assert following.read(room.QUIET_S) == ["two"]
    assert following.replayed() == following.chunks


def test_a_truncated_file_is_read_from_its_start_and_that_is_said(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\ntwo\nthree\n")
    following = Following(tmp_path)
    assert following.read() == ["one", "two", "three"]

    os.truncate(log, 0)
    append(log, "four\n")

    assert following.read() == ["four"]
    (notice,) = following.reader.notices()
    assert "a.log' was truncated after 14 bytes of it were read (it has 5 now)" in notice
    assert "not yet read is lost" in notice
    assert following.reader.notices() == []


def test_a_truncated_file_is_read_once_after_the_others_and_so_it_is_when_it_is_read_again(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        append(tmp_path / f"{name}.log", f"{name} one\n{name} two\n")
    following = Following(tmp_path)
    following.read()
    (tmp_path / "a.log").write_text("a anew\n")
    append(tmp_path / "b.log", "b three\n")
    append(tmp_path / "c.log", "c three\n")

    assert following.read() == ["b three", "c three", "a anew"]
    again = following.again().reread(*following.positions[-2:])
    assert rows(again.rows if isinstance(again, Chunk) else again) == following.chunks[-1]


def test_a_file_that_was_truncated_and_has_grown_past_is_noticed_by_its_first_bytes(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\n")
    following = Following(tmp_path)
    following.read()

    os.truncate(log, 0)
    append(log, "two\nthree\n")

    assert following.read() == ["two", "three"]
    assert "was truncated" in following.reader.notices()[0]


def test_what_was_truncated_is_not_read_as_something_else(tmp_path: Path) -> None:
    """The first bytes are the same, and so is the length: only the checksum of what was read tells."""
    log = tmp_path / "a.csv"
    append(log, "name\n" + "one\n" * 100)
    following = Following(tmp_path, sources.csv, "*.csv")
    assert len(following.read()) == 100

    os.truncate(log, 300)
    append(log, "two\n" * 60)

    with pytest.raises(SourceError, match=r"bytes 5 to 405 of a followed file .* gone, or they have changed \(.*a.csv"):
        following.replayed()


def test_a_file_that_is_gone_cannot_be_read_again_and_that_is_said(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\n")
    following = Following(tmp_path)
    following.read()
    log.unlink()

    with pytest.raises(SourceError, match=r"bytes 0 to 4 of a followed file are needed again.*\(inode \d+"):
        following.replayed()
    successor = following.again()
    successor.seek(following.positions[-1])
    assert "read up to byte 4 is gone" in successor.notices()[0]


def test_a_file_that_was_deleted_is_read_to_its_end_and_then_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\n")
    following = Following(tmp_path)
    following.read()
    append(log, "two\n")
    log.unlink()

    assert following.read() == ["two"]
    append(tmp_path / "b.log", "three\n")
    following.read(room.QUIET_S)
    assert following.read(room.QUIET_S) == []
    append(tmp_path / "b.log", "four\n")
    following.read()
    assert isinstance(following.positions[-1], list)
    assert len(following.positions[-1]) == 7  # of one file


def test_a_successor_goes_on_behind_what_was_read_of_each_file(tmp_path: Path) -> None:
    for name in "abc":
        append(tmp_path / f"{name}.log", f"{name}1\n{name}2\n")
    following = Following(tmp_path)
    assert following.read(limit_records=1) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    at = following.positions[4]  # behind b2

    successor = following.again()
    successor.seek(at)
    append(tmp_path / "a.log", "a3\n")
    following.now += 1
    chunk = successor.read(1 << 20)

    assert chunk is not None
    assert rows(chunk.rows) == ["a3", "c1", "c2"]


def test_files_of_csv_that_come_later_must_have_the_same_columns(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "n,word\n1,a\n")
    following = Following(tmp_path, sources.csv, "*.csv")
    assert following.read() == [{"n": 1, "word": "a"}]
    append(tmp_path / "b.csv", "n,wor")
    assert following.read() == []
    append(tmp_path / "b.csv", "d\n2,b\n")
    assert following.read() == [{"n": 2, "word": "b"}]

    append(tmp_path / "c.csv", "word,n\nc,3\n")
    with pytest.raises(SourceError, match=r"c.csv' has the columns word, n; the first file has n, word"):
        following.read()


def test_a_malformed_line_is_named_by_its_place_in_the_file_that_it_is_in(tmp_path: Path) -> None:
    append(tmp_path / "a.jsonl", '{"n": 1}\n{"n": 2}\n')
    append(tmp_path / "b.jsonl", '{"n": 3}\n')
    following = Following(tmp_path, sources.json_lines, "*.jsonl")
    following.read()

    append(tmp_path / "a.jsonl", '{"n": 4}\n')
    append(tmp_path / "b.jsonl", '{"n": 5}\n{"n": "six"}\n')
    with pytest.raises(
        SourceError, match=r"b.jsonl', line 3 \(at byte 18\): the field 'n' holds a string; expected int64"
    ):
        following.read()


def test_the_shares_of_several_readers_are_all_files_and_no_file_twice(tmp_path: Path) -> None:
    for n in range(10):
        append(tmp_path / f"{n}.log", f"{n}\n")
    parts = sources.text_files(f"{tmp_path}/*.log", follow=True).partitions(3)
    for n in range(10, 40):
        append(tmp_path / f"{n}.log", f"{n}\n")

    found = [rows(chunk.rows) for part in parts if (chunk := part.open().read(1 << 20)) is not None]

    assert sorted(int(line) for lines in found for line in lines) == list(range(40))
    assert min(map(len, found)) >= 3 + 1


def test_a_type_that_no_file_can_tell_yet_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"say them with types"):
        sources.json_lines(f"{tmp_path}/*.jsonl", follow=True).partitions(1)

    following = Following(tmp_path, sources.json_lines, "*.jsonl", types={"n": int})
    append(tmp_path / "a.jsonl", '{"n": 1}\n')
    assert following.read() == [{"n": 1}]


def test_csv_can_be_followed_before_there_is_a_file_if_its_columns_have_types(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file yet from which the type of 'word' could be told"):
        sources.csv(f"{tmp_path}/*.csv", follow=True, columns=["n", "word"], types={"n": int}).partitions(1)

    following = Following(tmp_path, sources.csv, "*.csv", types={"n": int, "word": str})
    append(tmp_path / "a.csv", "n,word\n1,a\n")
    assert following.read() == [{"n": 1, "word": "a"}]


def test_what_has_no_end_is_not_repeated() -> None:
    with pytest.raises(QueryError, match="read once"):
        sources.csv("a.csv", follow=True, repeat=2)


def test_more_files_than_a_process_may_have_open_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    (tmp_path / "a.log").write_text("one\n")
    following = Following(tmp_path)
    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(SourceError, match=r"0 files are followed here; raise ulimit -n, or move away"):
        following.read()


def test_a_folder_that_is_not_there_is_told_of_once_and_waited_for(tmp_path: Path) -> None:
    parts = sources.text_files(f"{tmp_path}/logs/2*/*.log", follow=True).partitions(2)
    now = 0.0
    readers = [FollowReader(part, lambda: now) for part in parts if isinstance(part, FollowPartition)]

    assert [reader.read(1 << 20) for reader in readers] == [None, None]
    now = 10.0
    assert [reader.read(1 << 20) for reader in readers] == [None, None]
    assert [list(reader.notices()) for reader in readers] == [
        [f"text_files: there is no folder '{tmp_path}/logs' yet; files are read once there is"],
        [],
    ]

    now = 20.0
    (tmp_path / "logs" / "2026").mkdir(parents=True)
    append(tmp_path / "logs" / "2026" / "a.log", "come\n")
    assert [rows(chunk.rows) for reader in readers if (chunk := reader.read(1 << 20))] == [["come"]]


def test_a_successor_looks_into_the_folders_once_for_all_of_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(50):
        append(tmp_path / f"{n:02}.log", f"line {n}\n")
    following = Following(tmp_path)
    following.read()
    for n in range(25):
        (tmp_path / f"{n:02}.log").rename(tmp_path / f"{n:02}.log.1")
    looks = 0
    look = FilePatterns.look

    def counted(files: FilePatterns) -> dict[str, os.stat_result]:
        nonlocal looks
        looks += 1
        return look(files)

    monkeypatch.setattr(FilePatterns, "look", counted)
    successor = following.again()

    again = successor.reread(*following.positions)
    successor.seek(following.positions[-1])
    append(tmp_path / "03.log.1", "more\n")

    assert rows(again.rows if isinstance(again, Chunk) else again) == [f"line {n}" for n in range(50)]
    assert successor.read(1 << 20) is not None
    assert looks == 2  # one for what was read before, one for new files
    assert list(successor.notices()) == []


def test_a_file_that_is_renamed_between_two_looks_is_found_where_it_is_then(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "one\n")
    append(tmp_path / "b.log", "two\n")
    following = Following(tmp_path)
    following.read()
    successor = following.again()
    successor.seek(following.positions[-1])
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")

    successor.seek(following.positions[-1])

    append(tmp_path / "a.log.1", "three\n")
    chunk = successor.read(1 << 20)
    assert chunk is not None
    assert rows(chunk.rows) == ["three"]
    assert list(successor.notices()) == []


def test_a_file_that_may_not_be_opened_again_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files", path)

    append(tmp_path / "a.log", "one\n")
    following = Following(tmp_path)
    following.read()
    successor = following.again()
    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(SourceError, match=r"cannot read '.*a\.log': Too many open files; 1 file is followed here"):
        successor.seek(following.positions[-1])
