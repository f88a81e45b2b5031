"""A job's journal can be looked at while the job runs, after it, and where nothing can be written; nothing is."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic.errors import UserError
from elastic.server.journal import FACTS, VERSION, JournalFile, JournalReader

FOUND = {"epoch": 3}


def lies_in(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything there, but for SQLite's shared memory."""
    found = {path.name: path.stat() for path in directory.iterdir() if not path.name.endswith("-shm")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def read(path: Path) -> object:
    reader = JournalReader(path)
    found = reader.newest(FACTS)
    reader.close()
    return found


@pytest.fixture(params=["runs", "was stopped", "was killed", "was killed and copied without the index"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The journal of a job that ..."""
    path = tmp_path / "job" / "journal.sqlite"
    path.parent.mkdir()
    journal = JournalFile(path)
    journal.keep(FACTS, FOUND)
    if request.param == "runs":
        yield path
        journal.close()
        return
    if request.param == "was stopped":
        journal.close()
        yield path
        return
    copy = tmp_path / "copy"
    shutil.copytree(path.parent, copy)  # as SIGKILL leaves it
    journal.close()
    if request.param.endswith("index"):
        (copy / "journal.sqlite-shm").unlink()
    yield copy / path.name


def test_who_looks_at_a_journal_changes_nothing(path: Path) -> None:
    before = lies_in(path.parent)

    assert read(path) == FOUND

    assert lies_in(path.parent) == before


def unprivileged() -> None:
    """Root may write everywhere; the process that is about to begin may not."""
    if os.getuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        os._exit(77)


@pytest.mark.skipif(sys.platform != "linux", reason="takes a right away from itself, if it is root")
def test_a_journal_can_be_looked_at_in_a_directory_that_cannot_be_written(path: Path) -> None:
    for part in path.parent.iterdir():
        part.chmod(0o444)
    path.parent.chmod(0o555)
    script = (
        "import os; from pathlib import Path; from tests.unit.test_journal import read\n"
        f"path = Path({str(path)!r}); assert not os.access(path.parent, os.W_OK); print(read(path))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        preexec_fn=unprivileged,
        capture_output=True,
        text=True,
        check=False,
    )
    path.parent.chmod(0o755)
    for part in path.parent.iterdir():
        part.chmod(0o644)

    if done.returncode == 77:
        pytest.skip("runs as root, and may not take a right away from itself")
    assert (done.stdout, done.stderr) == (f"{FOUND}\n", "")


def test_a_journal_in_which_nothing_stands_yet_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch()

    assert read(tmp_path / "journal.sqlite") is None


def test_what_is_no_journal_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("no journal at all, but long enough to be taken for one" * 20)

    with pytest.raises(UserError, match=r"journal.sqlite' cannot be read as a journal: file is not a database"):
        read(tmp_path / "journal.sqlite")


def test_a_journal_of_another_release_is_refused_by_who_only_looks_too(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite")
    journal._connection.execute(f"PRAGMA user_version={VERSION + 1}")
    journal.close()

    with pytest.raises(UserError, match=f"of version {VERSION + 1}, this release reads {VERSION}"):
        read(tmp_path / "journal.sqlite")
