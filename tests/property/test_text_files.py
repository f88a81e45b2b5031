"""However files are cut, limited and read again, the lines are those that Python's own reading gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import rows
from elastic.connectors import files as room
from elastic.connectors.base import Chunk, Malformed
from elastic.connectors.text_files import text_files

atoms = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\r",
        b"a",
        b"bc d",
        b"\xc3\xa9",
        b"\xc3",
        b"\xe2\x82",
        b"\x82\xac",
        b"\xff",
        b"\xed\xa0\x80",
        b"\0",
    ]
)
contents = st.lists(st.lists(atoms, max_size=30).map(b"".join), min_size=1, max_size=5)
limits = st.lists(st.tuples(st.integers(1, 60), st.none() | st.integers(1, 5)), min_size=1, max_size=4)
policies = st.sampled_from(["replace", "skip", "divert"])


def reference(files: list[bytes], errors: str) -> list[str]:
    """Line by line, with nothing but bytes and ``decode``."""
    lines: list[str] = []
    for content in files:
        raw = content.split(b"\n")
        if raw[-1] == b"":
            raw.pop()
        for line in raw:
            try:
                lines.append(line.removesuffix(b"\r").decode())
            except UnicodeDecodeError:
                if errors == "replace":
                    lines.append(line.removesuffix(b"\r").decode(errors="replace"))
    return lines


def bad_places(folder: Path, files: list[bytes]) -> list[str]:
    """File and number of each line that is no text."""
    places = []
    for i, content in enumerate(files):
        for number, line in enumerate(content.split(b"\n"), 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                places.append(f"{folder}/{i}.txt:{number}")
    return places


@pytest.fixture(scope="module", autouse=True)
def cut_even_the_smallest_files() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SPLIT_FROM_BYTES", 4)
        yield


@given(data=st.data(), files=contents, repeat=st.integers(1, 3), errors=policies)
def test_the_parts_of_files_are_their_lines_and_can_be_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    data: st.DataObject,
    files: list[bytes],
    repeat: int,
    errors: Literal["replace", "skip", "divert"],
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for i, content in enumerate(files):
        Path(folder, f"{i}.txt").write_bytes(content)
    count, sizes = data.draw(st.integers(1, 5)), data.draw(limits)
    once: list[str] = []
    diverted = Counter[str]()

    for partition in text_files(f"{folder}/*", repeat=repeat, errors=errors).partitions(count):
        reader, again = partition.open(), partition.open()
        positions: list[int] = [0]
        reads: list[list[str]] = []
        malformed: list[Sequence[Malformed]] = []
        while not reader.finished:
            chunk = reader.read(*sizes[len(reads) % len(sizes)])
            assert chunk is not None
            assert chunk.position == positions[-1] + chunk.size_bytes
            left_out = max(chunk.skipped, len(chunk.malformed))
            assert chunk.records - left_out <= len(chunk.rows) <= chunk.records
            positions.append(positions[-1] + chunk.size_bytes)
            reads.append(rows(chunk.rows))
            start = data.draw(st.integers(0, len(reads)))
            malformed.append(chunk.malformed)
            found = reader.reread(positions[start], positions[-1])
            assert rows(found.rows if isinstance(found, Chunk) else found) == list(chain(*reads[start:]))
            if errors == "divert":
                assert (found.malformed if isinstance(found, Chunk) else ()) == tuple(chain(*malformed[start:]))
        for (start, _), lines in zip(pairwise(positions), reads, strict=True):
            again.seek(start)
            chunk = again.read(1, len(lines) or None)
            assert chunk is None or rows(chunk.rows) == lines[: len(chunk.rows)]
        lines = list(chain(*reads))
        assert lines == lines[: len(lines) // repeat] * repeat
        once += lines[: len(lines) // repeat]
        diverted.update(told.place for each in malformed for told in each)

    assert once == reference(files, errors)
    if errors == "divert":
        assert diverted == Counter(bad_places(folder, files) * repeat)
