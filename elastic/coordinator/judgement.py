"""When a job must not go on, and whom to name: what kills its process again and again, what is not deterministic."""

from __future__ import annotations

from collections import Counter

from elastic.coordinator.events import EndJob, Record
from elastic.coordinator.membership import InstanceRecord
from elastic.plan import Plan
from elastic.protocol import Nondeterministic, Trimmed

MAX_DEATHS = 5
"""So often may an instance die at one starting tick; chance alone hardly does that."""

MAX_TOLD = 20
"""So many differences of an operator are told one by one where the job goes on; then only that there are more."""

HEARING_S = 0.2
"""A replay that differs makes all that depends on it differ: so long is waited for a report from further upstream."""


def overtaken(record: InstanceRecord) -> EndJob:
    """The end of a job one of whose current instances is fenced: only a zombie is, by its own job."""
    text = f"{record.operator}#{record.index} was refused by its log or target: another run of this job writes there"
    return EndJob("failed", text)


class CrashLoops:
    """Counts the deaths of each instance's incarnations that started from one tick."""

    def __init__(self) -> None:
        self._deaths: dict[tuple[str, int], tuple[int | None, int]] = {}

    def died(self, record: InstanceRecord, cause: str) -> str | None:
        """What to say if the instance dies again and again without getting past the tick that it starts from."""
        place = (record.operator, record.index)
        tick, deaths = self._deaths.get(place, (None, 0))
        deaths = deaths + 1 if record.start_tick in (tick, None) else 1
        self._deaths[place] = (tick if record.start_tick is None else record.start_tick, deaths)
        if deaths < MAX_DEATHS:
            return None
        return (
            f"{record.operator}#{record.index} was lost {deaths} times without getting past tick "
            f"{record.start_tick or 0}, "
            f"the last time since {cause}: something in the rows after it may end the process; its last words are in "
            f"processes/worker-{record.worker}.log of the job directory"
        )


class Differences:
    """Replays that gave other rows than the first time; the operator furthest upstream is named."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._order = {name: n for n, name in enumerate(plan.operators)}  # topological
        self._reports: list[Nondeterministic] = []
        self._until_s = 0.0
        self._told: Counter[str] = Counter()

    def heard(self, report: Nondeterministic, now_s: float) -> None:
        """Keep a report, and wait a little for others."""
        if not self._reports:
            self._until_s = now_s + HEARING_S
        self._reports.append(report)

    def event(self, report: Nondeterministic) -> list[object]:
        """What is to be told of one; nothing if enough was."""
        operator = report.operator
        self._told[operator] += 1
        if self._told[operator] > MAX_TOLD + 1:
            return []
        if self._told[operator] > MAX_TOLD:
            text = f"operator {operator!r} went on to give other rows than the first time: no more of it is told"
            return [Record("nondeterminism", operator, cause=text)]
        return [Record("nondeterminism", operator, cause=self.described(report))]

    def verdict(self, now_s: float, *, ending: bool) -> str | None:
        """What to say, once all that may be to blame have had their time; at once if the job is about to end."""
        if not self._reports or (now_s < self._until_s and not ending):
            return None
        return self.described(min(self._reports, key=lambda r: (self._order[r.operator], r.tick)))

    def described(self, report: Nondeterministic) -> str:
        """A report in the user's words."""
        before = [f"{name!r}" for name in self._order if name in self._upstream(report.operator)]
        others = f" (or {' or '.join(before)} before it, if what it read differed)" if before else ""
        key = f", key {report.key}" if report.key else ""
        return (
            f"operator {report.operator!r}{others} is not deterministic: tick {report.tick}{key} gave "
            f"{report.now or 'other rows'} when it was replayed, and {report.before or 'other rows'} the first time; "
            "take time and randomness from ctx.now and ctx.random, and depend on nothing but key, value and state"
        )

    def _upstream(self, operator: str) -> set[str]:
        """Operators with user code whose output reaches an operator."""
        direct = {e.producer for e in self._plan.inputs(operator)}
        found = {name for name in direct if self._plan.operators[name].user_code}
        return found.union(*map(self._upstream, direct))


def too_late(consumer: InstanceRecord, producer: InstanceRecord, trimmed: Trimmed) -> EndJob:
    """A current instance needs what was dropped, since a checkpoint that covered it is gone."""
    text = (
        f"{consumer.operator}#{consumer.index} needs {producer.operator}'s output after tick {trimmed.after}, "
        f"which was dropped through tick {trimmed.floor}: its newest checkpoint was lost"
    )
    return EndJob("failed", text, "state_lost")
