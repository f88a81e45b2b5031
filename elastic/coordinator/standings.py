"""What workers have told of where their instances stand, and since when each of them has stood there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.protocol import Standing, Standings, Stuck, Wait
from elastic.units import format_duration


@dataclass(frozen=True, slots=True)
class _Stand:
    """An instance's newest standing, and since when it has been no further."""

    standing: Standing
    since_s: float


@dataclass(slots=True)
class Whereabouts:
    """The newest whereabouts about every instance and worker; times are Unix times, seconds."""

    members: Membership
    _stands: dict[int, _Stand] = field(default_factory=dict)
    _heard_s: dict[int, float] = field(default_factory=dict)
    _stuck: dict[tuple[int, int], Stuck] = field(default_factory=dict)  # by worker and instance
    _held: dict[int, Stuck] = field(default_factory=dict)
    _refreshed_s: float | None = None

    @property
    def after_s(self) -> float:
        """The time after which standing still is a stall; 0 where nobody wants to know."""
        return self.members.plan.settings.stall_after_ms / 1000

    # -- what is heard -------------------------------------------------------------------------------------------------

    def heard(self, worker: int, message: Standings | Stuck, now_s: float) -> None:
        """A worker goes on, and its instances stand there; or its watchdog says what has not returned."""
        if isinstance(message, Standings):
            self._goes_on(worker, message, now_s)
        elif message.what == "worker":
            self._held[worker] = message
        else:
            self._stuck[worker, message.instance] = message

    def _goes_on(self, worker: int, message: Standings, now_s: float) -> None:
        self._heard_s[worker] = now_s
        self._held.pop(worker, None)
        if (busy := self.busy(worker)) is not None:
            del self._stuck[worker, busy.instance]
        for id, standing in message.instances.items():
            before = self._stands.get(id)
            if before is None or _mark(before.standing) != _mark(standing):
                self._stands[id] = _Stand(standing, now_s)
                self._stuck.pop((worker, id), None)
            else:
                self._stands[id] = replace(before, standing=standing)

    def refresh(self, now_s: float) -> None:
        """Forget whoever was replaced or lost; and what the coordinator slept through was nobody's standing still."""
        gap_s = 0.0 if self._refreshed_s is None else now_s - self._refreshed_s
        self._refreshed_s = now_s
        if gap_s > self.after_s / 2:
            self._heard_s = {w: s + gap_s for w, s in self._heard_s.items()}
            self._stands = {id: replace(s, since_s=s.since_s + gap_s) for id, s in self._stands.items()}
        known, live = self.members.instances, set(self.members.live)
        self._stands = {id: s for id, s in self._stands.items() if id in known}
        for id in known.keys() - self._stands.keys():
            self._stands[id] = _Stand(Standing(0, 0, None), now_s)
        self._stuck = {key: s for key, s in self._stuck.items() if self._is_current(s)}
        self._heard_s = {w: s for w, s in self._heard_s.items() if w in live}

    def _is_current(self, stuck: Stuck) -> bool:
        if stuck.task is not None:
            return not self.members.is_lost(stuck.worker)
        record = self.members.instances.get(stuck.instance)
        return record is not None and record.worker == stuck.worker

    # -- what is known -------------------------------------------------------------------------------------------------

    def tau(self, instance: int) -> int | None:
        """The last known position of an instance; None before the first."""
        stand = self._stands.get(instance)
        return None if stand is None else stand.standing.tau

    def wait(self, instance: int) -> Wait | None:
        """What an instance said that it waits for."""
        return self._stands[instance].standing.wait

    def stuck(self, instance: int) -> Stuck | None:
        """What has not returned that is done for an instance."""
        record = self.members.instances.get(instance)
        return None if record is None else self._stuck.get((record.worker, instance))

    @property
    def all_stuck(self) -> list[Stuck]:
        """All that has not returned."""
        return list(self._stuck.values())

    def busy(self, worker: int) -> Stuck | None:
        """What a worker's own thread, in which all its instances work, does not return from."""
        return next((s for s in self._stuck.values() if s.worker == worker and s.what not in {"commit", "open"}), None)

    def held(self, worker: int) -> Stuck | None:
        """What holds the interpreter of a worker that says nothing, as far as that is known."""
        return self._held.get(worker)

    def silent_since(self, worker: int, now_s: float) -> float | None:
        """Since when a worker that lives has said nothing; None if it has, within half the time of a stall."""
        heard_s = self._heard_s.get(worker)
        return heard_s if heard_s is not None and now_s - heard_s >= self.after_s / 2 else None

    def silent(self, now_s: float) -> list[int]:
        """Workers that live and have said nothing for as long as a stall takes."""
        return [w for w, heard_s in self._heard_s.items() if self.after_s and now_s - heard_s > self.after_s]

    def still_since(self, instance: int, now_s: float) -> float | None:
        """Since when an instance is no further; None if it has nothing to do, or is being replaced."""
        record = self.members.instances.get(instance)
        if record is None or self.members.workers[record.worker].lost:
            return None
        if (stuck := self.stuck(instance)) is not None:
            return stuck.since_s
        stand = self._stands[instance]
        if (busy := self.busy(record.worker)) is not None:
            return max(stand.since_s, busy.since_s)
        if (silent_s := self.silent_since(record.worker, now_s)) is not None:
            return silent_s
        return None if stand.standing.may_last else stand.since_s

    def stands_still(self, instance: int, now_s: float) -> bool:
        """Whether an instance may be to blame that another one has stalled: half of the time will do."""
        since_s = self.still_since(instance, now_s)
        return since_s is not None and now_s - since_s >= self.after_s / 2

    def since_start_s(self, time_s: float) -> float:
        """A Unix time as seconds since the run began."""
        return time_s - self.members.plan.since_s

    def named(self, instance: int) -> str:
        """An instance as users know it."""
        record = self.members.instances.get(instance)
        return "an instance that was replaced" if record is None else name(record)

    def explain(self, worker: int, now_s: float) -> str:
        """Why a worker does not do what it is asked for, to be added to a sentence; empty if it just has not yet."""
        if (busy := self.busy(worker)) is not None:
            return f": it is busy with {self.named(busy.instance)}, {in_words(busy, now_s)}"
        silent_s = self.silent_since(worker, now_s) if self.after_s else None
        return "" if silent_s is None else f": it has said nothing for {format_duration(now_s - silent_s)}"


def name(record: InstanceRecord) -> str:
    """An instance as users know it: ``count#0``."""
    return f"{record.operator}#{record.index}"


def in_words(stuck: Stuck, now_s: float, at: str | None = None) -> str:
    """What has not returned, for how long, and where in the stream: after its tick, if nothing else is given."""
    lasted = format_duration(now_s - stuck.since_s)
    match stuck.what:
        case "commit":
            return f"its target has not returned from a commit for {lasted}"
        case "open":
            return f"its target has not opened for {lasted}"
        case "read":
            return f"in a read of its source for {lasted}"
        case "message":
            return f"being started for {lasted}"
        case _:
            whose = "your code" if stuck.user else "the system's code"
            return f"in {whose} for {lasted}, {at or f'at the tick after {stuck.tick}'}"


def _mark(standing: Standing) -> tuple[int, bool, bool]:
    """Differs from the last one's if the instance got further, or its progress is counted in something else."""
    return standing.progress, standing.may_last, standing.wait is not None and standing.wait.kind == "target"
