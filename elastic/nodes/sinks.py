"""Rows that a sink is asked about before they are sent to it."""

from __future__ import annotations

from typing import Any

from elastic.batch import Column
from elastic.connectors.base import Sink
from elastic.functions import ColumnFunction


def checked_by(sink: Sink) -> ColumnFunction:
    """The function of a step that gives the rows that the sink can hold, and raises on each other one."""

    def row(row: Any) -> Any:
        sink.check([row])
        return row

    def column(column: Column) -> Column | None:
        try:
            sink.check(column)
        except Exception:  # noqa: BLE001 (whichever row it is, it raises by itself)
            return None
        return column

    return ColumnFunction(sink.name, row, column)
