"""The source instances of a worker: each has a driver, and a log for each of its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from elastic.connectors.base import Partition, Reader
from elastic.connectors.input_log import InputLog
from elastic.instance.driver import PartitionFeed, SourceDriver
from elastic.instance.source import SourceInstance
from elastic.operators.failure import ending_error
from elastic.plan import Plan
from elastic.protocol import Command, Finish, Freeze, Start
from elastic.worker.statistics import Statistics


class Sources:
    """Opens sources, and says which of them are due.

    Args:
        plan: What runs.
        directory: Of the input logs.
        keep_log: What all consumers are past stays in them.
        clock: Unix time, seconds.
        statistics: Are told of every tick that is read.
    """

    def __init__(
        self, plan: Plan, directory: Path, clock: Callable[[], float], statistics: Statistics, *, keep_log: bool
    ) -> None:
        self._plan, self._directory, self._clock, self._statistics = plan, directory, clock, statistics
        self._keep_log = keep_log
        self._drivers: dict[int, SourceDriver] = {}
        self._finishes: dict[int, Finish] = {}  # they may come before the source is open

    def feeds(self, start: Start) -> list[PartitionFeed]:
        """The instance's partitions with their logs, which refuse writes of earlier generations from now on.

        Raises:
            UserError: A source or a log cannot be opened.
            FencedError: A later generation has a log.
        """
        feeds = []
        with ExitStack() as opened:
            for n, partition in enumerate(self._plan.operators[start.operator].partitions):
                interval = self._plan.partition_interval(start.operator, n)
                if start.interval.low <= interval.low < start.interval.high:
                    log = InputLog.open(
                        self._directory, start.operator, n, start.generation,
                        keep=self._keep_log, sync=self._plan.settings.disk == "sync",
                    )  # fmt: skip
                    opened.callback(log.close)
                    reader = _opened(partition)
                    opened.callback(reader.close)
                    feeds.append(PartitionFeed(interval, reader, log))
            opened.pop_all()  # they are of use
        return feeds

    def begin(self, start: Start, instance: SourceInstance, feeds: list[PartitionFeed]) -> None:
        """The instance reads its feeds from now on."""
        id = instance.id
        finish = start.final or self._finishes.get(id)
        self._drivers[id] = SourceDriver(
            self._plan, instance, feeds, self._clock, lambda mark: self._statistics.read(id, mark), finish
        )

    def heard(self, message: Freeze | Finish) -> list[Command]:
        """What the coordinator says of the end of a source."""
        driver = self._drivers.get(message.instance)
        if isinstance(message, Freeze):
            return [] if driver is None else driver.on_freeze()
        self._finishes[message.instance] = message
        if driver is not None:
            driver.on_finish(message)
        return []

    def due(self) -> Iterator[tuple[int, SourceDriver]]:
        """Those that have something to do by now."""
        return ((id, driver) for id, driver in list(self._drivers.items()) if self.is_due(id, driver))

    def is_due(self, id: int, driver: SourceDriver) -> bool:
        """Whether a source has something to do by now, if it has not ended."""
        return id in self._drivers and driver.wakes_at <= self._clock()

    @property
    def wakes_at(self) -> float:
        """When the first of them is due, Unix time; infinity if there is none."""
        return min((driver.wakes_at for driver in self._drivers.values()), default=float("inf"))

    @property
    def read(self) -> list[tuple[int, int, int, int]]:
        """(instance, key group of the partition, records, bytes) of all that was read, by whomever."""
        return [(id, *read) for id, driver in self._drivers.items() for read in driver.read]

    @property
    def repaired(self) -> dict[int, int]:
        """By instance: records that an error policy changed to make them readable."""
        return {id: driver.repaired for id, driver in self._drivers.items()}

    def close(self, id: int) -> None:
        """An instance has ended."""
        if (driver := self._drivers.pop(id, None)) is not None:
            driver.close()

    def close_all(self) -> None:
        """The worker ends."""
        for driver in self._drivers.values():
            driver.close()


def _opened(partition: Partition) -> Reader:
    """A partition's reader, whatever code of the user's that is."""
    try:
        return partition.open()
    except Exception:
        raise
    except BaseException as error:  # it would end the process, or a task of its own
        raise ending_error(error) from error
