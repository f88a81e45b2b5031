"""One time for all processes of a job, whatever is done to the machine's clock."""

from __future__ import annotations

import time

import pytest

from elastic.wire.clock import JobClock


class Machine:
    """A machine whose two clocks are set by hand."""

    def __init__(self, wall_s: float, monotonic_s: float) -> None:
        self.wall_s, self.monotonic_s = wall_s, monotonic_s

    def on(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(time, "time", lambda: self.wall_s)
        patch.setattr(time, "monotonic", lambda: self.monotonic_s)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_process_that_starts_after_the_clock_was_set_has_the_time_of_the_others(
    monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    machine = Machine(1_000_000.0, 50.0)
    machine.on(monkeypatch)
    coordinator = JobClock()
    machine.wall_s, machine.monotonic_s = machine.wall_s + 10 + jump_s, 60.0

    worker = JobClock()
    told = coordinator.at(60.0), 60.0
    machine.monotonic_s = 60.25
    worker.follow(*told)

    assert coordinator() == worker() == 1_000_010.25


def test_a_process_on_another_machine_is_late_by_the_way_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(777.0, 9_000.0).on(monkeypatch)
    worker = JobClock()

    worker.follow(1_000_010.0, 60.0)

    assert worker() == 1_000_010.0
