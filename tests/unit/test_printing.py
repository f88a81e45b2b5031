"""Rows for stdout are printed by the command: each once, as soon as it is committed, whichever worker commits it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elastic.batch import Batch
from elastic.connectors import sinks, sources
from elastic.keys import KeyInterval
from elastic.plan import Plan
from elastic.query import Query
from elastic.scenario.printing import Printer
from elastic.scenario.verify import context_of

ALL = KeyInterval(0, 256)


def _plan() -> Plan:
    query = Query("printed")
    stream = query.source(sources.from_list(["a"]))
    stream.sink(sinks.stdout(), name="shown")
    stream.sink(sinks.discard(), name="counted")
    return query.plan(workers=2)


def _rows(*rows: object) -> Batch:
    return Batch(np.zeros(len(rows), np.uint16), None, list(rows))


def test_rows_are_printed_once_when_they_are_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = _plan()
    printer = Printer(plan, tmp_path)
    writer = sinks.stdout().open(context_of(plan, "shown", tmp_path), ALL, 1)

    printer.print()
    assert capsys.readouterr().out == ""

    writer.commit([(1, _rows("one", ("two", 2)))], 1, final=False)
    printer.print()
    printer.print()
    assert capsys.readouterr().out == "one\ntwo\t2\n"

    successor = sinks.stdout().open(context_of(plan, "shown", tmp_path), ALL, 2)
    successor.commit([(2, _rows("three"))], 2, final=True)
    printer.print()
    assert capsys.readouterr().out == "three\n"
    writer.close()
    successor.close()
