"""How much each instance has done, as workers and schedulers tell of it; what is gone stays counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from elastic.coordinator.membership import Membership
from elastic.protocol import Finished
from elastic.report import OperatorReport
from elastic.wire.control import WorkerReport

REPORTED_S = 0.2
"""An instance had run for about so long when its worker reported it first."""


@dataclass(slots=True)
class _Counters:
    """One instance's newest counters since ``since_s``, Unix time; kept after it is gone.

    Attributes:
        place: Which of its operator's instances it is; a successor has that of its predecessor.
        records_in: With what those took in whose state it has, or before it in its place; not where a scheduler tells.
        rows_out: Of a sink: what it and those before it in its place have committed.
        tells_own: A scheduler tells of it, which counts what was done once more too.
    """

    operator: str
    place: int | None = None
    records_in: int = 0
    rows_out: int = 0
    busy_s: float = 0.0
    repaired: int = 0
    tells_own: bool = False
    since_s: float = 0.0


@dataclass(slots=True)
class Work:
    """Counters of all instances that there were."""

    _instances: dict[int, _Counters] = field(default_factory=dict)
    _most_in: dict[str, int] = field(default_factory=dict)
    _told_s: float = 0.0

    def add(self, report: WorkerReport, tick_zero_s: float, places: Mapping[int, tuple[str, int]]) -> None:
        """Take a worker's report in; nothing has run since before tick 0. ``places``: operator and index by id."""
        for stats in report.instances:
            begun = _Counters(stats.operator, since_s=max(tick_zero_s, report.at_s - REPORTED_S))
            counters = self._instances.setdefault(stats.instance, begun)
            counters.place = places.get(stats.instance, (stats.operator, counters.place))[1]
            counters.records_in, counters.rows_out = stats.records_in, max(counters.rows_out, stats.rows_out)
            counters.busy_s, counters.repaired = stats.busy_s + stats.target_s, stats.repaired

    def told(self, instances: Iterable[tuple[int, str, int, float]], tick_zero_s: float, now_s: float) -> None:
        """Take in what a scheduler tells of instances: (id, operator, records taken in, time spent) of each.

        Who is told of for the first time has run since the telling before, or since ``tick_zero_s``.
        """
        for id, operator, records_in, busy_s in instances:
            begun = _Counters(operator, tells_own=True, since_s=max(tick_zero_s, self._told_s))
            counters = self._instances.setdefault(id, begun)
            counters.records_in, counters.busy_s = records_in, busy_s
        self._told_s = now_s

    def finished(self, message: Finished, place: tuple[str, int], now_s: float) -> None:
        """A sink instance has said what it has committed in all; it may not live to report it."""
        counters = self._instances.setdefault(message.instance, _Counters(place[0], since_s=now_s))
        counters.place, counters.rows_out = place[1], max(counters.rows_out, message.rows)

    @property
    def rows_out(self) -> int:
        """Rows that sinks have committed."""
        return sum(_most((c, c.rows_out) for c in self._instances.values()).values())

    def taken_in(self, name: str, members: Membership, read: int) -> int:
        """Rows that an operator has taken in, each once; never fewer than before, while a successor is behind.

        Args:
            name: The operator.
            members: Who is there.
            read: If it is a source, what it has read.
        """
        kind, mine = members.plan.operators[name].kind, [c for c in self._instances.items() if c[1].operator == name]
        if kind == "source":
            found = read
        elif kind == "sink":
            found = sum(_most((c, max(c.records_in, c.rows_out)) for _, c in mine).values())
        else:
            found = sum(c.records_in for id, c in mine if c.tells_own or id in members.instances)
        self._most_in[name] = max(found, self._most_in.get(name, 0))
        return self._most_in[name]

    @property
    def repaired(self) -> int:
        """Records that were changed to make them readable."""
        return sum(c.repaired for c in self._instances.values())

    def busy_s(self) -> dict[int, float]:
        """Time that each instance has worked."""
        return {id: c.busy_s for id, c in self._instances.items()}

    def shares(self, end_s: float) -> dict[int, float]:
        """Of the time that each instance has run until ``end_s``, how much it has worked."""
        return {id: c.busy_s / max(end_s - c.since_s, 1e-9) for id, c in self._instances.items()}

    def operators(
        self, names: Sequence[str], members: Membership, busy: Mapping[int, float], read: Callable[[str], int]
    ) -> tuple[OperatorReport, ...]:
        """Each operator, with what it took in and how busy the busiest of its instances that run is.

        ``read`` says how many records a source has read.
        """
        reports = []
        for name in names:
            mine = [(id, c) for id, c in self._instances.items() if c.operator == name]
            current = [busy.get(id, 0.0) for id, _ in mine if id in members.instances]
            busiest = min(1.0, max(current, default=0.0))
            taken_in = self.taken_in(name, members, read(name))
            reports.append(OperatorReport(name, len(members.assignment(name)), taken_in, busiest))
        return tuple(reports)


def _most(counts: Iterable[tuple[_Counters, int]]) -> dict[tuple[str, int], int]:
    """In each place, the most that one of the instances has counted that were there."""
    most: dict[tuple[str, int], int] = {}
    for counters, count in counts:
        if counters.place is not None:  # else it is told again soon
            place = counters.operator, counters.place
            most[place] = max(most.get(place, 0), count)
    return most
