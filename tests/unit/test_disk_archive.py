"""Versions of D-Stream state, and blocks, on a disk that may refuse them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from dstream.blocks import Name
from dstream.protocol import Kept
from dstream.versions import Version
from dstream.worker.shell import DiskArchive, DiskSpill
from elastic.errors import UserError
from elastic.plan import Settings
from elastic.protocol import Failed
from elastic.state.processing import StateTable

DEADLINE_S = 60.0
PLAN = cast(Any, SimpleNamespace(settings=Settings(), has_disk=True))
VERSION = Version(StateTable(np.array([3], np.uint16), pa.array(["a"]), {"count": pa.array([2])}))


@pytest.mark.parametrize("refuses", [False, True])
def test_a_version_is_kept_or_the_job_is_told_why_it_is_not(tmp_path: Path, *, refuses: bool) -> None:
    told = threading.Event()
    archive = DiskArchive(PLAN, tmp_path, told.set)
    (states,) = tmp_path.iterdir()
    if refuses:
        states.rmdir()
    archive.save(7, 2, 1, 4, VERSION)

    assert told.wait(DEADLINE_S)
    (news,) = archive.news()

    assert news.instance == 7
    if refuses:
        assert isinstance(news, Failed)
        assert f"a checkpoint cannot be written to {states}" in news.error
        assert archive.kept() == []
    else:
        assert isinstance(news, Kept)
        assert archive.kept() == [(2, 1, 4)]
        assert archive.load(2, 1, 4) is not None


def test_a_version_that_cannot_be_pickled_is_told_as_one_that_cannot_be_made(tmp_path: Path) -> None:
    told = threading.Event()
    archive = DiskArchive(PLAN, tmp_path, told.set)
    for value in (threading.Lock(), 2):  # the thread goes on after the first
        told.clear()
        archive.save(7, 2, 1, 4, Version(StateTable(np.array([3], np.uint16), ["a"], {"value": [value]})))
        assert told.wait(DEADLINE_S)

    refused, kept = archive.news()

    assert isinstance(refused, Failed)
    assert "a checkpoint cannot be made: a value of type _thread.lock" in refused.error
    assert isinstance(kept, Kept)


def test_blocks_that_cannot_be_spilled_say_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("in the way")

    with pytest.raises(UserError, match=r"cannot be written to .*spill.*; free its disk, or give workers more memory"):
        DiskSpill(tmp_path, 3).write(Name(1, 2, 3), [])
