"""Messages that come before their instance runs, and producers from which nothing comes."""

from __future__ import annotations

from elastic.instance.keyed import KeyedInstance
from elastic.instance.sink import SinkInstance
from elastic.protocol import Command, Subscribe, View

MAX_NUDGE = 32
"""A silent producer is asked again after 1, 2, 4 … so many nudges, since it may just be busy in user code."""


class EarlyMessages:
    """For instances that are being started: the newest view of each input, and the newest request of each consumer."""

    def __init__(self) -> None:
        self._views: dict[tuple[int, int], View] = {}
        self._subscriptions: dict[tuple[int, int, int], Subscribe] = {}

    def keep(self, message: View | Subscribe) -> None:
        """A message came before its instance runs."""
        if isinstance(message, Subscribe):
            self._subscriptions[message.producer, message.edge, message.consumer] = message
            return
        known = self._views.get((message.instance, message.edge))
        if known is None or known.version < message.version:
            self._views[message.instance, message.edge] = message

    def take(self, instance: int) -> list[View | Subscribe]:
        """What came for an instance, views first; it is forgotten here."""
        views = [self._views.pop(key) for key in [k for k in self._views if k[0] == instance]]
        asked = [self._subscriptions.pop(key) for key in [k for k in self._subscriptions if k[0] == instance]]
        return [*views, *asked]


class Silence:
    """How far each producer was when it was looked at last, and how often it has not moved since."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, int, int], tuple[int, int]] = {}  # by consumer, edge and producer
        self._now: dict[tuple[int, int, int], tuple[int, int]] = {}

    def begin(self) -> None:
        """All producers are to be looked at once more; who is not is forgotten."""
        self._before, self._now = self._now, {}

    def ask_again(self, consumer: KeyedInstance | SinkInstance) -> list[Command]:
        """Subscribe again at producers that have closed nothing since the last time, ever more rarely."""
        commands: list[Command] = []
        for i in consumer.inputs:
            for id, producer in i.producers.items():
                key = consumer.id, i.edge, id
                closed, silent = self._before.get(key, (-1, 0))
                silent = 0 if closed != producer.closed or producer.final else silent + 1
                self._now[key] = producer.closed, silent
                if 0 < silent <= MAX_NUDGE and silent & (silent - 1) == 0:
                    commands += i.subscribe(producer)
        return commands
