"""What another release has written is refused in words, before anything is done with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from elastic.connectors.base import LogEntry
from elastic.connectors.fenced_file import VERSION as LOG_VERSION
from elastic.connectors.input_log import InputLog
from elastic.errors import SinkError, UserError
from elastic.server.journal import VERSION, JournalFile
from elastic.worker.checkpoint_files import FORMAT, CheckpointFiles


def test_a_journal_of_another_release_names_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    JournalFile(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()

    with pytest.raises(
        UserError, match=rf"of version {VERSION + 1}, this release reads {VERSION}: resume the job with"
    ):
        JournalFile(path)


def test_an_input_log_of_another_release_names_both_versions(tmp_path: Path) -> None:
    log = InputLog(tmp_path, 1)
    log.append(LogEntry(1, 0, 8, 1, 8, 0.0))
    log.close()
    (path,) = tmp_path.glob("*.log")
    written = bytearray(path.read_bytes())
    written[3] = LOG_VERSION + 1
    path.write_bytes(written)

    with pytest.raises(SinkError, match=f"has format {LOG_VERSION + 1}, this release reads {LOG_VERSION}: use the one"):
        InputLog(tmp_path, 2)


def test_a_checkpoint_of_another_release_says_what_it_is_and_what_to_do(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path)
    folder = tmp_path / "7"
    folder.mkdir(parents=True)
    (folder / "1-30-full").write_bytes(FORMAT.replace(b"2", b"3") + b"whatever it is")

    with pytest.raises(UserError, match="begins with 'elastic checkpoint 3', not with 'elastic checkpoint 2'; resume"):
        files.read(7, 2)
