"""The journal: every decision of the coordinator, on disk before it acts; and what another one needs to go on.

Decisions and events are kept in order, for who wants to know what happened. What the next incarnation needs is kept
once, in its newest form: the coordinator's facts, the figures so far, and a few things about the job.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elastic.coordinator.events import Journal
from elastic.errors import UserError
from elastic.report import JobEvent

VERSION = 3
JOURNAL = "journal.sqlite"
"""Its name in the job directory."""

FACTS, FIGURES, CLOCK, ENDED, HEARD = "facts", "figures", "clock", "ended", "heard"
"""Names under which is kept what another coordinator, or another run, needs."""


class JournalError(UserError):
    """What was decided cannot be written down any more, and so cannot be done either."""


class JournalReader:
    """The journal of a job that runs, or is over, for who only looks: nothing in the job directory is written.

    Args:
        path: Must be there.

    Raises:
        UserError: It was written by another release, or is no journal.
    """

    def __init__(self, path: Path) -> None:
        with ExitStack() as closed:
            try:
                self._connection = closed.enter_context(closing(_opened_for_reading(path)))
                self._empty = _version(self._connection, path) == 0
            except (sqlite3.Error, OSError) as error:
                raise UserError(f"{str(path)!r} cannot be read as a journal: {error}") from None
            closed.pop_all()  # it is of use

    def newest(self, name: str) -> Any:
        """What was kept last under a name; None if nothing was."""
        return None if self._empty else _newest(self._connection, name)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()


class JournalFile:
    """A SQLite file of the job directory; whatever writes raises ``JournalError`` if the disk refuses.

    Args:
        path: Made if it is not there.
        sync: Have every entry past all caches, so that it survives a loss of power.

    Raises:
        UserError: It was written by another release, or is no journal.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise self._refused(error) from None
        try:
            _version(self._connection, path)
            self._connection.executescript(
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous={'FULL' if sync else 'NORMAL'};"
                "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, at_s REAL, kind TEXT, body TEXT);"
                "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, body TEXT);"
                "CREATE TABLE IF NOT EXISTS newest (name TEXT PRIMARY KEY, value BLOB);"
                f"PRAGMA user_version={VERSION};"
            )
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise self._refused(error) from None
        except UserError:
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise UserError(f"{str(path)!r} cannot be used as a journal: {error}") from None

    def write(self, entry: Journal, at_s: float) -> None:
        """The entry survives the process when this returns."""
        self._write(
            "INSERT INTO journal (at_s, kind, body) VALUES (?, ?, ?)", (at_s, entry.kind, json.dumps(entry.body))
        )

    def record(self, event: JobEvent) -> None:
        """The event survives the process when this returns."""
        self._write("INSERT INTO events (body) VALUES (?)", (json.dumps(asdict(event)),))

    def events(self) -> list[JobEvent]:
        """All events so far."""
        found = self._connection.execute("SELECT body FROM events ORDER BY id")
        return [JobEvent(**json.loads(body)) for (body,) in found]

    def keep(self, name: str, value: Any) -> None:
        """The newest value of something; what JSON can express, or bytes."""
        stored = value if isinstance(value, bytes) else json.dumps(value)
        self._write("INSERT OR REPLACE INTO newest VALUES (?, ?)", (name, stored))

    def newest(self, name: str) -> Any:
        """What was kept last under a name; None if nothing was."""
        return _newest(self._connection, name)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"cannot write the journal {str(self._path)!r}: {error}; see to that and resume the job")

    def close(self) -> None:
        """Release the file."""
        self._connection.close()


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Which version of this file's form it is; 0 if nothing was written yet.

    Raises:
        UserError: Another release's.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, VERSION):
        raise UserError(
            f"{str(path)!r} is a journal of version {version}, this release reads {VERSION}: "
            "resume the job with the release that wrote it, or run it anew"
        )
    return version


def _newest(connection: sqlite3.Connection, name: str) -> Any:
    found = connection.execute("SELECT value FROM newest WHERE name = ?", (name,)).fetchone()
    if found is None or isinstance(found[0], bytes):
        return None if found is None else found[0]
    return json.loads(found[0])


def _opened_for_reading(path: Path) -> sqlite3.Connection:
    """Beside the file lie SQLite's log and its index, if the job runs or was killed; else it was closed, and is whole.

    Without the index, SQLite would make one. So it is made elsewhere, of a copy: the job does not run then.
    """
    log, index = (path.with_name(f"{path.name}-{part}") for part in ("wal", "shm"))
    if not log.exists():
        return _read_only(path, "immutable=1")
    if index.exists():
        return _read_only(path, "mode=ro")
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory() as folder:
        for part in (path, log):
            shutil.copy(part, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as found:
            found.backup(copy)
    return copy


def _read_only(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
