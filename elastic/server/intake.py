"""What the sources have read, each record once, however often it was read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from elastic.plan import Plan
from elastic.wire.control import WorkerReport

Count: TypeAlias = tuple[int, int]
"""Records and bytes."""

NONE: Count = (0, 0)


@dataclass(slots=True)
class Intake:
    """Counts of all sources together.

    A partition's log says how much was read of it, also of ticks that nobody has reported who lives. Where the job was
    resumed, what the log said at first is not this run's.

    Attributes:
        whole_bytes: What there is to read in all; None if a source has no known end.
        resumed: An earlier run has read some of it.
    """

    whole_bytes: int | None = None
    resumed: bool = False
    _through: dict[tuple[str, int], int] = field(default_factory=dict)  # by source and partition, as are all these
    _told: dict[tuple[str, int], Count] = field(default_factory=dict)
    _logged: dict[tuple[str, int], Count] = field(default_factory=dict)
    _before: dict[tuple[str, int], Count] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Intake:
        """Of a plan's sources, before they have read anything."""
        partitions = [p for o in plan.operators.values() if o.kind == "source" for p in o.partitions]
        known = [size for p in partitions if (size := p.input_bytes) is not None]
        return cls(sum(known) if len(known) == len(partitions) else None, plan.since_s > plan.tick_zero_s)

    @property
    def records(self) -> int:
        """Records read."""
        return sum(records for records, _ in self._counts().values())

    def records_of(self, operator: str) -> int:
        """Records read by one source."""
        return sum(records for (name, _), (records, _) in self._counts().items() if name == operator)

    @property
    def size_bytes(self) -> int:
        """Input bytes read."""
        return sum(size_bytes for _, size_bytes in self._counts().values())

    def _counts(self) -> dict[tuple[str, int], Count]:
        return {source: max(told, self._logged.get(source, NONE)) for source, told in self._told.items()}

    def add(self, report: WorkerReport, places: Mapping[int, tuple[str, int]]) -> Iterator[tuple[int, float, int]]:
        """Take a worker's report in; (tick, Unix time, records) of each read that was not counted before.

        Args:
            report: Of one worker.
            places: Operator and index of every instance.
        """
        for instance, group, tick, read_s, records, size_bytes in report.reads:
            source = places.get(instance, ("", instance))[0], group
            if tick <= self._through.get(source, 0):
                continue  # replayed by a successor, and reported by the predecessor before it died; or told again
            self._through[source] = tick
            told = self._told.get(source, NONE)
            self._told[source] = told[0] + records, told[1] + size_bytes
            yield tick, read_s, records
        for instance, group, records, size_bytes in report.read:
            if instance in places:  # else it is told again soon
                self._log_says((places[instance][0], group), (records, size_bytes))

    def _log_says(self, source: tuple[str, int], read: Count) -> None:
        told = self._told.setdefault(source, NONE)
        first = (read[0] - told[0], read[1] - told[1]) if self.resumed else NONE
        before = self._before.setdefault(source, first)
        self._logged[source] = max(self._logged.get(source, NONE), (read[0] - before[0], read[1] - before[1]))

    @property
    def share(self) -> float | None:
        """Of what there is to read, what was read; None where that is not known."""
        return min(1.0, self.size_bytes / self.whole_bytes) if self.whole_bytes else None
