"""What follows from a loss: blocks that somebody needs are wanted again, and what they need, up to the input log.

Source: D-Streams §4.2, parallel recovery. We differ in nothing but that a block that nobody needs stays lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from dstream.blocks import Name
from dstream.outages import Outage, Outages, in_short
from dstream.plan import Kind
from dstream.protocol import TaskFailed, TaskLacks
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.placement import Placement
from elastic.coordinator.events import EndJob, Record, Told

MAX_DEATHS = 10
"""So many workers in a row may be lost without one more interval being complete."""


class Recovery:
    """The part of the scheduler that knows of losses and of tasks that fail."""

    def __init__(self, ledger: Ledger, placement: Placement) -> None:
        self._ledger, self._placement = ledger, placement
        self._failures: Counter[tuple[Name, int | None]] = Counter()
        self._deaths: tuple[int, int] = (0, 0)  # intervals done then, workers lost since

    def crash_loop(self, cause: str) -> EndJob | None:
        """The end, if workers are lost again and again and nothing gets done between."""
        progress = self._ledger.progress
        done, deaths = self._deaths
        deaths = deaths + 1 if progress.done == done else 1
        self._deaths = (progress.done, deaths)
        if deaths < MAX_DEATHS:
            return None
        text = (
            f"workers were lost {deaths} times while interval {progress.done + 1} was being processed, the last "
            f"time since {cause}: something in its rows may end the process"
        )
        return EndJob("failed", text)

    def lose(self, worker: int) -> None:
        """All blocks on a worker are gone, and whoever was to read them waits again."""
        self._ledger.miss()
        self._ledger.copies.lose(worker)
        for name in self._ledger.lineage.lose(worker):
            self._ledger.untell(name)

    def lacks(self, message: TaskLacks) -> None:
        """A task's inputs did not lie where they were thought to be."""
        ledger = self._ledger
        ledger.miss()
        for stage, interval, partition, worker in message.missing:
            ledger.lineage.mislaid(Name(stage, interval, partition), worker)
        task = ledger.lineage.tasks.get(Name(message.stage, message.interval, message.partition))
        if task is not None and task.attempt == message.attempt:
            task.worker = None
            ledger.untell(task.name)

    def failed(self, message: TaskFailed) -> list[object]:
        """User code raised in a task: it is tried again, some times; then the outputs that need it fail."""
        ledger = self._ledger
        name = Name(message.stage, message.interval, message.partition)
        operator = ledger.plan.stages[message.stage].operator
        actions: list[object] = []
        text = f"interval {message.interval} goes on without what has failed"
        if ledger.outages.needs(name, message.channel):
            self._failures[name, message.channel] += 1
            attempt = self._failures[name, message.channel]
            if attempt <= ledger.plan.retries:
                text = f"attempt {attempt} at interval {message.interval} is made again: {in_short(message.error)}"
                actions.append(Record("warning", operator, message.partition, cause=text))
            elif not ledger.plan.keep_going:
                return [EndJob("failed", message.error)]
            else:
                actions += self._give_up(name, message)
        held = ledger.held.get((message.stage, message.partition))
        if held is not None and ledger.outages.needs(name):
            return actions + self._placement.replace(held.record, held.record.worker, text)
        if (task := ledger.lineage.tasks.get(name)) is not None:
            task.worker = None
            ledger.news.everything = True
        return actions

    def _give_up(self, name: Name, message: TaskFailed) -> list[object]:
        """The outputs that need the task's rows fail; the job does if no other is left."""
        ledger = self._ledger
        found = ledger.give_up(Outage(name.stage, message.channel, name.interval, message.error))
        events: list[object] = [
            Record("output_failed", gone.output, cause=f"from interval {gone.interval} on: {in_short(gone.error)}")
            for gone in found
        ]
        events.append(told(ledger.outages))
        if ledger.outages.all_failed:
            return [*events, EndJob("failed", message.error)]
        return events

    def demand(self) -> list[object]:
        """Want again what gives the blocks that waiting tasks miss, and so on up to what is there."""
        ledger = self._ledger
        if ledger.news.missed:
            todo = ledger.lineage.waiting()
        elif ledger.disturbed and ledger.news.opened:
            todo = list(ledger.news.opened)
        else:
            return []
        actions: list[object] = []
        ledger.news.missed, ledger.news.everything = False, True
        while todo:
            wanted = todo.pop().name
            for name in ledger.lineage.missing(wanted) if not ledger.outages.silences(wanted) else ():
                if name in ledger.lineage.tasks:
                    continue
                stage = ledger.lineage.stage(name)
                if stage.kind is Kind.SOURCE and name.interval > ledger.closed[name.stage, name.partition]:
                    continue  # not lost: not there yet
                if stage.kind is not Kind.STATE:
                    todo.append(ledger.lineage.want(name, again=True))
                    continue
                if name.interval <= ledger.restarts_at(name.stage):
                    text = f"a bug in dstream: {name} is needed below what is kept; please report it"
                    return [EndJob("failed", text)]
                actions += self._state_again(name)
                todo += ledger.lineage.waiting()
        return actions

    def _state_again(self, name: Name) -> list[object]:
        """A block that came from state can only be had from that state, advanced again from a checkpoint."""
        record = self._ledger.held[name.stage, name.partition].record
        return self._placement.replace(record, record.worker, f"a block of interval {name.interval} is missing")


def told(outages: Outages) -> Told:
    """The outputs that have failed, for the report."""
    return Told("failed_outputs", {"all": [asdict(failed) for failed in outages.failed.values()]})
