"""What must hold at every moment of a simulated job, checked from outside against what the world really holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.instance.host import Host
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.keys import KeyInterval, tiles
from elastic.plan import Plan
from elastic.protocol import Ack, Command, Send, SetHolder, Start, Stored
from elastic.testing.world import LogStore, TargetStore


class InvariantError(AssertionError):
    """An invariant of the system does not hold."""


class Watch:
    """Follows a job and raises ``InvariantError`` at the first event after which an invariant is broken.

    Args:
        logs: By (source, partition).
        targets: By sink.
    """

    def __init__(
        self, plan: Plan, logs: Mapping[tuple[str, int], LogStore], targets: Mapping[str, TargetStore]
    ) -> None:
        self._plan, self._logs, self._targets = plan, logs, targets
        groups = plan.settings.key_groups
        keyed = [name for name, o in plan.operators.items() if o.kind == "keyed"]
        self._stored = {name: np.zeros(groups, np.int64) for name in keyed}
        self._acked = {name: np.zeros(groups, np.int64) for name in keyed}  # what producers may have forgotten by now
        self._unprotected = set() if plan.settings.checkpoint_ticks else set(keyed)
        self._started: dict[int, Start] = {}
        self._tau: dict[int, int] = {}
        self._lows = {place: plan.partition_interval(*place).low for place in logs}

    def ordered(self, message: object) -> None:
        """The coordinator has sent an order; whoever is to have no holder may already act on it."""
        match message:
            case Start():
                self._started[message.instance] = message
                self._note_holder(message.instance, message.holder)
            case SetHolder():
                self._note_holder(message.instance, message.holder)

    def saw(self, host: Host, message: object, commands: Sequence[Command]) -> None:
        """A host has handled a message: note what is stored, and check what was trimmed."""
        self.stored(commands)
        if isinstance(message, Ack):
            self._check_trimmed(host, message)

    def stored(self, commands: Sequence[Command]) -> None:
        """Note what a holder acknowledges: it must really have it, which its own store has decided.

        And what an instance acknowledges, which is what all its holders have.
        """
        for message in (command.message for command in commands if isinstance(command, Send)):
            if isinstance(message, Stored):
                start = self._started[message.instance]
                _raise(self._stored[start.operator], start.interval, message.tick)
            elif isinstance(message, Ack) and (consumer := self._plan.edges[message.edge].consumer) in self._acked:
                _raise(self._acked[consumer], message.interval, message.tick)

    def _note_holder(self, instance: int, holder: int | None) -> None:
        """Without a holder nothing could be restored, so an instance may acknowledge what it likes."""
        start = self._started.get(instance)
        if start is not None and holder is None and start.operator in self._stored:
            self._unprotected.add(start.operator)

    def _check_trimmed(self, host: Host, ack: Ack) -> None:
        """Nothing is trimmed early: each key group downstream is covered by a stored checkpoint, or by its target."""
        producer = host.instances.get(ack.producer)
        if producer is None or isinstance(producer, SinkInstance):
            return
        consumer = self._plan.edges[ack.edge].consumer
        if consumer in self._unprotected:
            return
        buffer = producer.outputs.buffers[ack.edge]
        safe = self._targets[consumer].tick if consumer in self._targets else self._stored[consumer]
        covered = buffer.covered
        early = np.flatnonzero(covered > safe)
        if len(early):
            group = int(early[0])
            raise InvariantError(
                f"{producer.operator} trimmed what {consumer} needs: key group {group} counts as safe through tick "
                f"{covered[group]}, but only tick {safe[group]} is stored"
            )

    def is_needed(self, record: InstanceRecord) -> bool:
        """Whether an instance's state must not be lost, since its producers may have forgotten what it was made of."""
        interval = record.interval
        acknowledged = self._acked[record.operator][interval.low : interval.high].any()
        return bool(acknowledged) or record.operator in self._unprotected

    def worked(self, host: Host) -> None:
        """A host has worked: τ never goes back, and a source serves nothing that is not logged."""
        for id, instance in host.instances.items():
            if instance.tau < self._tau.get(id, 0):
                raise InvariantError(f"τ of {instance.operator} went from {self._tau[id]} to {instance.tau}")
            self._tau[id] = instance.tau
            if isinstance(instance, SourceInstance):
                self._check_logged(instance)

    def _check_logged(self, source: SourceInstance) -> None:
        for place, log in self._logs.items():
            if place[0] != source.operator or not source.interval.low <= self._lows[place] < source.interval.high:
                continue
            logged = max(log.floor, log.entries[-1].tick if log.entries else 0)
            if source.tau > logged:
                raise InvariantError(f"{source.operator} has closed tick {source.tau}, but logged through {logged}")

    def assigned(self, members: Membership, operator: str) -> None:
        """The coordinator has decided: an operator's instances tile its key groups, each of them once."""
        intervals = [record.interval for record in members.assignment(operator)]
        if not tiles(intervals, KeyInterval(0, self._plan.settings.key_groups)):
            raise InvariantError(f"the instances of {operator} have {intervals}, which leave a gap or overlap")


def _raise(ticks: npt.NDArray[np.int64], interval: KeyInterval, tick: int) -> None:
    """Of no key group in the interval is it less from now on."""
    part = ticks[interval.low : interval.high]
    np.maximum(part, tick, out=part)
