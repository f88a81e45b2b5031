"""What other commands on this machine ask of a running job: what runs, to scale, to drain, to kill, to join."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from elastic.coordinator.events import DrainRequested, Event, Record, ScaleRequested
from elastic.server.figures import Figures
from elastic.server.machine import Machine
from elastic.wire.control import (
    COMMAND,
    FIRST_EXTRA,
    Answer,
    Die,
    DrainWorker,
    EndRequest,
    Hello,
    Inquire,
    Inventory,
    JoinJob,
    KillWorker,
    Numbered,
    ScaleJob,
    SpawnRequest,
    WorkerState,
)
from elastic.wire.sockets import Hub

KEPT_S = 5.0
"""A connection to whoever asked is kept for so long after the last answer: it is sent by then, or nobody waits."""


Question = ScaleJob | Inquire | DrainWorker | KillWorker | JoinJob


class Clients:
    """Answers questions of several at once; whoever asked is forgotten after a while.

    Args:
        greeted: The newest hello of each worker.
        handle: Has the coordinator handle an event.
    """

    def __init__(
        self, hub: Hub, machine: Machine, figures: Figures, greeted: Mapping[int, Hello],
        handle: Callable[[Event], None],
    ) -> None:  # fmt: skip
        self._hub, self._machine, self._figures, self._greeted, self._handle = hub, machine, figures, greeted, handle
        self._last_extra = FIRST_EXTRA - 1
        self._answered_s: dict[str, float] = {}
        self._last_answer: dict[str, tuple[int, Answer | Inventory]] = {}

    def forget(self, now_s: float) -> None:
        """Close connections that are not needed any more: a socket would try for ever to reach who has gone."""
        for address in [a for a, at_s in self._answered_s.items() if now_s - at_s > KEPT_S]:
            del self._answered_s[address], self._last_answer[address]
            self._hub.drop(address)

    def on_question(self, question: Question, now_s: float, number: int = 0) -> None:
        """Do what was asked for, and answer; a question that is asked again gets the answer that it had."""
        if not question.reply:
            self._answer_to(question, now_s)
            return
        known, answer = self._last_answer.get(question.reply, (0, None))
        if answer is None or known != number:
            answer = self._answer_to(question, now_s)
        self._answered_s[question.reply] = now_s
        self._last_answer[question.reply] = number, answer
        self._hub.connect(question.reply, question.reply)  # a name of its own: another's answer may be under way
        self._hub.send(question.reply, Numbered(number, answer))

    def _answer_to(self, question: Question, now_s: float) -> Answer | Inventory:
        match question:
            case Inquire():
                return self._inventory()
            case ScaleJob():
                problem = self._machine.scaling.refusal(question.operator, question.instances)
                return self._do(question, problem, ScaleRequested(question.operator, question.instances))
            case DrainWorker():
                problem = self._machine.draining.refusal(question.worker)
                return self._do(question, problem, DrainRequested(question.worker))
            case KillWorker():
                return self._kill(question.worker, now_s)
            case JoinJob():
                self._last_extra = max(self._last_extra, *self._greeted) + 1
                if not question.reply:
                    self._hub.send(COMMAND, SpawnRequest("a worker joins", self._last_extra))
                return Answer(worker=self._last_extra)

    def _do(self, question: ScaleJob | DrainWorker, problem: str | None, event: Event) -> Answer:
        """A problem is told to whoever asked; if nobody waits for an answer, it becomes a warning."""
        if problem is None or not question.reply:
            self._handle(event)
        return Answer(problem or "")

    def _kill(self, worker: int, now_s: float) -> Answer:
        members = self._machine.members
        if worker not in members.live:
            return Answer(f"there is no worker {worker}; this job has {', '.join(map(str, members.live))}")
        self._figures.record(Record("killed", worker=worker, cause="SIGKILL"), now_s)
        if worker < FIRST_EXTRA:
            self._hub.send(COMMAND, EndRequest(worker))
        else:  # somebody else's child
            self._hub.send(str(worker), Die())
        return Answer(worker=worker)

    def _inventory(self) -> Inventory:
        members = self._machine.members
        spares = members.spares
        operators = tuple((name, len(members.assignment(name))) for name in self._machine.plan.operators)
        stateful = sorted(members.of_kind("keyed"), key=lambda r: (r.index, r.id))
        first = next((r.worker for r in stateful), next(iter(members.live), None))
        roster = []
        for worker in members.live:
            state = "draining" if members.workers[worker].draining else "spare" if worker in spares else "in use"
            here = sorted(f"{r.operator}#{r.index}" for r in members.instances.values() if r.worker == worker)
            roster.append(WorkerState(worker, self._greeted[worker].pid, state, tuple(here)))
        return Inventory(
            operators, len(members.live) - len(spares), len(spares), self._figures.records_in, tuple(roster),
            tuple(self._machine.scaling.aims.items()), first,
        )  # fmt: skip
