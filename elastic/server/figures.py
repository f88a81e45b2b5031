"""The job's figures: what workers report, put together into progress while it runs and the outcome at its end."""

from __future__ import annotations

import io
import pickle
from collections import deque
from dataclasses import dataclass, field, fields

from elastic.coordinator.events import EndJob, Journal, Record, Told
from elastic.coordinator.membership import Membership
from elastic.coordinator.oversight import Oversight
from elastic.plan import Plan
from elastic.protocol import CaughtUp, Finished, Started
from elastic.report import (
    EventKind,
    FailedOutput,
    FailedRecords,
    JobEvent,
    JobOutcome,
    Progress,
    ScaleOut,
    Stall,
    added,
)
from elastic.server.checkpoints import CheckpointFigures
from elastic.server.failures import FailureCounts
from elastic.server.footprint import Footprint
from elastic.server.intake import Intake
from elastic.server.intervals import IntervalFigures
from elastic.server.latency import LatencyTracker
from elastic.server.recoveries import Recoveries
from elastic.server.work import Work
from elastic.units import counted, format_duration
from elastic.wire.control import WorkerReport

_OF_THIS_PROCESS = {
    "plan",
    "members",
    "tick_zero_s",
    "latency",
    "oversight",
    "events",
    "_unsent",
    "_history",
    "_reported_s",
}

RATE_WINDOW_S = 2.0
"""Rates shown while a job runs are means over so long; and so is how busy operators are."""


class _Pickler(pickle.Pickler):
    """Leaves out what another process has itself: the plan, with the user's functions, and the membership."""

    def persistent_id(self, value: object) -> str | None:
        return "plan" if isinstance(value, Plan) else "members" if isinstance(value, Membership) else None


class _Unpickler(pickle.Unpickler):
    """Puts in what the pickler has left out."""

    def __init__(self, stream: io.BytesIO, figures: Figures) -> None:
        super().__init__(stream)
        self._own = {"plan": figures.plan, "members": figures.members}

    def persistent_load(self, name: str) -> object:
        return self._own[name]


@dataclass(slots=True)
class Figures:
    """Everything that is counted and timed of one job."""

    plan: Plan
    members: Membership
    tick_zero_s: float
    latency: LatencyTracker
    oversight: Oversight | None = None
    recoveries: Recoveries = field(default_factory=Recoveries)
    intervals: IntervalFigures = field(default_factory=IntervalFigures)
    events: list[JobEvent] = field(default_factory=list)
    scale_outs: list[ScaleOut] = field(default_factory=list)
    checkpoints: CheckpointFigures = field(default_factory=CheckpointFigures)
    footprint: Footprint = field(default_factory=Footprint)
    intake: Intake = field(init=False)
    work: Work = field(default_factory=Work)
    _indices: dict[int, tuple[str, int]] = field(default_factory=dict)
    _causes: dict[int, str] = field(default_factory=dict)
    _settled_through: dict[tuple[str, int], int] = field(default_factory=dict)
    _reported_s: dict[int, float] = field(default_factory=dict)
    _history: deque[tuple[float, int, dict[int, float]]] = field(default_factory=deque)
    _last_commit_s: float = 0.0
    _unsent: int = 0
    _past_stalls: tuple[Stall, ...] = ()
    _ready: dict[int, Started] = field(default_factory=dict)  # instances that have their state, and no interval yet
    _failed: FailureCounts = field(init=False)

    def __post_init__(self) -> None:
        self.intake, self._failed = Intake.of(self.plan), FailureCounts(self.plan)

    @property
    def records_in(self) -> int:
        """Records read: as workers said, or, where one was lost before it could say so, as its intervals do."""
        return max(self.intake.records, self.intervals.records)

    # -- beyond this process -------------------------------------------------------------------------------------------

    def saved(self) -> bytes:
        """The figures so far, but for events."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _OF_THIS_PROCESS}
        kept["_past_stalls"] = self._stalls[0]
        stream = io.BytesIO()
        _Pickler(stream).dump((kept, self.latency.saved()))
        return stream.getvalue()

    def recall(self, saved: bytes | None, events: list[JobEvent]) -> None:
        """Go on from what another coordinator's figures were, and from its events, which are known to everybody."""
        self.events, self._unsent = events, len(events)
        if saved is not None:
            kept, latency = _Unpickler(io.BytesIO(saved), self).load()
            for name, value in kept.items():
                setattr(self, name, value)
            self.latency.recall(latency)

    # -- what happens --------------------------------------------------------------------------------------------------

    def record(self, record: Record, now_s: float) -> None:
        """Add to the event log; what happens before tick 0 is at 0."""
        since_s = (now_s if record.at_s is None else record.at_s) - self.tick_zero_s
        at_s = max(0.0, since_s) if self.tick_zero_s else 0.0
        kind: EventKind = record.kind  # type: ignore[assignment]
        self.events.append(JobEvent(at_s, kind, record.operator, record.instance, record.worker, record.cause))
        if kind == "failed":
            failed_s = now_s if record.at_s is None else record.at_s
            self.recoveries.failed(f"worker {record.worker} {record.cause}", failed_s, now_s)

    def journalled(self, entry: Journal, now_s: float) -> None:
        """A procedure began because of a loss, or was called off; or an assignment changed."""
        if entry.kind == "reconfigure":
            self.recoveries.replacing(entry.body["cause"], len(entry.body["new"]))
        if entry.kind == "aborted":
            self.recoveries.called_off(entry.body["cause"], entry.body["new"])
        if entry.kind == "finish" and entry.body["final"]:
            self.latency.end(entry.body["tick"])
        if entry.kind == "scaled":
            body = entry.body
            at_s = body["since_s"] - self.tick_zero_s
            self.scale_outs.append(ScaleOut(body["operator"], body["from"], body["to"], at_s, body["took_s"]))
        self._note_instances(now_s)

    def told(self, told: Told, now_s: float) -> None:
        """An interval is complete, a version of state is stored, or outputs were given up."""
        if told.kind == "failed_outputs":
            self.intervals.failed = tuple(FailedOutput(**body) for body in told.body["all"])
            return
        if told.kind == "checkpoint":
            self.checkpoints.stored(told.body["instance"], told.body["bytes"], told.body["took_s"], now_s)
            return
        for found in self.intervals.add(told.body):
            self._first_failure(found, now_s)
        self.work.told(told.body["instances"], self.tick_zero_s, now_s)
        self._note_instances(now_s)

    def _note_instances(self, now_s: float) -> None:
        for record in self.members.instances.values():
            self._indices[record.id] = (record.operator, record.index)
            self._causes[record.id] = record.cause
        self._count_restored(now_s)

    def started(self, message: Started, now_s: float) -> None:
        """An instance runs, or would if it was assigned its interval."""
        if message.cause:
            self._ready[message.instance] = message
            self._count_restored(now_s)

    def _count_restored(self, now_s: float) -> None:
        for id in self._ready.keys() & self.members.instances.keys():
            message = self._ready.pop(id)
            self.recoveries.restored(message.cause, message.keys, now_s)

    def caught_up(self, message: CaughtUp) -> None:
        """An instance has replayed its input."""
        self.recoveries.replayed(self._causes.get(message.instance, ""), message.replayed)

    def finished(self, message: Finished, now_s: float) -> None:
        """A sink instance has committed its last row."""
        if (place := self._indices.get(message.instance)) is not None:
            self.work.finished(message, place, now_s)

    def report(self, report: WorkerReport) -> None:
        """Take a worker's report in; after one that comes late from a dead worker, nobody waits for another."""
        known = self.members.workers.get(report.worker)
        alive = known is None or not known.lost
        if alive:
            self._reported_s[report.worker] = report.at_s
        self.footprint.add(report, alive=alive)
        self.checkpoints.add(report)
        self.work.add(report, self.tick_zero_s, self._indices)
        for read in self.intake.add(report, self._indices):
            self.latency.read(*read)
        for instance, tick, at_s in report.settles:
            sink = self._indices.get(instance)
            if sink is not None and tick > self._settled_through.get(sink, -1):
                self._settled_through[sink] = tick
                self.latency.settle(sink, tick, at_s)
            self._last_commit_s = max(self._last_commit_s, at_s)
        for found in self._failed.report(report, self._indices):
            self._first_failure(found, report.at_s)

    def _first_failure(self, found: FailedRecords, at_s: float) -> None:
        """An operator or step skips or diverts a record for the first time."""
        text = f"{found.where} {'diverts' if found.diverted else 'skips'} what it fails on: {found.example}"
        self.record(Record("record_failed", cause=text), at_s)

    def _failures(self) -> tuple[FailedRecords, ...]:
        return added((*self._failed.total(self.members.instances), *self.intervals.records_failed))

    def forget_worker(self, worker: int) -> None:
        """A lost worker reports no more, and nobody waits for it."""
        self._reported_s.pop(worker, None)
        self.footprint.forget(worker)

    def advance(self, now_s: float) -> list[Record]:
        """Work through what all workers have reported; events that follow from it."""
        idle = set(self.members.spares)  # these report rarely, and have nothing to say of it
        self.latency.advance(min((at_s for w, at_s in self._reported_s.items() if w not in idle), default=now_s))
        events: list[Record] = []
        while self.latency.peaks:
            at_s, before_s, after_s = self.latency.peaks.popleft()
            for recovery in self.recoveries.advanced(at_s, before_s, after_s):
                text = f"lag under {format_duration(recovery.bound_s)} again after {recovery.cause}"
                events.append(Record("caught_up", cause=text, at_s=recovery.caught_up_s))
        return events

    # -- what is told --------------------------------------------------------------------------------------------------

    def progress(self, now_s: float, *, finished: bool) -> Progress:
        """As of now; with the events that were not in a ``Progress`` before."""
        events, self._unsent = tuple(self.events[self._unsent :]), len(self.events)
        worked_s = {id: s for id, s in self.work.busy_s().items() if id in self.members.instances}
        self._history.append((now_s, self.records_in, worked_s))
        while len(self._history) > 2 and now_s - self._history[0][0] > RATE_WINDOW_S:
            self._history.popleft()
        then_s, records, before_s = self._history[0]
        passed = max(now_s - then_s, 1e-9) if now_s > then_s else 1.0
        spares = len(self.members.spares)
        oldest = self.checkpoints.oldest_s(self.members.instances)
        return Progress(
            at_s=now_s - self.tick_zero_s if self.tick_zero_s else 0.0,
            records_in=self.records_in,
            records_out=self.work.rows_out,
            bytes_in=self.intake.size_bytes,
            records_per_s=(self.records_in - records) / passed,
            lag_s=self.latency.lag_s(now_s) if self.tick_zero_s and not finished else 0.0,
            done=None
            if self.plan.since_s > self.plan.tick_zero_s
            else self.intake.share,  # a resumed run reads the rest
            workers=len(self.members.live) - spares,
            spares=spares,
            checkpoints=self.checkpoints.count,
            checkpoint_age_s=None if oldest is None else now_s - oldest,
            memory_bytes=self.footprint.memory_bytes,
            operators=self.work.operators(
                list(self.plan.operators),
                self.members,
                {id: (s - before_s.get(id, 0.0)) / passed for id, s in worked_s.items()},
                self.intake.records_of,
            ),
            failures=self._failures(),
            events=events,
            finished=finished,
            stalls=self._stalls[1],
            under_way=() if self.oversight is None else self.oversight.under_way,
            interval=self.intervals.last,
        )

    def outcome(self, end: EndJob, now_s: float) -> JobOutcome:
        """How the job ended; asked once, since it adds to the event log."""
        self.recoveries.finish()
        if end.status == "done" and self.oversight is not None:
            self.oversight.stalls.finish(now_s)
        end_s = max(self._last_commit_s, self.tick_zero_s) if end.status == "done" else now_s
        if repaired := self.work.repaired:
            were = "was" if repaired == 1 else "were"
            text = f"{counted(repaired, 'record')} {were} malformed and repaired, as the source's errors policy says"
            self.record(Record("warning", cause=text), now_s)
        return JobOutcome(
            status=end.status,
            error=end.error,
            failure=end.failure,
            wall_s=end_s - self.tick_zero_s if self.tick_zero_s else 0.0,
            records_in=self.records_in,
            records_out=self.work.rows_out,
            bytes_in=self.intake.size_bytes,
            latency_ms=self.latency.histogram.percentiles(),
            checkpoints=self.checkpoints.report(),
            operators=self.work.operators(
                list(self.plan.operators), self.members, self.work.shares(end_s), self.intake.records_of
            ),
            failures=self._failures(),
            events=tuple(self.events),
            recoveries=tuple(r.report() for r in self.recoveries.real),
            scale_outs=tuple(self.scale_outs),
            stalls=sum(self._stalls, ()),
            intervals=self.intervals.report(),
            peak_memory_bytes=self.footprint.peak,
        )

    @property
    def _stalls(self) -> tuple[tuple[Stall, ...], tuple[Stall, ...]]:
        """Those that are over, and those that last."""
        stalls = None if self.oversight is None else self.oversight.stalls
        over, open_ = ([], ()) if stalls is None else (stalls.over, tuple(stalls.open.values()))
        return (*self._past_stalls, *over), open_
