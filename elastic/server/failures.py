"""Records that were skipped or diverted, put together from the workers' reports; each counts once, whatever failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from elastic.plan import Plan
from elastic.report import FailedRecords, added
from elastic.wire.control import WorkerReport


class FailureCounts:
    """Counts of a job.

    A keyed instance's counts travel with its checkpoints, so those of the present instances are all there are. A
    source's are told tick by tick, and told again by a successor that replays the tick.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keyed: dict[int, dict[str, FailedRecords]] = {}
        self._sources: tuple[FailedRecords, ...] = ()
        self._counted_through: dict[tuple[str, int], int] = {}
        self._known: set[str] = set()

    def report(self, report: WorkerReport, places: Mapping[int, tuple[str, int]]) -> list[FailedRecords]:
        """Take a worker's report in; what was found at operators and steps that are heard of for the first time.

        Args:
            report: Of one worker.
            places: Operator and index of every instance.
        """
        reached: dict[tuple[str, int], int] = {}
        for instance, tick, group, found in report.failures:
            if instance not in places:
                continue
            place = places[instance][0], group
            if self._plan.operators[place[0]].kind == "keyed":
                self._keyed.setdefault(instance, {})[found.where] = found
            elif tick > self._counted_through.get(place, 0):
                self._sources = added((*self._sources, found))
                reached[place] = max(tick, reached.get(place, 0))
        self._counted_through |= reached
        fresh = {found.where: found for *_, found in report.failures if found.where not in self._known}
        self._known |= fresh.keys()
        return list(fresh.values())

    def total(self, present: Collection[int]) -> tuple[FailedRecords, ...]:
        """All counts so far, by operator or step; those of keyed instances only of the ones that are there."""
        keyed = (found for id, counts in self._keyed.items() if id in present for found in counts.values())
        return added((*self._sources, *keyed))
