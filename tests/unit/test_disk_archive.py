"""Versions of D-Stream state on a disk that may refuse them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from dstream.logic import Version
from dstream.protocol import Kept
from dstream.worker.shell import DiskArchive
from elastic.protocol import Failed
from elastic.state.processing import StateTable

DEADLINE_S = 30.0
VERSION = Version(StateTable(np.array([3], np.uint16), pa.array(["a"]), {"count": pa.array([2])}))


@pytest.mark.parametrize("refuses", [False, True])
def test_a_version_is_kept_or_the_job_is_told_why_it_is_not(tmp_path: Path, *, refuses: bool) -> None:
    told = threading.Event()
    archive = DiskArchive(cast(Any, None), tmp_path, told.set)
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
