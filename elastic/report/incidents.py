"""What went wrong or changed on the way, told as a whole: failed records, stalls, recoveries, changes of scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailedRecords:
    """Records on which user code raised and that did not end the job.

    Attributes:
        where: The operator or step.
        skipped: How many were left out.
        diverted: How many went to the output for them.
        example: What the last of them met: the exception, the user's line, the record.
    """

    where: str
    skipped: int
    diverted: int
    example: str


def added(failures: Iterable[FailedRecords]) -> tuple[FailedRecords, ...]:
    """The counts of each operator or step together, in the order in which they first come."""
    sums: dict[str, FailedRecords] = {}
    for found in failures:
        known = sums.get(found.where, FailedRecords(found.where, 0, 0, ""))
        skipped, diverted = known.skipped + found.skipped, known.diverted + found.diverted
        sums[found.where] = FailedRecords(found.where, skipped, diverted, found.example or known.example)
    return tuple(sums.values())


@dataclass(frozen=True, slots=True)
class FailedOutput:
    """An output of a job in intervals that was given up, while the others went on.

    Attributes:
        interval: The first that it lacks; it has everything before.
        error: What user code raised, with the user's lines.
    """

    output: str
    interval: int
    error: str


@dataclass(frozen=True, slots=True)
class Stall:
    """An instance that stood still for longer than ``stall_after``, and not because of another one that did.

    Attributes:
        worker: Its worker; None for a function that was called in the process that started the job.
        what: Where it stood: ``code`` of the user's; ``source``, ``sink``: a read, a target that did not return;
            ``worker``: one that said nothing; ``input``, ``credit``, ``cover``: it waited for others, which went on;
            ``restore``, ``scaling``: for a checkpoint, for neighbours; ``system``: code of this package.
        detail: The same in words.
        tick: Its position.
        since_s: When it last got any further, seconds since tick 0.
        until_s: When it went on; None if it never did.
        waiting: A sentence for each instance that waited for it.
        lines: Where in the code it stood, innermost last: the user's own lines if there were any.
    """

    operator: str
    instance: int
    worker: int | None
    what: str
    detail: str
    tick: int
    since_s: float
    until_s: float | None
    waiting: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def story(self) -> str:
        """All of it in one line."""
        where = f": {self.lines[-1]}" if self.lines else ""
        waiting = f"; {'; '.join(self.waiting[:3])}" if self.waiting else ""
        more = f"; and {len(self.waiting) - 3} more wait" if len(self.waiting) > 3 else ""
        return f"{self.detail}{where}{waiting}{more}"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One failure and how the job came back from it. Times count from the failure itself.

    Attributes:
        cause: What failed and how.
        strategy: How state came back, such as ``checkpoint``.
        detected_s: Until the coordinator knew.
        restored_s: Until the last replacement instance processed again; None if that never happened.
        caught_up_s: Until lag was back under ``lag_bound_s`` and stayed there for a second (the second not counted);
            None if the job ended before.
        lag_bound_s: max(0.5, 2 times the 99th percentile of lag before the failure).
        replayed_records: Records processed a second time.
        state_keys: Keys restored from checkpoints.
    """

    cause: str
    strategy: str
    detected_s: float
    restored_s: float | None
    caught_up_s: float | None
    lag_bound_s: float
    replayed_records: int = 0
    state_keys: int = 0


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """A change of an operator's number of instances; ``before`` above ``after`` where it was scaled in.

    In JSON ``before`` and ``after`` are called ``from`` and ``to``.
    """

    operator: str
    before: int
    after: int
    at_s: float
    took_s: float
