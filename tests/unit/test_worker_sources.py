"""The sources of a worker: opened whole or not at all."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from elastic import Query, sinks
from elastic.connectors.base import Partition, Reader
from elastic.connectors.from_list import from_list
from elastic.connectors.input_log import InputLog
from elastic.errors import SourceError, UserError
from elastic.keys import KeyInterval
from elastic.plan import Settings
from elastic.protocol import Start
from elastic.worker.sources import Sources
from elastic.worker.statistics import Statistics

EVERYTHING = KeyInterval(0, 256)


class Ends(Partition):
    """A partition of the user's, of which some cannot be opened."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        self.name, self.error = name, error
        self.reader = from_list([1]).partitions(1)[0].open()

    def open(self) -> Reader:
        if self.error is not None:
            raise self.error
        return self.reader


@pytest.mark.parametrize("error", [SystemExit("enough"), SourceError("not there")])
def test_a_source_that_cannot_be_opened_leaves_nothing_open_and_ends_its_job_and_not_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(InputLog, "close", lambda log: closed.append(log._folder.name))
    query = Query("q")
    query.source(from_list([1, 2]), name="S").sink(sinks.discard(), name="K")
    plan = query.plan(workers=1, settings=Settings())
    parts = (Ends("one"), Ends("two", error))
    operators = {**plan.operators, "S": replace(plan.operators["S"], partitions=parts)}
    opened = Sources(replace(plan, operators=operators), tmp_path, time.time, Statistics(0), keep_log=False)

    with pytest.raises(UserError, match=str(error)):
        opened.feeds(Start(1, 7, "S", 0, EVERYTHING, 1, 1, None, None, ()))

    assert closed == ["S-1", "S-0"]
