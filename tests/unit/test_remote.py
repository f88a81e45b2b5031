"""What another command makes of a running job's answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from elastic.cluster.remote import Contact, Remote
from elastic.errors import UserError
from elastic.wire.control import Inventory


class Hub:
    """Stands in for a connection over which nobody answers."""

    address = "ipc://client"

    def send(self, peer: str, message: Any) -> None:
        pass

    def wait(self, timeout_s: float) -> None:
        pass

    def receive(self) -> list[Any]:
        return []


def remote(directory: Path, *answers: Inventory) -> Remote:
    """Connected to a job that says, one after the other, how it is scaled."""
    made = Remote.__new__(Remote)
    left = list(answers)
    contact = Contact("job", directory, os.getpid(), "ipc://job")
    known: dict[str, Any] = {"_number": 0, "_contact": contact, "_hub": Hub()}
    if answers:
        known |= {"_do": lambda wish: None, "_inventory": lambda within_s: left.pop(0)}
    made.__dict__.update(known)
    return made


def scaled(present: int, aim: int | None) -> Inventory:
    return Inventory((("count", present),), 2, 1, 100, aims=() if aim is None else (("count", aim),))


def test_a_scale_is_done_once_the_operator_has_its_instances(tmp_path: Path) -> None:
    job = remote(tmp_path, scaled(2, 3), scaled(3, 3))

    assert job.scale("count", 3).operators == (("count", 3),)


@pytest.mark.parametrize(("aim", "why"), [(2, "somebody has asked for 2 since"), (None, "it was called off")])
def test_a_scale_that_will_not_be_says_so_at_once(tmp_path: Path, aim: int | None, why: str) -> None:
    with pytest.raises(UserError, match=f"job: count runs on 2, not on 3: {why}"):
        remote(tmp_path, scaled(2, 3), scaled(2, aim)).scale("count", 3)


def test_a_job_that_ends_while_it_is_asked_has_ended_and_is_not_said_to_be_silent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="job has ended meanwhile"):
        remote(tmp_path).inventory()
