"""What listeners are told: derived from the scheduler's events, facts and orders, which nothing here changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dstream.plan import Kind
from dstream.protocol import RunTask, TaskDone
from dstream.scheduler.ledger import Ledger
from elastic.coordinator.events import Event, Heard, Journal, Told, WorkerLost
from elastic.protocol import Exhausted, Failed, Finished, Send, Started

Note: TypeAlias = "dict[str, Any]"
"""What happened (``kind``) and the fields of the value that a listener gets."""


DONE = -1.0


@dataclass(slots=True)
class Observer:
    """Tells what happens to intervals, outputs and receivers, each thing once and in order.

    Attributes:
        submitted: All sources are closed through this interval, and listeners were told.
    """

    ledger: Ledger
    submitted: int = 0
    _batches: dict[int, Note] = field(default_factory=dict)  # by interval that is submitted and not complete
    _outputs: dict[tuple[int, int], float] = field(default_factory=dict)  # (interval, stage): started, or DONE
    _receivers: dict[int, tuple[str, int, int]] = field(default_factory=dict)  # by instance

    def notes(self, event: Event, actions: Sequence[object]) -> list[Note]:
        """What there is to tell once an event was handled, which led to these actions."""
        orders = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, RunTask)]
        deployed = any(isinstance(a, Journal) and a.kind == "deploy" for a in actions)
        told: list[Note] = [{"kind": "streaming_started"}] if deployed else []
        told += self._of_receivers(event)
        told += self._submitted_now()
        for order in orders:
            told += self._ordered(order)
        if isinstance(event, Heard) and isinstance(event.message, TaskDone):
            told += self._done(event.message)
        for action in actions:
            if isinstance(action, Told) and action.kind == "interval":
                told += self._completed(action.body)
        return told

    # -- receivers -----------------------------------------------------------------------------------------------------

    def _of_receivers(self, event: Event) -> Iterator[Note]:
        if isinstance(event, WorkerLost):
            for instance in [i for i, (*_, worker) in self._receivers.items() if worker == event.worker]:
                yield self._receiver("receiver_error", instance, f"worker {event.worker} {event.reason}")
                del self._receivers[instance]
        elif isinstance(event, Heard):
            match event.message:
                case Started(instance=instance):
                    record = self.ledger.members.instances.get(instance)
                    if record is not None and self.ledger.stage(record).kind is Kind.SOURCE:
                        self._receivers[instance] = (record.operator, record.index, event.worker)
                        yield self._receiver("receiver_started", instance)
                case Exhausted(instance=instance) | Finished(instance=instance) if instance in self._receivers:
                    yield self._receiver("receiver_stopped", instance)
                    del self._receivers[instance]
                case Failed(instance=instance, error=error) if instance in self._receivers:
                    yield self._receiver("receiver_error", instance, error)

    def _receiver(self, kind: str, instance: int, error: str | None = None) -> Note:
        source, partition, worker = self._receivers[instance]
        return {"kind": kind, "source": source, "partition": partition, "worker": worker, "error": error}

    # -- intervals -----------------------------------------------------------------------------------------------------

    def _submitted_now(self) -> Iterator[Note]:
        closed = min(self.ledger.closed.values(), default=0)
        while self.submitted < closed:
            self.submitted += 1
            interval = self.ledger.progress.intervals.get(self.submitted)
            if interval is not None:
                self._batches[self.submitted] = {
                    "interval": self.submitted, "ended_s": interval.ends_s, "records": interval.records,
                    "submitted_s": self.ledger.now_s,
                }  # fmt: skip
                yield {"kind": "batch_submitted", **self._batches[self.submitted]}
                yield from self._begin(self.submitted)

    def _ordered(self, order: RunTask) -> Iterator[Note]:
        yield from self._begin(order.interval)
        key = (order.interval, order.stage)
        is_output = self.ledger.plan.stages[order.stage].kind is Kind.SINK
        if is_output and order.interval in self._batches and key not in self._outputs:
            self._outputs[key] = self.ledger.now_s
            yield self._output("output_operation_started", key, None)

    def _begin(self, number: int) -> Iterator[Note]:
        """Tasks of an interval may begin before all of its input is there; that is told afterwards."""
        interval, batch = self.ledger.progress.intervals.get(number), self._batches.get(number)
        if interval is not None and interval.started_s is not None and batch is not None and "started_s" not in batch:
            batch["started_s"] = interval.started_s
            yield {"kind": "batch_started", **batch}

    def _done(self, message: TaskDone) -> Iterator[Note]:
        key = (message.interval, message.stage)
        if key in self._outputs:
            interval = self.ledger.progress.intervals.get(message.interval)
            if interval is None or not any(name.stage == message.stage for name in interval.left or ()):
                yield self._output("output_operation_completed", key, self.ledger.now_s)
                self._outputs[key] = DONE

    def _completed(self, body: dict[str, Any]) -> Iterator[Note]:
        number = body["interval"]
        for key in sorted(key for key in self._outputs if key[0] == number):
            if self._outputs[key] != DONE:  # its target has the rows, but who wrote them could not say so
                yield self._output("output_operation_completed", key, self.ledger.now_s)
            del self._outputs[key]
        batch = self._batches.pop(number, {"submitted_s": self.ledger.now_s})
        figures = {name: value for name, value in body.items() if name != "instances"}
        yield {"kind": "batch_completed", **batch, **figures, "completed_s": self.ledger.now_s}

    def _output(self, kind: str, key: tuple[int, int], completed_s: float | None) -> Note:
        interval, stage = key
        name = self.ledger.plan.stages[stage].operator
        failed = self.ledger.outages.failed.get(stage)
        return {
            "kind": kind, "interval": interval, "name": name, "started_s": self._outputs[key],
            "completed_s": completed_s,
            "error": failed.error if failed is not None and interval >= failed.interval else None,
        }  # fmt: skip
