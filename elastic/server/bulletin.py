"""What the command is told of the job, and what of that survives this process."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

from elastic.coordinator.events import EndJob
from elastic.coordinator.membership import Membership
from elastic.report import JobOutcome, Progress
from elastic.server.figures import Figures
from elastic.server.journal import FIGURES, HEARD, JournalFile
from elastic.wire.control import COMMAND, ReportNow, Shutdown, StatusReport, WorkerReport, codec
from elastic.wire.sockets import Hub

SAVE_S = 1.0
"""So often the figures are kept. What one that is killed heard after that, workers tell the next one again."""

LAST_REPORTS_S = 0.25
"""After the end, so long at most is waited for the workers' last reports."""

LAST_REPORTS_DONE_S = 2.0
"""The same where the job is done: nobody is kept waiting by user code then, and the figures are to be exact."""

GOODBYE_S = 5.0
"""So long at most is waited until the command has heard the last word."""


class Bulletin:
    """Tells how the job does, and how it ended.

    Args:
        clock: Unix time, seconds.
        command: Address of the command, each of which has another.

    Attributes:
        heard: The number of the last of the command's messages that was acted upon.
    """

    def __init__(
        self, hub: Hub, journal: JournalFile, members: Membership, figures: Figures, clock: Callable[[], float],
        command: str,
    ) -> None:  # fmt: skip
        self._command = command
        self._hub, self._journal, self._members, self._figures, self._clock = hub, journal, members, figures, clock
        self._kept_events = 0
        self._saved_at = 0.0
        self._outcome: bytes | None = None
        self.heard = 0

    def recall(self) -> None:
        """Go on with the figures and events of the coordinator before this one."""
        self._figures.recall(self._journal.newest(FIGURES), self._journal.events())
        self._kept_events = len(self._figures.events)
        command, heard = self._journal.newest(HEARD) or ("", 0)
        self.heard = heard if command == self._command else 0  # another command numbers its own from 1 on

    def hear(self, number: int) -> None:
        """What the command asked for under this number has been done; it is told so, by whoever coordinates then."""
        self.heard = number
        self._journal.keep(HEARD, (self._command, number))

    def keep_events(self) -> None:
        """What has happened survives this process."""
        for event in self._figures.events[self._kept_events :]:
            self._journal.record(event)
        if len(self._figures.events) > self._kept_events:
            self._saved_at = 0.0  # the figures of a failure are to survive as surely as its events
        self._kept_events = len(self._figures.events)

    def tell(self, end: EndJob | None) -> None:
        """How the job does by now; with its end, the outcome."""
        now = self._clock()
        for record in self._figures.advance(now):
            self._figures.record(record, now)
        self.keep_events()
        if now - self._saved_at >= SAVE_S:
            self._saved_at = now
            self._journal.keep(FIGURES, self._figures.saved())
        progress = self._figures.progress(now, finished=end is not None)
        if end is not None and self._outcome is None:
            self._outcome = pickle.dumps(self._figures.outcome(end, now))
        owners = tuple((i.operator, i.index, i.worker) for i in self._members.instances.values() if i.running)
        self._say(progress, owners, self._outcome)

    def tell_last(self, end: EndJob) -> None:
        """The job is over: hear the workers' last reports, then say so."""
        longest_s = LAST_REPORTS_DONE_S if end.status == "done" else LAST_REPORTS_S
        until, asked_s = self._clock() + longest_s, self._clock()
        waiting = set(self._members.live)
        for worker in waiting:
            self._hub.send(str(worker), ReportNow())
        while waiting and self._clock() < until:
            self._hub.wait(0.05)
            for _, message in self._hub.receive(500):
                if isinstance(message, WorkerReport):
                    self._figures.report(message)
                    if message.at_s >= asked_s:
                        waiting.discard(message.worker)
        self.tell(end)

    def give_up(self, error: str) -> None:
        """What cannot be journalled is not done: the job ends here, and another coordinator would get no further."""
        now = self._clock()
        outcome = pickle.dumps(self._figures.outcome(EndJob("failed", error), now))
        self._say(self._figures.progress(now, finished=True), (), outcome)
        hear_goodbye(self._hub)

    def _say(self, progress: Progress, owners: tuple[tuple[str, int, int], ...], outcome: bytes | None) -> None:
        tick_zero_s = self._members.plan.tick_zero_s
        self._hub.send(COMMAND, StatusReport(tick_zero_s, pickle.dumps(progress), owners, outcome, self.heard))


def refuse(address: str, command: str, error: str) -> None:
    """Tell the command that nothing can be run, and wait until it has heard."""
    outcome = pickle.dumps(JobOutcome("failed", error))
    hub = Hub("coordinator", address, codec())
    hub.connect(COMMAND, command)
    hub.send(COMMAND, StatusReport(0.0, pickle.dumps(Progress(finished=True)), (), outcome))
    hear_goodbye(hub)
    hub.close()


def hear_goodbye(hub: Hub) -> None:
    """The command has heard what was said last, or there is nobody to hear it."""
    until = time.monotonic() + GOODBYE_S
    while time.monotonic() < until and not any(isinstance(m, Shutdown) for _, m in hub.receive()):
        hub.wait(max(0.0, until - time.monotonic()))
