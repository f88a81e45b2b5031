"""Named outputs: what user code emits beside its main output, record by record or in columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elastic.batch import Column, Groups, Pairs, columnar, concat, take
from elastic.keys import sort_order
from elastic.operators.base import Output
from elastic.operators.snapshot import copied


@dataclass(slots=True)
class _Rows:
    """Rows of one output in the order in which they were emitted, with the group, key and time that emitted each."""

    groups: list[int] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


class NamedOutputs:
    """The named outputs of one instance during a tick.

    Attributes:
        pending: (output, row) of the record that is being processed, until it is kept or dropped as a whole.
    """

    def __init__(self, operator: str, declared: Sequence[str], read: Collection[str]) -> None:
        self._operator, self._declared, self._read = operator, frozenset(declared), frozenset(read)
        self.pending: list[tuple[str, Any]] = []
        self._rows: dict[str, _Rows] = {}
        self._columns: dict[str, list[tuple[Groups, Column, Column]]] = {}

    def wants(self, output: str) -> bool:
        """Whether something reads the output.

        Raises:
            ValueError: It is not declared.
        """
        if output not in self._declared:
            raise _undeclared(output, self._declared)
        return output in self._read

    def keep(self, group: int, key: Any, time_us: int, *, copy: bool) -> None:
        """What is pending was emitted by this key at an event time; ``copy`` where user code may still change it."""
        values = [value for _, value in self.pending]
        if copy:
            values = copied(self._operator, [key] * len(values), values)
        for (name, _), value in zip(self.pending, values, strict=True):
            rows = self._rows.get(name) or self._rows.setdefault(name, _Rows())
            rows.groups.append(group)
            rows.keys.append(key)
            rows.values.append(value)
            rows.times.append(time_us)
        self.pending.clear()

    def keep_columns(self, output: str, groups: Groups, keys: Column, values: Column) -> None:
        """Columns were emitted, which nobody will change; keys in any order."""
        self._columns.setdefault(output, []).append((groups, keys, values))

    def drop(self) -> None:
        """Nothing of this tick is emitted: user code raised."""
        self.pending.clear()
        self._rows.clear()
        self._columns.clear()

    def take(self, *, timed: bool) -> list[Output]:
        """All that was kept, in canonical order, with event times if rows have any; nothing is held any more."""
        if not self._rows and not self._columns:
            return []
        outputs = [
            Output(
                np.array(rows.groups, np.uint16),
                rows.values,
                columnar(rows.keys),
                name,
                times=np.array(rows.times, np.int64) if timed else None,
            )
            for name, rows in self._rows.items()
        ]
        for name, parts in self._columns.items():
            groups = np.concatenate([part[0] for part in parts])
            keys, values = concat([part[1] for part in parts]), concat([part[2] for part in parts])
            order = sort_order(groups, keys)
            keys = take(keys, order)
            outputs.append(Output(groups[order], Pairs(keys, take(values, order)), keys, name))
        self.drop()
        return outputs


def _undeclared(output: Any, declared: Collection[str]) -> ValueError:
    if not declared:
        return ValueError(f'the operator declares no outputs; write outputs = ("{output}",) in its class')
    near = difflib.get_close_matches(str(output), declared, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it declares {', '.join(map(repr, sorted(declared)))}"
    return ValueError(f"the operator declares no output {output!r}{hint}")
