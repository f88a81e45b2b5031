"""What listeners are told goes through files that do not pile up."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dstream import news
from dstream.news import NewsReader, NewsWriter


def files(directory: Path) -> int:
    return len(list((directory / "news").glob("*")))


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "SEGMENT_BYTES", 100)


def tell(directory: Path, *numbers: int) -> None:
    """A writer of its own tells of these."""
    with closing(NewsWriter(directory)) as writer:
        writer.add({"n": n} for n in numbers)


def heard(reader: NewsReader) -> list[int]:
    return [note["n"] for note in reader.read()]


def test_everything_is_read_once_in_order_and_what_was_read_goes(tmp_path: Path) -> None:
    found: list[int] = []

    with closing(NewsReader(tmp_path)) as reader, closing(NewsWriter(tmp_path)) as writer:
        for n in range(200):
            writer.add([{"n": n}, {"n": -n}])
            if n % 7 == 0:
                found += heard(reader)
                assert files(tmp_path) <= 2
        found += heard(reader)

        assert found == [m for n in range(200) for m in (n, -n)]
        assert heard(reader) == []


def test_another_writer_begins_a_file_of_its_own_and_a_torn_line_is_left_alone(tmp_path: Path) -> None:
    with closing(NewsReader(tmp_path)) as reader:
        tell(tmp_path, 1)
        (torn,) = (tmp_path / "news").glob("*")
        torn.write_text(torn.read_text() + '{"n": 2')
        first = heard(reader)

        tell(tmp_path, 3)

        assert (first, heard(reader)) == ([1], [3])


def test_who_resumes_a_job_is_not_told_what_happened_before(tmp_path: Path) -> None:
    tell(tmp_path, *range(50))

    with closing(NewsReader(tmp_path)) as reader:
        tell(tmp_path, 50)

        assert heard(reader) == [50]
