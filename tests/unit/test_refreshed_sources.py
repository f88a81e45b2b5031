"""Data that is read anew in every interval: given when it has changed, and the same when it is had again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dstream import refreshed
from dstream.refreshed import Refreshed, RefreshedReader
from elastic import sources
from elastic.errors import SourceError


def reader_of(path: Path) -> RefreshedReader:
    (partition,) = Refreshed(sources.text_files(str(path)), str(path)).partitions(3)
    reader = partition.open()
    assert isinstance(reader, RefreshedReader)
    return reader


def test_all_of_it_is_one_record_and_is_given_again_only_once_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("ann\nbob\n")
    reader = reader_of(path)

    first, second = reader.read(1), reader.read(1)
    path.write_text("")
    third = reader.read(1)

    assert [chunk.rows for chunk in (first, second, third)] == [[["ann", "bob"]], [], [[]]]
    assert [chunk.position for chunk in (first, second, third)] == [1, 2, 3]


def test_what_the_log_kept_gives_the_same_whatever_has_become_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("ann\n")
    chunks = [(reader := reader_of(path)).read(1), reader.read(1)]
    path.unlink()

    assert [reader.recall(chunk.kept) for chunk in chunks if chunk.kept is not None] == [[["ann"]], []]


def test_a_file_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("ann\n")
    reader = reader_of(path)
    path.unlink()

    with pytest.raises(SourceError, match="names"):
        reader.read(1)


def test_too_much_to_be_read_in_every_interval_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed, "LIMIT_BYTES", 100)
    (tmp_path / "names").write_text("ann\n" * 50)

    with pytest.raises(SourceError, match="too much to be read in every interval; make it an RDD outside of transform"):
        reader_of(tmp_path / "names").read(1)
