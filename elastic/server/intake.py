"""What the sources have read, each record once, however often it was read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from elastic.plan import Plan
from elastic.wire.control import WorkerReport


@dataclass(slots=True)
class Intake:
    """Counts of all sources together.

    Attributes:
        whole_bytes: What there is to read in all; None if a source has no known end.
    """

    whole_bytes: int | None = None
    records: int = 0
    size_bytes: int = 0
    _through: dict[tuple[str, int], int] = field(default_factory=dict)  # by source and partition

    @classmethod
    def of(cls, plan: Plan) -> Intake:
        """Of a plan's sources, before they have read anything."""
        partitions = [p for o in plan.operators.values() if o.kind == "source" for p in o.partitions]
        known = [size for p in partitions if (size := p.input_bytes) is not None]
        return cls(sum(known) if len(known) == len(partitions) else None)

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
            self.records += records
            self.size_bytes += size_bytes
            yield tick, read_s, records

    @property
    def share(self) -> float | None:
        """Of what there is to read, what was read; None where that is not known."""
        return min(1.0, self.size_bytes / self.whole_bytes) if self.whole_bytes else None
