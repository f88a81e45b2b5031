"""Who stands still: a worker that does not come back from a task, a source or a sink, as its watchdog tells.

Nothing is replaced then, since the same would happen elsewhere; it is told, to somebody who can mend it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from elastic.coordinator.events import Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.protocol import Stuck
from elastic.units import format_duration

SILENT_S = 3.0
"""A watchdog that says nothing for so long has nothing to say: it speaks up once a second."""

WHERE: Mapping[str, str] = MappingProxyType(
    {
        "read": "a read of its source does not return",
        "commit": "its target does not answer",
        "open": "its target or its input cannot be opened",
        "worker": "code holds the interpreter",
    }
)


class Stillness:
    """Tells of each worker once when it stands still, and once when it goes on."""

    def __init__(self, members: Membership) -> None:
        self._members = members
        self._since: dict[tuple[int, int], tuple[float, float]] = {}  # since when, and when it was heard of last

    def heard(self, message: Stuck, now_s: float) -> list[object]:
        """Something that a worker does has not returned for long."""
        key = message.worker, message.instance
        known = self._since.get(key)
        self._since[key] = (message.since_s if known is None else known[0], now_s)
        if known is not None:
            return []
        code = "your code does not return" if message.user else "a task does not return"
        line = f": {message.lines[-1]}" if message.lines else ""
        text = f"{WHERE.get(message.what, code)} for {format_duration(now_s - message.since_s)}{line}"
        return [self._record("stalled", key, text)]

    def judge(self, now_s: float) -> list[object]:
        """Events for those that go on."""
        over = [key for key, (_, heard_s) in self._since.items() if now_s - heard_s > SILENT_S]
        texts = {key: f"goes on after {format_duration(now_s - self._since.pop(key)[0])}" for key in over}
        return [self._record("moving", key, text) for key, text in texts.items() if not self._members.is_lost(key[0])]

    def _record(self, kind: str, key: tuple[int, int], text: str) -> Record:
        worker, instance = key
        record: InstanceRecord | None = self._members.instances.get(instance)
        if record is None:
            return Record(kind, worker=worker, cause=text)
        return Record(kind, record.operator, record.index, worker, text)
