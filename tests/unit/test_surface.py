"""What a traceback shows of an error that leaves the API: the user's own lines, and of ours the one that is called."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dstream import StreamingContext
from elastic import Query, sinks, sources, windows
from elastic.errors import SourceError, UserError
from elastic.surface import surface


def frames(error: BaseException) -> list[str]:
    """Names of the files that a traceback shows, outermost first."""
    return [Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)]


def stream() -> Any:
    return Query("mistaken").source(sources.from_list([1, 2]))


MISTAKES: dict[str, Callable[[], Any]] = {
    "a step": lambda: stream().map("user"),
    "a keyed step": lambda: stream().key_by().reduce(lambda one: one),
    "a window": lambda: windows.sliding("1s", "2s"),
    "a method of keyed streams": lambda: stream().count(),
    "a source": lambda: sources.text_files([]),
    "a sink": lambda: sinks.sqlite("", table="counts"),
    "an output": lambda: stream().output("late"),
    "a setting": lambda: Query("mistaken").run(memory="12"),
    "a setting of a context": lambda: StreamingContext("1s", memory="12"),
    "an input of a context": lambda: StreamingContext("1s").source([1]),  # type: ignore[arg-type]
    "a step of a DStream": lambda: StreamingContext("1s").source(sources.from_list([1])).map("user"),  # type: ignore[arg-type]
    "an argument that there is not": lambda: stream().map(fun=len),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_shown_with_one_frame_of_ours_below_the_users_line(mistake: str) -> None:
    with pytest.raises((UserError, TypeError)) as caught:
        MISTAKES[mistake]()

    assert frames(caught.value)[-2:] == ["test_surface.py", "surface.py"]
    assert caught.value.__suppress_context__


def test_the_users_own_frames_stay_also_where_our_code_has_called_them() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise SourceError("there is no table")

    with pytest.raises(SourceError, match="there is no table") as caught:
        sources.from_list(rows())

    assert frames(caught.value) == ["test_surface.py", "surface.py", "test_surface.py"]


def test_a_bug_of_ours_keeps_every_frame() -> None:
    @surface
    def outer() -> None:
        inner()

    def inner() -> None:
        raise TypeError("no mistake of the user's")

    with pytest.raises(TypeError) as caught:
        outer()

    assert [f.name for f in traceback.extract_tb(caught.value.__traceback__)][1:] == ["called", "outer", "inner"]
