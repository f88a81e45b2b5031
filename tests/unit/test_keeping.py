"""Versions of D-Stream state on one worker: where they are sent, what is refused, and where state is found again."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from dstream.logic import Logic
from dstream.protocol import Guard, Keep, KeepRefused, Kept, Place, State, StateMissing, Unguard, WantState
from dstream.versions import Version
from dstream.worker.archive import Archive
from dstream.worker.keeping import Keeping
from dstream.worker.tasks import OVERDUE, Partition
from elastic.batch import rows
from elastic.protocol import Command, Send, Tell
from elastic.state.processing import StateTable

STAGE, NUMBER, INSTANCE = 2, 7, 31


class Numbers(Logic):
    """Holds a hundred keys, of which one is written before each cut."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(range(100), 0)

    def compute(self, given: Any) -> Any:
        raise NotImplementedError

    def full(self) -> StateTable:
        return self._table(list(self.values))

    def delta(self) -> StateTable:
        return self._table([0])

    def _table(self, keys: Sequence[int]) -> StateTable:
        fields = {"value": pa.array([self.values[key] for key in keys])}
        return StateTable(np.zeros(len(keys), np.uint16), pa.array(keys), fields)


class Disk(Archive):
    """Keeps everything at once."""

    def __init__(self) -> None:
        self.kept_there: dict[int, Version] = {}

    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        self.kept_there[interval] = version

    def load(self, stage: int, partition: int, interval: int) -> list[tuple[int, Version]]:
        return [(interval, self.kept_there[interval])] if interval in self.kept_there else []

    def keep_from(self, versions: Sequence[int]) -> None:
        raise NotImplementedError

    news = kept = read_again = cast(Any, None)


class Worker:
    """One worker's part that keeps versions; the partition lives on it if it was given one."""

    def __init__(self, number: int, *, has_disk: bool, holders: tuple[int, ...] = ()) -> None:
        self.number, self.disk = number, Disk()
        self.keeping = Keeping(number, cast(Any, SimpleNamespace(has_disk=has_disk)), self.disk)
        self.held = Partition(STAGE, NUMBER, INSTANCE, Numbers(), cast(Any, None), holders=holders)

    def cut(self, interval: int) -> list[Command]:
        cast(Numbers, self.held.logic).values[0] = interval
        self.held.done = interval
        return self.keeping.cut(self.held)


def sent(commands: Sequence[Command]) -> list[tuple[int, Any]]:
    return [(command.worker, command.message) for command in commands if isinstance(command, Send)]


def told(commands: Sequence[Command]) -> list[Any]:
    return [command.message for command in commands if isinstance(command, Tell)]


def deliver(commands: Sequence[Command], worker: Worker) -> list[Command]:
    """What follows on a worker from the versions that are sent to it."""
    mine = [message for to, message in sent(commands) if to == worker.number and isinstance(message, Keep)]
    return [answer for message in mine for answer in worker.keeping.on_keep(message)]


def place(at: int, *copies: int) -> Place:
    return Place(1, INSTANCE, STAGE, NUMBER, at, copies)


def value_of(version: Version | None) -> int:
    """What the key that is written before each cut has in a whole version."""
    assert version is not None
    assert version.table is not None
    found = dict(zip(rows(version.table.keys), rows(version.table.fields["value"]), strict=True))
    assert len(found) == 100
    return int(found[0])


def test_what_was_written_goes_to_all_holders_and_to_the_disk() -> None:
    owner, holder = Worker(0, has_disk=True, holders=(1, 2)), Worker(1, has_disk=True)

    first, second = owner.cut(10), owner.cut(20)

    assert [(to, message.version.base) for to, message in sent(first + second)] == [
        (1, None), (2, None), (1, 10), (2, 10),
    ]  # fmt: skip
    assert list(owner.disk.kept_there) == [10, 20]
    assert told(deliver([*first, *second], holder)) == [
        Kept(INSTANCE, STAGE, NUMBER, 10, 1800, on_disk=False), Kept(INSTANCE, STAGE, NUMBER, 20, 18, on_disk=False),
    ]  # fmt: skip


@pytest.mark.parametrize("has_disk", [True, False])
def test_a_holder_that_missed_a_version_gets_what_it_lacks(*, has_disk: bool) -> None:
    owner, holder = Worker(0, has_disk=has_disk, holders=(1,)), Worker(1, has_disk=has_disk)
    owner.cut(10)  # is lost on its way

    ((_, refused),) = sent(deliver(owner.cut(20), holder))
    again = owner.keeping.on_refused(owner.held, refused.worker)
    answers = deliver([*again, *owner.cut(30)], holder)

    assert refused == KeepRefused(1, INSTANCE)
    assert [message.interval for message in told(answers)] == ([30] if has_disk else [10, 20, 30])


def test_without_a_disk_a_new_holder_gets_all_versions_at_once() -> None:
    owner, holder = Worker(0, has_disk=False, holders=(1,)), Worker(2, has_disk=False)
    for interval in (10, 20):
        owner.cut(interval)

    deliver(owner.keeping.on_guard(owner.held, Guard(1, INSTANCE, (2,))), holder)

    assert holder.keeping.versions.names() == [(STAGE, NUMBER, 10), (STAGE, NUMBER, 20)]
    assert {to for to, _ in sent(owner.cut(30))} == {2}
    holder.keeping.on_unguard(Unguard(1, STAGE, NUMBER))
    assert holder.keeping.versions.names() == []


def test_state_is_found_in_this_memory_then_in_that_of_others_then_on_the_disk() -> None:
    owner, holder, other = (Worker(n, has_disk=True, holders=(1,)) for n in range(3))
    for interval in (10, 20):
        deliver(owner.cut(interval), holder)

    assert holder.keeping.seek(place(20, 1)) == []
    ((_, here),) = holder.keeping.found()
    ((asked, want),) = sent(other.keeping.seek(place(20, 3, 1)))
    nobody = State(asked, INSTANCE, ())
    ((asked_next, _),) = sent(other.keeping.on_state(nobody))
    waiting = list(other.keeping.restoring)
    ((_, answer),) = sent([holder.keeping.on_want(want)])
    assert other.keeping.on_state(answer) == []
    ((_, from_other),) = other.keeping.found()
    other.disk.kept_there[20] = Version(owner.held.logic.full())
    assert other.keeping.seek(place(20)) == []
    ((_, from_disk),) = other.keeping.found()

    assert (asked, asked_next, waiting) == (3, 1, [INSTANCE])
    assert want == WantState(2, INSTANCE, STAGE, NUMBER, 20)
    assert [value_of(version) for version in (here, from_other, from_disk)] == [20, 20, 20]
    assert not other.keeping.restoring


@pytest.mark.parametrize("has_disk", [True, False])
def test_state_that_is_nowhere_is_told_of(*, has_disk: bool) -> None:
    worker = Worker(0, has_disk=has_disk)

    worker.keeping.seek(place(20, 4))
    commands = worker.keeping.on_state(State(4, INSTANCE, ()))

    assert told(commands) == [StateMissing(INSTANCE, (0, 4))]
    assert not worker.keeping.restoring


def test_who_does_not_answer_is_asked_again() -> None:
    worker = Worker(0, has_disk=True)
    worker.keeping.seek(place(20, 4))

    asked = [to for _ in range(2 * OVERDUE) for to, _ in sent(worker.keeping.nudge())]

    assert asked == [4, 4]
