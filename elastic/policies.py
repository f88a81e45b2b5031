"""Scaling policies: how many instances each operator should have, from what was measured of it.

A policy looks at the loads of one period and names numbers; the coordinator brings operators there, as far as spares
go. Write your own as a class with ``decide``, and give it to ``query.run(scaling=…)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class InstanceLoad:
    """One instance over one period.

    Attributes:
        instance: Its id.
        worker: Where it runs.
        groups: Key groups that it owns.
        busy: Share of the period that it worked, 0 to 1.
        worker_busy: Share of the period that its worker worked, for all instances there.
        records_per_s: Rows that it took in.
    """

    instance: int
    worker: int
    groups: int
    busy: float
    worker_busy: float
    records_per_s: float


@dataclass(frozen=True, slots=True)
class OperatorLoad:
    """One operator over one period.

    Attributes:
        inputs: Names of the operators that feed it.
        instances: Those that were measured over the whole period.
        offered_per_s: Records that a source with a rate should have read; None where nobody says.
    """

    name: str
    kind: Literal["source", "keyed", "sink"]
    inputs: tuple[str, ...]
    instances: tuple[InstanceLoad, ...]
    offered_per_s: float | None = None

    @property
    def records_per_s(self) -> float:
        """Rows that all instances took in; of a source, records read."""
        return sum(i.records_per_s for i in self.instances)


class Policy(ABC):
    """Decides how many instances operators should have.

    Attributes:
        period_s: Loads are measured, and ``decide`` is called, this often.
        at_most: No operator gets more instances than that.
    """

    period_s: float = 5.0
    at_most: int = 8

    @abstractmethod
    def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
        """The number of instances of each operator that should have another one; the others keep theirs.

        Called with every operator of the job, keyed ones, sources and sinks; sinks are not scaled, and sources to as
        many instances as they have partitions. What it decides for an operator that is being scaled is dropped, and
        fewer instances come about only if they were decided in six periods in a row.
        """


class Threshold(Policy):
    """One instance more for the operator whose worker was busy beyond a threshold in several reports in a row.

    On a worker with several instances it is the busiest keyed one that makes room by being cut. One instance less where
    the others would be busy for less than half of the threshold without it.

    Args:
        threshold: δ, a share of a worker's time, above 0 and below 1.
        reports: k, reports in a row.
        period_s: r, seconds between reports.
        at_most: Instances of one operator.

    Raises:
        ValueError: A number is out of range.

    Source: SEEP §5.1, bottleneck detection, with its δ = 70 %, k = 2, r = 5 s. There an operator has its machine for
    itself; here a worker's time is what its instances worked, since it has one thread for them.
    """

    def __init__(self, threshold: float = 0.7, reports: int = 2, period_s: float = 5.0, at_most: int = 8) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is a share of a worker's time between 0 and 1, such as 0.7, not {threshold}")
        if reports < 1:
            raise ValueError(f"reports must be at least 1, not {reports}")
        self.threshold, self.reports = threshold, reports
        self.period_s, self.at_most = _positive("period_s", period_s), int(_positive("at_most", at_most))
        self._alerts: Counter[str] = Counter()

    def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
        """One more for each bottleneck that has been one for long enough; one less for each that idles."""
        bottlenecks = self._bottlenecks(loads)
        self._alerts = Counter({name: self._alerts[name] + 1 for name in bottlenecks})
        due = [name for name, alerts in self._alerts.items() if alerts >= self.reports]
        for name in due:
            del self._alerts[name]
        idle = {name: len(load.instances) - 1 for name, load in loads.items() if self._is_idle(load)}
        return idle | {name: len(loads[name].instances) + 1 for name in due}

    def _is_idle(self, load: OperatorLoad) -> bool:
        count = len(load.instances)
        together = sum(i.worker_busy for i in load.instances)
        return load.kind == "keyed" and count > 1 and together < (count - 1) * self.threshold / 2

    def _bottlenecks(self, loads: Mapping[str, OperatorLoad]) -> set[str]:
        """Per overloaded worker, the operator of its busiest keyed instance."""
        busiest: dict[int, tuple[float, str]] = {}
        for name, load in loads.items():
            for instance in load.instances:
                if load.kind == "keyed" and instance.worker_busy > self.threshold:
                    known = busiest.get(instance.worker, (0.0, ""))
                    busiest[instance.worker] = max(known, (instance.busy, name))
        return {name for _, name in busiest.values() if name}


class TrueRates(Policy):
    """In one step as many instances as the offered rate needs at the rate that an instance truly processes.

    Args:
        utilisation: Share of an instance's time that is to be used, above 0 and at most 1; the rest is headroom.
        period_s: Seconds between decisions.
        at_most: Instances of one operator.

    Raises:
        ValueError: A number is out of range.

    Source: DS2 (OSDI 2018), §3: an operator's true rate is what it processed over the time that it worked, which idling
    and back-pressure do not distort. What it *should* take in follows from the rates that the sources have been given
    and from how many rows reach it for each record read; where a source has no rate, from what it read.
    """

    def __init__(self, utilisation: float = 0.8, period_s: float = 5.0, at_most: int = 8) -> None:
        if not 0 < utilisation <= 1:
            raise ValueError(f"utilisation is a share between 0 and 1, such as 0.8, not {utilisation}")
        self.utilisation = utilisation
        self.period_s, self.at_most = _positive("period_s", period_s), int(_positive("at_most", at_most))

    def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
        """What each keyed operator needs, where that is not what it has."""
        pressure: dict[str, float] = {}
        wanted: dict[str, int] = {}
        for name, load in loads.items():  # producers come before their consumers
            if load.kind == "source":
                held_back = load.offered_per_s is not None and load.records_per_s > 0
                pressure[name] = max(1.0, (load.offered_per_s or 0.0) / load.records_per_s) if held_back else 1.0
                continue
            pressure[name] = max((pressure[i] for i in load.inputs if i in pressure), default=1.0)
            busy = sum(i.busy for i in load.instances)
            if load.kind == "keyed" and busy > 0:
                needed = max(1, math.ceil(pressure[name] * busy / self.utilisation))
                if needed != len(load.instances):
                    wanted[name] = needed
        return wanted


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise ValueError(f"{name} must be above 0, not {value}")
    return value
