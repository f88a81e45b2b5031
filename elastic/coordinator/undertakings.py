"""How far each recovery and each scaling procedure is, and what becomes of one that is past its deadline.

The rule: a scaling procedure that is past its deadline is called off, which costs nothing, and the job goes on as it
was. A recovery goes on as long as its figures move, however long it takes, and says each time that it is overdue; one
in which nothing has moved for as long as the deadline ends the job, with what it waited for. What is restored and only
replays is never ended for it: if it stands still, that is a stall like any other.

All of it is computed from whereabouts that are known anyway, so there is nothing that could be out of step with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from elastic.coordinator.events import EndJob, Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.coordinator.scaling import Scaling
from elastic.coordinator.standings import Whereabouts, name
from elastic.units import counted, format_count, format_duration

TELL_S, TELL_LATEST_S = 1.0, 30.0
"""Events about what is under way come after one second, then ever more rarely, and at least so often."""


@dataclass(frozen=True, slots=True)
class Undertaking:
    """A recovery or a scaling procedure that is under way.

    Attributes:
        cause: What it is for.
        since_s: When it began, Unix time.
        instances, restored: How many are to run in the end, and how many of them do.
        keys, keys_restored: Of their checkpoints, as far as these are known: one that is not folded yet may have more.
        ticks, ticks_replayed: From where they restored to where the sources were then.
        waits_for: What the slowest of them waits for.
    """

    cause: str
    scales: bool
    since_s: float
    instances: int
    restored: int
    keys: int
    keys_restored: int
    ticks: int
    ticks_replayed: int
    waits_for: str

    @property
    def figures(self) -> str:
        """How far it is, in words."""
        keys = f", {format_count(self.keys_restored)} of {format_count(self.keys)} keys" if self.keys else ""
        ticks = f", {self.ticks_replayed} of {self.ticks} ticks replayed" if self.ticks else ""
        return f"{self.restored} of {counted(self.instances, 'instance')} restored{keys}{ticks}"

    @property
    def is_done(self) -> bool:
        """Whether everything is restored and replayed."""
        return self.restored == self.instances and self.ticks_replayed >= self.ticks


@dataclass(slots=True)
class _Course:
    """What is remembered of one: when it began, when it moved last, and when it is to be told of again."""

    since_s: float
    moved_s: float
    tell_at_s: float
    overdue_at_s: float
    figures: tuple[int, ...] = ()
    keys: int = 0
    keys_restored: int = 0


@dataclass(slots=True)
class Undertakings:
    """Watches over recoveries and scaling procedures, by their causes.

    Attributes:
        open: Those that are under way.
    """

    members: Membership
    reconfigurer: Reconfigurer
    scaling: Scaling
    whereabouts: Whereabouts
    open: list[Undertaking] = field(default_factory=list)
    _courses: dict[str, _Course] = field(default_factory=dict)
    _goals: dict[int, int] = field(default_factory=dict)
    _replayed: set[int] = field(default_factory=set)

    @property
    def _deadline_s(self) -> float:
        return self.members.plan.settings.deadline_ms / 1000

    def cut(self, cause: str, keys: int, now_s: float) -> None:
        """A checkpoint with so many keys was found and cut."""
        self._course(cause, now_s).keys += keys

    def restored(self, cause: str, keys: int, now_s: float) -> None:
        """A successor has taken so many keys over."""
        self._course(cause, now_s).keys_restored += keys

    def replayed(self, instance: int) -> None:
        """A successor says that it has replayed all; its position is heard of later."""
        self._replayed.add(instance)

    def judge(self, now_s: float) -> list[object]:
        """Events on how far they are; what follows from a deadline that has passed."""
        self.open = [u for cause in self._causes() if not (u := self._look(cause, now_s)).is_done]
        self._goals = {id: goal for id, goal in self._goals.items() if id in self.members.instances}
        self._replayed &= self.members.instances.keys()
        under_way = {u.cause for u in self.open}
        self._courses = {cause: c for cause, c in self._courses.items() if cause in under_way}
        return [action for u in self.open for action in self._judge(u, now_s)]

    def _course(self, cause: str, now_s: float) -> _Course:
        if cause not in self._courses:
            self._courses[cause] = _Course(now_s, now_s, now_s + TELL_S, now_s + self._deadline_s)
        return self._courses[cause]

    def _causes(self) -> list[str]:
        """What instances are being replaced for, or were and have not replayed all yet."""
        running = [p.cause for p in self.reconfigurer.running.values()]
        return list(dict.fromkeys([*running, *(i.cause for i in self._behind())]))

    def _behind(self) -> list[InstanceRecord]:
        """Successors that are not restored, or not where the sources were when they were."""
        return [i for i in self.members.instances.values() if i.cause and not self._is_level(i)]

    def _is_level(self, record: InstanceRecord) -> bool:
        if not record.running:
            return False
        if record.id in self._replayed:
            return True
        at = self.whereabouts.tau(record.id)
        if record.id not in self._goals:
            sources = [self.whereabouts.tau(s.id) or 0 for s in self.members.of_kind("source")]
            self._goals[record.id] = max([*sources, record.start_tick or 0])
        return at is not None and at >= self._goals[record.id]

    def _look(self, cause: str, now_s: float) -> Undertaking:
        course = self._course(cause, now_s)
        procedures = [p for p in self.reconfigurer.running.values() if p.cause == cause]
        records = [i for i in self.members.instances.values() if i.cause == cause]
        restored = [i for i in records if i.running]
        starts = {i.id: i.start_tick or 0 for i in restored}
        ticks = sum(self._goals.get(id, start) - start for id, start in starts.items())
        behind = [i for i in restored if not self._is_level(i)]
        lacking = sum(self._goals[i.id] - max(self.whereabouts.tau(i.id) or 0, starts[i.id]) for i in behind)
        found = Undertaking(
            cause, any(p.scales for p in procedures), course.since_s,
            sum(len(p.successors) for p in procedures) + len(records),
            sum(len(p.restored) for p in procedures) + len(restored),
            max(course.keys, course.keys_restored), course.keys_restored, ticks, ticks - max(0, lacking),
            self._waits_for(procedures, records, behind, now_s),
        )  # fmt: skip
        figures = (found.restored, found.keys, found.keys_restored, found.ticks_replayed, len(procedures))
        if figures != course.figures:
            course.figures, course.moved_s = figures, now_s
        return found

    def _waits_for(
        self, procedures: list[Procedure], records: list[InstanceRecord], behind: list[InstanceRecord], now_s: float
    ) -> str:
        for procedure in procedures:
            if not procedure.cut:
                holder = procedure.old.holder
                why = "" if holder is None else self.whereabouts.explain(holder, now_s)
                return f"{name(procedure.old)} waits for worker {holder}, which has its checkpoint{why}"
            if not procedure.scales:
                return f"{name(procedure.old)} waits for a worker to run on"
            places = [w for id, w in procedure.places.items() if id not in procedure.restored]
            workers = f"worker{'s' if len(places) > 1 else ''} {', '.join(map(str, places))}"
            return f"parts of {name(procedure.old)} are being restored on {workers}"
        for record in records:
            if not record.running:
                asked = record.worker if record.part_at is None else record.part_at
                why = self.whereabouts.explain(asked, now_s) or self.whereabouts.explain(record.worker, now_s)
                what = "is being restored" if record.part_at is None else f"restores what worker {asked} has"
                return f"{name(record)} {what}, on worker {record.worker}{why}"
        slowest = min(behind, key=lambda i: self.whereabouts.tau(i.id) or 0, default=None)
        if slowest is None:
            return ""
        return f"{name(slowest)} replays, at tick {self.whereabouts.tau(slowest.id) or 0} of {self._goals[slowest.id]}"

    def _judge(self, found: Undertaking, now_s: float) -> list[object]:
        course = self._courses[found.cause]
        actions: list[object] = []
        if now_s >= course.tell_at_s:
            course.tell_at_s = now_s + min(max(TELL_S, now_s - course.since_s), TELL_LATEST_S)
            actions.append(Record("recovering", cause=f"{found.cause}: {found.figures}; {found.waits_for}"))
        if not self._deadline_s or now_s < course.overdue_at_s:
            return actions
        course.overdue_at_s = now_s + self._deadline_s
        lasted = format_duration(now_s - course.since_s)
        text = f"{found.cause}: not done after {lasted}: {found.figures}; {found.waits_for}"
        if (called_off := self._call_off(found.cause, now_s)) is not None:
            return [*actions, Record("overdue", cause=f"{text}; it is called off"), *called_off]
        stands_still = now_s - course.moved_s >= self._deadline_s and found.restored < found.instances
        if stands_still:
            still = format_duration(now_s - course.moved_s)
            error = (
                f"the recovery has stood still for {still}, longer than its deadline; {text}. What was committed "
                "stays committed. Set deadline to a longer time, or to off, if it only needs more time"
            )
            return [*actions, Record("overdue", cause=text), EndJob("failed", error)]
        return [*actions, Record("overdue", cause=f"{text}; it goes on")]

    def _call_off(self, cause: str, now_s: float) -> list[object] | None:
        """Leave an operator that is being scaled as it is; None if none is, or what was scaled has died."""
        alive = [p for p in self.reconfigurer.running.values() if p.cause == cause and p.scales]
        alive = [p for p in alive if not any(self.members.workers[old.worker].lost for old in p.olds)]
        operators = {p.old.operator: len(self.members.assignment(p.old.operator)) for p in alive}
        if not operators:
            return None
        return [a for name, present in operators.items() for a in self.scaling.request(name, present, now_s)]
