"""The journal: every decision of the coordinator, on disk before it acts; and what another one needs to go on.

Decisions and events are kept in order, for who wants to know what happened. What the next incarnation needs is kept
once, in its newest form: the coordinator's facts, the figures so far, and a few things about the job.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elastic.coordinator.events import Journal
from elastic.errors import UserError
from elastic.report import JobEvent

VERSION = 2
JOURNAL = "journal.sqlite"
"""Its name in the job directory."""

FACTS, FIGURES, CLOCK, ENDED, HEARD = "facts", "figures", "clock", "ended", "heard"
"""Names under which is kept what another coordinator, or another run, needs."""


class JournalError(UserError):
    """What was decided cannot be written down any more, and so cannot be done either."""


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
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                self._connection.close()
                raise UserError(
                    f"{str(path)!r} is a journal of version {version}, this release reads {VERSION}: "
                    "resume the job with the release that wrote it, or run it anew"
                )
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
        found = self._connection.execute("SELECT value FROM newest WHERE name = ?", (name,)).fetchone()
        if found is None or isinstance(found[0], bytes):
            return None if found is None else found[0]
        return json.loads(found[0])

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
