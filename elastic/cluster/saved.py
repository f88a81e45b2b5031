"""What a job directory keeps of a job, so that it can be resumed; and whether a query still fits what it keeps."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cloudpickle

from elastic.errors import UserError
from elastic.plan import OperatorPlan, Plan
from elastic.server.journal import ENDED, FACTS, JOURNAL, JournalReader
from elastic.wire.control import FIRST_EXTRA

IDENTITY = "job.identity"
"""Its name in the job directory."""

Shape = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a job is, beyond one run of it.

    Attributes:
        run_id: Under which its sinks keep their commits.
        keep_log: Its input log is whole.
        durable: What it keeps outlives its processes.
        shape: What its state depends on; see ``shape_of``.
        partitions: Of each source, as they were when it began: positions in its log are theirs.
    """

    run_id: str
    keep_log: bool
    durable: bool
    shape: Shape
    partitions: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, plan: Plan, *, keep_log: bool) -> Self:
        """Of a job that begins."""
        partitions = {name: o.partitions for name, o in plan.operators.items() if o.kind == "source"}
        return cls(plan.run_id, keep_log, plan.durable, shape_of(plan), partitions)

    def write(self, directory: Path) -> None:
        """It is in the job directory."""
        (directory / IDENTITY).write_bytes(cloudpickle.dumps(self))

    def fitted(self, plan: Plan) -> Plan:
        """A query's plan, so that it goes on where this job was.

        Raises:
            UserError: The state does not fit; says what differs, and the choices.
        """
        plan = plan.recut(self.shape["cut"])
        if not (self.durable and plan.durable):
            when = "is to keep its state" if self.durable else "kept its state"
            raise UserError(
                f'the job cannot be resumed, since it {when} in memory alone ("disk: off" or "checkpoint: off"): '
                "run it without --resume"
            )
        if differences := list(_differences(self.shape, shape_of(plan))):
            lines = "".join(f"\n  {line}" for line in differences)
            raise UserError(
                f"the job cannot be resumed with this query, which its state does not fit:{lines}\n"
                "resume it with the query that it was begun with, or run it without --resume, which forgets its state"
            )
        operators = {
            name: replace(o, partitions=self.partitions.get(name, o.partitions)) for name, o in plan.operators.items()
        }
        return replace(plan, operators=operators, run_id=self.run_id)


@dataclass(frozen=True, slots=True)
class SavedJob:
    """A job that can be resumed.

    Attributes:
        next_worker: The lowest number that no worker of its own has had.
        began: It had workers, which the journal knows of.
    """

    identity: Identity
    next_worker: int
    began: bool

    @classmethod
    def read(cls, directory: Path) -> Self:
        """From its directory.

        Raises:
            UserError: There is none, or it is over.
        """
        if not (directory / IDENTITY).exists() or not (directory / JOURNAL).exists():
            raise UserError(f"there is nothing to resume in {directory}: run the job without --resume")
        try:
            identity = pickle.loads((directory / IDENTITY).read_bytes())  # noqa: S301 (the user's own job directory)
        except Exception as error:  # noqa: BLE001 (a source's partitions may be of a class of the user's)
            raise UserError(
                f"{str(directory / IDENTITY)!r} cannot be read ({error}): resume the job with the code and the release "
                "that it was begun with, or run it without --resume"
            ) from None
        journal = JournalReader(directory / JOURNAL)
        facts, ended = journal.newest(FACTS), journal.newest(ENDED)
        journal.close()
        if ended == "done":
            raise UserError(f"the job in {directory} is done, there is nothing to resume: run it without --resume")
        numbers = [] if facts is None else [w["id"] for w in facts["workers"] if w["id"] < FIRST_EXTRA]
        return cls(identity, max(numbers, default=-1) + 1, bool(numbers))


def shape_of(plan: Plan) -> Shape:
    """All of a plan that the state of its job depends on: what else is in it may change."""
    settings = plan.settings
    return {
        "cut": dict(plan.cut),
        "settings": {"key_groups": settings.key_groups, "tick_ms": settings.tick_ms},
        "operators": {name: _kind_of(operator) for name, operator in plan.operators.items()},
        "streams": [
            f"{e.producer}{'' if e.output == 'main' else '.' + e.output} to {e.consumer}, input {e.input}"
            + (", by key" if e.keyed else "")
            for e in plan.edges
        ],
    }


def _kind_of(operator: OperatorPlan) -> str:
    """What an operator is, in a word or two: ``count``, ``apply(Sessions)``, ``text_files``."""
    logic = getattr(operator.logic, "__self__", operator.logic)
    kind = getattr(logic, "kind", None)
    if isinstance(kind, str):
        return kind
    inner = getattr(logic, "operator", None)
    name = type(logic).__name__
    return name if inner is None else f"{name.lower()}({type(inner).__name__})"


def _differences(before: Shape, now: Shape) -> Iterator[str]:
    if before["cut"]["model"] != now["cut"]["model"]:
        yield f"it ran under the model {before['cut']['model']}, and is to run under {now['cut']['model']}"
        return
    for part in ("cut", "settings"):
        for name, value in before[part].items():
            if now[part].get(name) != value:
                yield f"{name} was {value}, and is {now[part].get(name)}"
    yield from _differing_operators(before, now)
    if before["operators"] == now["operators"] and before["streams"] != now["streams"]:
        yield from _differing_streams(before["streams"], now["streams"])


def _differing_operators(before: Shape, now: Shape) -> Iterator[str]:
    for name, kind in before["operators"].items():
        if name not in now["operators"]:
            yield f"operator {name!r} ({kind}) is not there any more"
        elif now["operators"][name] != kind:
            yield f"operator {name!r} was {kind}, and is {now['operators'][name]}"
    for name, kind in now["operators"].items():
        if name not in before["operators"]:
            yield f"operator {name!r} ({kind}) was not there"


def _differing_streams(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    for stream in before:
        if stream not in now:
            yield f"there was a stream from {stream}"
    for stream in now:
        if stream not in before:
            yield f"there was no stream from {stream}"
    if sorted(before) == sorted(now):
        yield "the streams are the same, but built in another order"
