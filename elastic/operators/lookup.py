"""Rows looked up in a table that does not change: a step, since whoever has the plan has the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

How: TypeAlias = Literal["inner", "left"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Gives the rows that come of one row: none, or one.

    Attributes:
        table: What there is for each key; None is as if there were nothing.
        key: From a row to its key in the table.
        function: (row, what the table has) to the row that comes of it; the tuple of both if None.
        how: Whether rows that the table has nothing for are left out, or get None.
    """

    table: Mapping[Any, Any]
    key: Callable[[Any], Any]
    function: Callable[[Any, Any], Any] | None
    how: How

    def __call__(self, row: Any) -> list[Any]:
        """The rows that come of it."""
        found = self.table.get(self.key(row))
        if found is None and self.how == "inner":
            return []
        return [(row, found) if self.function is None else self.function(row, found)]
