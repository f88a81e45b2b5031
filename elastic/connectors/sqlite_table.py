"""A table in a SQLite file: how it is opened, locked, created and checked, and what its refusals mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elastic.errors import SinkError

_CACHE_KIB = 32 << 10  # keeps the index of a million short keys in memory


@dataclass(frozen=True)
class SqliteTable:
    """Which table, and how its rows replace each other.

    Attributes:
        upsert: Name of the key column, True for the first column, False to append.
        lock_timeout_s: How long to wait for others that write to the file.
    """

    path: Path
    name: str
    upsert: bool | str
    lock_timeout_s: float

    def connect(self) -> sqlite3.Connection:
        """A connection in write-ahead mode that syncs each commit, without implicit transactions.

        Raises:
            SinkError: The file cannot be opened, or is not a database.
        """
        try:
            db = sqlite3.connect(self.path, timeout=self.lock_timeout_s, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL").fetchone()  # readers and the writer do not wait for each other
                db.execute("PRAGMA synchronous = FULL")  # committed stays committed when the machine loses power
                db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            raise self._refused(error) from error
        return db

    @contextmanager
    def transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        """All of the block's changes are committed at its end, or none.

        Raises:
            SinkError: The database has refused, and why. Nothing was written.
        """
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._refused(error) from error
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def key(self, columns: Sequence[str]) -> str | None:
        """The column that identifies a row; None if rows are appended."""
        if isinstance(self.upsert, str):
            return self.upsert
        return columns[0] if self.upsert else None

    def columns(self, db: sqlite3.Connection) -> list[str]:
        """The table's columns, in its order; empty if it does not exist."""
        return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (self.name,))]

    def ensure(self, db: sqlite3.Connection, columns: Sequence[str]) -> None:
        """The table exists and takes rows of these columns.

        A new table's columns have no declared type: SQLite then keeps every value as it is, where a type would convert.

        Raises:
            SinkError: It exists with another shape.
        """
        key, found = self.key(columns), self.columns(db)
        if key and key not in columns:
            raise SinkError(f"sqlite(upsert={key!r}): the rows have the columns {', '.join(columns)}; name one of them")
        if not found:
            declared = ", ".join(quoted(c) + (" NOT NULL PRIMARY KEY" if c == key else "") for c in columns)
            db.execute(f"CREATE TABLE {quoted(self.name)} ({declared}){' WITHOUT ROWID' if key else ''}")
        elif set(found) != set(columns):
            raise SinkError(
                f"table {self.name!r} of {self.path} has the columns {', '.join(found)}, "
                f"expected {', '.join(columns)}; name another table, drop this one, or choose columns=[...] to match"
            )
        elif key and not self._is_unique(db, key):
            raise SinkError(
                f"table {self.name!r} of {self.path} may hold a {key} twice, so rows cannot replace each other; "
                f"make the column its primary key, name another table, or append with upsert=False"
            )

    def before(self, db: sqlite3.Connection) -> tuple[bool, int | None]:
        """Whether the table has no rows yet, and its last row id; None if its rows have none."""
        if not self.columns(db):
            return True, 0
        table = quoted(self.name)
        (empty,) = db.execute(f"SELECT NOT EXISTS (SELECT 1 FROM {table})").fetchone()  # noqa: S608 (quoted)
        try:
            (last,) = db.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()  # noqa: S608 (quoted)
        except sqlite3.OperationalError:
            last = None
        return bool(empty), last

    def insert(self, columns: Sequence[str]) -> str:
        """The statement that stores one row of these columns."""
        marks = ", ".join("?" * len(columns))
        names = ", ".join(map(quoted, columns))
        statement = f"INSERT INTO {quoted(self.name)} ({names}) VALUES ({marks})"  # noqa: S608 (quoted)
        if (key := self.key(columns)) is None:
            return statement
        changes = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in columns if c != key)
        return f"{statement} ON CONFLICT ({quoted(key)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"

    def _is_unique(self, db: sqlite3.Connection, column: str) -> bool:
        """Whether the primary key or a whole unique index consists of the column alone."""
        primary = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk", (self.name,)).fetchall()
        indexes = db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (self.name,))
        keys = [db.execute("SELECT name FROM pragma_index_info(?)", index).fetchall() for index in indexes.fetchall()]
        return [(column,)] in [primary, *keys]

    def _refused(self, error: sqlite3.Error) -> SinkError:
        """What the database said, in words that say what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says which of its kind
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            what = f"another process has kept it locked for {self.lock_timeout_s:g} s; end that one's transaction"
        elif code == sqlite3.SQLITE_CANTOPEN:
            what = f"it cannot be opened; is {self.path.parent} a directory that may be written?"
        elif code == sqlite3.SQLITE_NOTADB:
            what = "it is not a SQLite database; name another file"
        elif code == sqlite3.SQLITE_FULL:
            what = "no space is left on its disk; what was committed before is kept"
        else:
            what = f"{error}"
        return SinkError(f"{self.path}, table {self.name!r}: {what}")


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
