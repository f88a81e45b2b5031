"""The keyed state of a job, as its newest checkpoints on the disk have it; of one that runs, or can be resumed."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elastic.batch import rows
from elastic.cluster.remote import JOBS, aligned
from elastic.coordinator.memory import Facts
from elastic.errors import UserError
from elastic.keys import KeyInterval
from elastic.operators.snapshot import thaw
from elastic.operators.told import in_words
from elastic.server.journal import FACTS, JOURNAL, JournalReader
from elastic.state.checkpoint import Checkpoint
from elastic.state.folding import folded
from elastic.state.processing import StateTable, cut_table, dict_keys
from elastic.units import format_count, format_size
from elastic.worker.checkpoint_files import CHECKPOINTS, CheckpointFiles

ATTEMPTS = 5
"""A running job may fold the files of a checkpoint while they are being read; then they are read again."""


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One keyed instance's state.

    Attributes:
        tick: Of its newest checkpoint; None if there is none yet.
        table: Processing state within its interval; None where nothing was ever written.
        disk_bytes: What its files take.
        declared: What each declared state of the operator is, by name.
    """

    operator: str
    index: int
    interval: KeyInterval
    tick: int | None = None
    table: StateTable | None = field(default=None, repr=False)
    disk_bytes: int = 0
    declared: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> int:
        """How many keys have a value."""
        return 0 if self.table is None else len(self.table)

    def value(self, key: Any) -> dict[str, Any] | None:
        """What is kept for a key, by field; None if there is nothing.

        Raises:
            UserError: A value is of a class that cannot be imported here.
        """
        if self.table is None:
            return None
        keys = dict_keys(self.table.keys)
        at = next((n for n, found in enumerate(keys) if found == key), None)
        if at is None:
            return None
        return {name: thaw([rows(column)[at]])[0] for name, column in self.table.fields.items()}


def read_state(job: str, operator: str | None = None) -> list[InstanceState]:
    """The state of a job's keyed operators, or of one of them, instance by instance.

    Args:
        job: Its name, or its directory.
        operator: All if None.

    Raises:
        UserError: There is no such job, or no such operator, or it keeps nothing on the disk.
    """
    directory = _directory(job)
    journal = JournalReader(directory / JOURNAL)
    facts = journal.newest(FACTS)
    journal.close()
    states: list[InstanceState] = []
    if facts is not None:  # a model that keeps state in another way says who can read it
        reader = pkgutil.resolve_name(facts["state_reader"]) if "state_reader" in facts else _read_checkpoints
        states = reader(directory, facts)
    found = [state for state in states if operator in (None, state.operator)]
    if operator is not None and not found:
        names = ", ".join(sorted({state.operator for state in states}))
        raise UserError(f"{job} has no keyed operator {operator!r}; it has {names or 'none'}")
    return found


def _read_checkpoints(directory: Path, facts: Facts) -> list[InstanceState]:
    """Every keyed instance of the elastic model."""
    files = CheckpointFiles(directory / CHECKPOINTS)
    found = []
    for body in sorted(facts["instances"], key=lambda i: (i["operator"], i["index"])):
        if not body["term"]:
            continue  # only keyed instances have holders
        interval = KeyInterval(*body["interval"])
        checkpoint, size_bytes = _newest(files, [body["id"], body["origin"]])
        state = InstanceState(body["operator"], body["index"], interval)
        if checkpoint is not None:
            table = None if checkpoint.state is None else cut_table(folded(checkpoint.state), interval)
            state = replace(
                state, tick=checkpoint.tick, table=table, disk_bytes=size_bytes, declared=checkpoint.common or {}
            )
        found.append(state)
    return found


def _newest(files: CheckpointFiles, ids: Sequence[int | None]) -> tuple[Checkpoint | None, int]:
    """The newest checkpoint of the first of these instances that has one, and what it takes on the disk."""
    for attempt in range(ATTEMPTS):
        try:
            for id in ids:
                if id is not None and (found := files.read(id)) is not None:
                    return found, files.size_bytes(id)
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return None, 0
    return None, 0


def _directory(job: str) -> Path:
    for directory in (Path(job), JOBS / job):
        if (directory / JOURNAL).exists():
            return directory
    known = sorted(path.parent.name for path in JOBS.glob(f"*/{JOURNAL}"))
    hint = f"{JOBS} has {', '.join(known)}" if known else f"{JOBS} has none"
    raise UserError(f"there is no job of the name or in the directory {job!r}; {hint}")


def state_table(states: Sequence[InstanceState]) -> str:
    """Instances as lines of text."""
    lines = [("OPERATOR", "KEY GROUPS", "KEYS", "MEMORY", "ON DISK", "TICK")]
    for state in states:
        size = 0 if state.table is None else state.table.size_bytes
        tick = "none yet" if state.tick is None else str(state.tick)
        lines.append(
            (
                f"{state.operator}#{state.index}", str(state.interval), format_count(state.keys), format_size(size),
                format_size(state.disk_bytes), tick,
            )
        )  # fmt: skip
    return aligned(lines)


def lines_of_key(states: Sequence[InstanceState], key: Any) -> list[str]:
    """What each operator keeps for a key, a line each."""
    lines = []
    for state in states:
        if (found := state.value(key)) is not None:
            words = [in_words(name, value, state.declared) for name, value in found.items()]
            what = ", ".join(text for text in words if text is not None)
            lines.append(f"{state.operator}#{state.index}, tick {state.tick}: {what or 'nothing'}")
    return lines
