"""Whatever the interleaving, every reader sees exactly the entries whose append returned."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors.fenced_file import FencedFile, read_entries
from elastic.errors import FencedError, SinkError

opens = st.tuples(st.just("open"), st.integers(0, 3), st.integers(0, 4))
appends = st.tuples(st.just("append"), st.integers(0, 3), st.binary(max_size=40))
torn = st.tuples(st.just("torn"), st.integers(0, 3), st.integers(1, 60))


@given(st.lists(opens | appends | torn, max_size=40))
def test_the_entries_that_count_are_those_whose_append_returned(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int, Any]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.log"
    path.touch()
    handles: dict[int, FencedFile] = {}
    highest, returned = -1, list[Any]()

    for move, writer, value in moves:
        if move == "open":
            try:
                opened = FencedFile(path, value)
            except FencedError:
                assert value < highest
            else:
                assert opened.recovered == returned
                assert value >= highest
                if writer in handles:
                    handles[writer].close()
                handles[writer], highest = opened, value
        elif writer in handles and move == "append":
            try:
                handles[writer].append(value)
            except FencedError:
                pass
            else:
                returned.append(value)
        elif writer in handles:
            with pytest.MonkeyPatch.context() as full_disk:
                full_disk.setattr(os, "write", _short(value))
                with pytest.raises(SinkError):
                    handles[writer].append("torn" * 4)
        assert read_entries(path) == returned

    for handle in handles.values():
        handle.close()


def _short(missing: int) -> Any:
    write = os.write
    return lambda file, data: write(file, data[: max(0, len(data) - missing)])
