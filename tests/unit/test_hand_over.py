"""Rows are handed over through the job directory, which a reader that is slow does not fill."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from dstream import hand_over
from dstream.hand_over import AHEAD_SEGMENTS, KEPT_SEGMENTS, HandOver, handed_over, unpacked
from elastic.batch import Batch
from elastic.connectors import commit_log
from elastic.connectors.base import SinkContext
from elastic.keys import KeyInterval

INTERVALS = 2 * (KEPT_SEGMENTS + AHEAD_SEGMENTS)


@pytest.mark.parametrize("waits", [True, False])
def test_no_more_is_handed_over_than_a_reader_can_be_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    monkeypatch.setattr(commit_log, "SEGMENT_BYTES", 1)  # a segment for each interval
    monkeypatch.setattr(hand_over, "AGAIN_S", 0.001)
    context = SinkContext("run", "job", "out", 4, 10, tmp_path)
    sink = HandOver(waits=waits)
    writer = sink.open(context, KeyInterval(0, 4), 1)
    written: list[int] = []

    def write() -> None:
        for tick in range(1, INTERVALS + 1):
            writer.commit([(tick, Batch(np.zeros(1, np.uint16), None, [tick]))], tick, final=False)
            written.append(tick)

    thread = threading.Thread(target=write)
    thread.start()
    reader, found = sink.reader(context), list[int]()
    if not waits:
        thread.join()
    while len(found) < INTERVALS:
        assert not waits or len(written) <= len(found) + KEPT_SEGMENTS + AHEAD_SEGMENTS + 2
        found += [row for _, data in handed_over(reader) for row in unpacked(data)]
        reader.drop_read(KEPT_SEGMENTS)
    thread.join()

    assert found == list(range(1, INTERVALS + 1))
