"""A file that survives zombies, torn writes and full disks, and says what is wrong when it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from elastic.connectors.fenced_file import VERSION, FencedFile, read_entries
from elastic.errors import FencedError, SinkError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def test_a_new_generation_sees_what_counted_and_fences_the_old_one(path: Path) -> None:
    old = FencedFile(path, 1)
    old.append("one")

    new = FencedFile(path, 2)

    assert new.recovered == ["one"]
    with pytest.raises(FencedError, match="opened by generation 2: generation 1 must stop"):
        old.append("late")
    with pytest.raises(FencedError):
        old.append("later")
    new.append("two")
    assert read_entries(path) == ["one", "two"]


def test_an_older_generation_cannot_open_and_does_not_disturb(path: Path) -> None:
    new = FencedFile(path, 2)
    new.append("one")

    with pytest.raises(FencedError):
        FencedFile(path, 1)

    new.append("two")
    assert read_entries(path) == ["one", "two"]


def test_a_generation_that_opens_again_fences_its_former_self(path: Path) -> None:
    first = FencedFile(path, 1)
    first.append("one")

    second = FencedFile(path, 1)

    with pytest.raises(FencedError):
        first.append("late")
    second.append("two")
    assert read_entries(path) == ["one", "two"]


@pytest.mark.parametrize("missing", range(1, 20))
def test_a_record_cut_short_is_skipped_by_the_writer_and_by_readers(
    path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    file = FencedFile(path, 1)
    file.append("one")
    write = os.write
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "write", lambda fd, data: write(fd, data[:-missing]))
        with pytest.raises(SinkError, match=r"only \d+ of \d+ bytes could be written; free space"):
            file.append("torn")

    file.append("two")

    assert FencedFile(path, 2).recovered == ["one", "two"]
    assert read_entries(path) == ["one", "two"]


def test_a_full_disk_is_said_and_the_entry_may_be_appended_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FencedFile(path, 1)

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "write", full)
        with pytest.raises(SinkError, match=r"cannot write '.*a\.log': No space left on device"):
            file.append("one")

    file.append("one")

    assert read_entries(path) == ["one"]


def test_a_file_of_another_kind_or_release_is_left_alone(path: Path) -> None:
    for content, said in [
        (b"a letter", "another kind of file"),
        (b"\xe1FF\x63", f"format 99, this release reads {VERSION}"),
    ]:
        path.write_bytes(content)

        for use in (lambda: FencedFile(path, 1), lambda: read_entries(path)):
            with pytest.raises(SinkError, match=said):
                use()

        assert path.read_bytes() == content


def test_the_first_version_of_the_format_can_be_read_for_ever(path: Path) -> None:
    path.write_bytes(
        bytes.fromhex("e14646010000000458f9562b930007030a")  # generation 3 started, as writer 7
        + bytes.fromhex("e146460100000007af8b9251930107a36162630a")  # its entry
    )

    assert read_entries(path) == ["abc"]


def test_a_directory_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"cannot open .* for writing: No such file"):
        FencedFile(tmp_path / "missing" / "a.log", 1)


def test_synced_appends_reach_the_disk_before_they_return(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    FencedFile(path, 1, sync=True).append("one")

    assert len(synced) == 3  # the start, the directory, the entry


APPEND_UNTIL_FENCED = """
import json, sys
from pathlib import Path
from elastic.connectors.fenced_file import FencedFile
from elastic.errors import FencedError
kept, generation = 0, int(sys.argv[2])
try:
    file = FencedFile(Path(sys.argv[1]), generation)
    print("open", flush=True)
    while True:
        file.append([generation, kept])
        kept += 1
except FencedError:
    print(kept)
"""


def test_writers_in_several_processes_agree_with_the_file_on_what_counts(path: Path) -> None:
    root = str(Path(__file__).parents[2])
    writers = []
    for generation in range(3):
        command = [sys.executable, "-c", APPEND_UNTIL_FENCED, str(path), str(generation)]
        writer = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        writers.append(writer)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        size, deadline = path.stat().st_size, monotonic() + 60
        while path.stat().st_size < size + 10_000:
            assert monotonic() < deadline

    last = FencedFile(path, 3)

    kept = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert last.recovered == [[g, i] for g in range(3) for i in range(kept[g])]
    assert read_entries(path) == last.recovered
