"""The journal: every decision of the coordinator, on disk before it acts."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from elastic.coordinator.events import Journal

VERSION = 1


class JournalFile:
    """Decisions in a SQLite file of the job directory, oldest first."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, at_s REAL, kind TEXT, body TEXT);"
            f"PRAGMA user_version={VERSION};"
        )

    def write(self, entry: Journal, at_s: float) -> None:
        """The entry survives the process when this returns."""
        self._connection.execute(
            "INSERT INTO journal (at_s, kind, body) VALUES (?, ?, ?)", (at_s, entry.kind, json.dumps(entry.body))
        )

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
