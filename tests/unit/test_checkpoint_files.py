"""Checkpoints on the disk: whole or not at all, newest first, and fenced."""

from __future__ import annotations

import queue
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elastic.batch import Batch, rows
from elastic.errors import FencedError, SinkError, UserError
from elastic.protocol import Load
from elastic.state.checkpoint import BufferCheckpoint, Checkpoint
from elastic.state.folding import Layers, folded
from elastic.state.processing import StateTable
from elastic.worker.checkpoint_files import CheckpointFiles
from elastic.worker.disk import DiskFailed, DiskThread


def checkpoint(tick: int, base: int | None = None, **values: object) -> Checkpoint:
    table = StateTable(np.zeros(len(values), np.uint16), list(values), {"value": list(values.values())})
    batch = Batch(np.zeros(1, np.uint16), None, [tick])
    acked = np.full(4, 1, np.int64)
    return Checkpoint(tick, base, table, {2: BufferCheckpoint(tick - 1, acked, ((tick, batch),))})


def contents(found: Checkpoint | None) -> tuple[int, dict[object, object]]:
    assert found is not None
    assert found.state is not None
    state = folded(found.state)
    return found.tick, dict(zip(rows(state.keys), rows(state.fields["value"]), strict=True))


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    return CheckpointFiles(tmp_path / "checkpoints")


def test_what_was_written_is_read_with_its_deltas_folded_in(files: CheckpointFiles) -> None:
    files.write(7, 1, checkpoint(10, a=1, b=(2, "x")))
    files.write(7, 1, checkpoint(20, 10, b=None))

    found = files.read(7)

    assert contents(found) == (20, {"a": 1, "b": None})
    assert found is not None
    assert [tick for tick, _ in found.buffers[2].entries] == [20]


def test_an_instance_without_checkpoints_has_none(files: CheckpointFiles) -> None:
    assert files.read(7) is None
    assert files.read(7, term=3) is None


def test_who_was_overtaken_writes_no_more(files: CheckpointFiles) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    assert contents(files.read(7, term=5)) == (10, {"a": 1})

    with pytest.raises(FencedError):
        files.write(7, 4, checkpoint(20, 10, a=2))
    files.write(7, 5, checkpoint(30, a=3))

    assert contents(files.read(7)) == (30, {"a": 3})


def test_the_newest_chain_counts_whatever_its_term(files: CheckpointFiles) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    files.write(7, 1, checkpoint(20, 10, a=2))
    files.write(7, 2, checkpoint(15, a=9))

    assert contents(files.read(7)) == (20, {"a": 2})


def test_a_delta_whose_base_is_missing_counts_for_nothing(files: CheckpointFiles, tmp_path: Path) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    files.write(7, 1, checkpoint(20, 10, a=2))
    files.write(7, 1, checkpoint(30, 20, a=3))
    (tmp_path / "checkpoints" / "7" / "1-20-10").unlink()

    assert contents(files.read(7)) == (10, {"a": 1})


def test_a_full_checkpoint_makes_those_before_it_superfluous(files: CheckpointFiles, tmp_path: Path) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    files.write(7, 1, checkpoint(20, 10, a=2))
    files.write(7, 1, checkpoint(20, a=2), compact=True)
    files.write(7, 1, checkpoint(30, 20, a=3))

    assert sorted(p.name for p in (tmp_path / "checkpoints" / "7").iterdir()) == ["1-20-full", "1-30-20"]
    assert contents(files.read(7)) == (30, {"a": 3})


def test_a_full_checkpoint_may_come_after_deltas_that_it_does_not_have_and_be_folded_yet(
    files: CheckpointFiles, tmp_path: Path
) -> None:
    """A holder folds while deltas go on coming."""
    files.write(7, 1, checkpoint(10, a=1, b=2))
    files.write(7, 1, checkpoint(20, 10, a=2))
    files.write(7, 1, checkpoint(30, 20, b=3))
    full = checkpoint(20)
    (base, delta) = (checkpoint(20, a=1, b=2).state, checkpoint(20, a=2).state)
    assert isinstance(base, StateTable)
    assert isinstance(delta, StateTable)
    files.write(7, 1, replace(full, state=Layers((base,), (delta,))), compact=True)

    assert sorted(p.name for p in (tmp_path / "checkpoints" / "7").iterdir()) == ["1-20-full", "1-30-20"]
    assert contents(files.read(7)) == (30, {"a": 2, "b": 3})


def test_what_nobody_needs_is_removed(files: CheckpointFiles) -> None:
    for instance in (1, 2, 3):
        files.write(instance, 1, checkpoint(10, a=instance))
    files.remove(2)

    assert [files.read(i) is None for i in (1, 2, 3)] == [False, True, False]
    assert files.size_bytes(3) > 0


def test_a_file_that_was_cut_short_is_damaged_and_said_to_be(files: CheckpointFiles, tmp_path: Path) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    path = tmp_path / "checkpoints" / "7" / "1-10-full"
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(UserError, match=r"1-10-full' is damaged"):
        files.read(7)


def test_a_file_of_another_release_is_refused_with_what_was_expected(files: CheckpointFiles, tmp_path: Path) -> None:
    files.write(7, 1, checkpoint(10, a=1))
    path = tmp_path / "checkpoints" / "7" / "1-10-full"
    path.write_bytes(path.read_bytes().replace(b"checkpoint 2\n", b"checkpoint 9\n", 1))

    with pytest.raises(UserError, match="begins with 'elastic checkpoint 9', not with 'elastic checkpoint 2'"):
        files.read(7)


def test_a_disk_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")

    with pytest.raises(SinkError, match=r"cannot write the checkpoint .*7/1-10-full"):
        CheckpointFiles(tmp_path / "checkpoints").write(7, 1, checkpoint(10, a=1))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SinkError("cannot write there"), r"cannot write there\Z"),
        (OSError(5, "Input/output error", "/job/7"), r"cannot be read: .*Input/output error: '/job/7'; see to that"),
        (OverflowError("too big"), r"a bug in elastic; please report it\nTraceback (.*\n)*.*in read\n(.*\n)*.*too big"),
    ],
)
def test_what_a_disk_thread_meets_is_told_and_what_nobody_foresaw_with_its_place(error: Exception, told: str) -> None:
    class Broken(CheckpointFiles):
        def read(self, instance: int, term: int | None = None) -> Checkpoint | None:
            raise error

    answers = queue.SimpleQueue[Any]()
    DiskThread(Broken(Path()), answers.put).do(Load(1, 7, 2))

    failed = answers.get(timeout=30)
    assert isinstance(failed, DiskFailed)
    assert failed.instance == 7
    assert re.search(told, failed.text)
