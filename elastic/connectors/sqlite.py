"""A SQLite table as a sink: the rows of a commit and its tick are written in one transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic.batch import INT64, Batch, Column
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import Claim, advanced, committed, opened, progress_ticks
from elastic.connectors.shapes import Fields, fields, shortened
from elastic.errors import SinkError
from elastic.keys import KeyInterval

_RECORDS = """
CREATE TABLE IF NOT EXISTS _elastic_commits (
    run_id TEXT NOT NULL, operator TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    generation INTEGER NOT NULL, tick INTEGER NOT NULL, PRIMARY KEY (run_id, operator, low));
CREATE TABLE IF NOT EXISTS _elastic_runs (
    run_id TEXT NOT NULL, operator TEXT NOT NULL, was_empty INTEGER NOT NULL, last_rowid INTEGER,
    PRIMARY KEY (run_id, operator));
"""
_CACHE_KIB = 32 << 10  # keeps the index of a million short keys in memory
_PLAIN = (int, float, str, bytes, type(None))  # bool is an int


@dataclass(frozen=True)
class SqliteSink(Sink):
    """Rows go into one table; see ``elastic.sinks.sqlite``.

    Attributes:
        upsert: Name of the key column, True for the first column, False to append.
        lock_timeout_s: How long to wait for others that write to the file.
    """

    path: Path
    table: str
    columns: tuple[str, ...] | None = None
    upsert: bool | str = False
    lock_timeout_s: float = 30.0
    name = "sqlite"
    parallel = False  # a SQLite file has one writer at a time

    def prepare(self, context: SinkContext) -> None:
        with closing(self.connect()) as db, self.transaction(db):
            for statement in _RECORDS.split(";"):
                db.execute(statement)
            if self.columns:
                self.ensure_table(db, self.columns)
            was_empty, last_rowid = self._before(db)
            db.execute(
                "INSERT OR IGNORE INTO _elastic_runs VALUES (?, ?, ?, ?)",
                (context.run_id, context.operator, was_empty, last_rowid),
            )

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return SqliteWriter(self, context, interval, generation)

    def finish(self, context: SinkContext) -> None:
        self.connect().close()  # the last to close folds the write-ahead log into the file and removes it

    def contents(self, context: SinkContext) -> Any:
        with closing(self.connect()) as db:
            names = self.shape(db)
            if not names:
                return self.expected([])
            was_empty, last_rowid = db.execute(
                "SELECT was_empty, last_rowid FROM _elastic_runs WHERE run_id = ? AND operator = ?",
                (context.run_id, context.operator),
            ).fetchone()
            select = f"SELECT {', '.join(map(quoted, sorted(names)))} FROM {quoted(self.table)}"  # noqa: S608 (quoted)
            if self.upsert:
                at = sorted(names).index(self.key(names))
                return Upserted({row[at]: row for row in db.execute(select)}, complete=bool(was_empty))
            if last_rowid is None:
                return None
            return Counter(db.execute(f"{select} WHERE rowid > ?", (last_rowid,)))

    def expected(self, batches: Sequence[Batch]) -> Any:
        names, latest, every = self.columns, dict[Any, tuple[Any, ...]](), Counter[tuple[Any, ...]]()
        for batch in batches:
            assert batch.values is not None, "a sink's input carries its rows"
            part = fields(batch.values, names)
            names = part.names
            columns = dict(zip(names, part.columns, strict=True))
            stored = [tuple(map(_stored, row)) for row in zip(*(columns[n] for n in sorted(names)), strict=True)]
            if self.upsert:
                latest.update(zip(columns[self.key(names)], stored, strict=True))
            else:
                every.update(stored)
        return Upserted(latest, complete=True) if self.upsert else every

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        if not self.upsert:
            return (expected - contents).total(), (contents - expected).total()
        lost = sum(contents.rows.get(key) != row for key, row in expected.rows.items())
        duplicated = sum(
            expected.rows[key] != row if key in expected.rows else contents.complete
            for key, row in contents.rows.items()
        )
        return lost, duplicated

    def key(self, names: Sequence[str]) -> str:
        """The column that rows are replaced by."""
        return self.upsert if isinstance(self.upsert, str) else names[0]

    def connect(self) -> sqlite3.Connection:
        """A connection in write-ahead mode that syncs each commit.

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

    def shape(self, db: sqlite3.Connection) -> list[str]:
        """The table's columns; empty if it does not exist."""
        return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (self.table,))]

    def ensure_table(self, db: sqlite3.Connection, names: Sequence[str]) -> None:
        """The table exists and takes rows of these columns.

        A new table's columns have no declared type: SQLite then keeps every value as it is, where a type would convert.

        Raises:
            SinkError: It exists with another shape.
        """
        table = quoted(self.table)
        if self.upsert and self.key(names) not in names:
            raise SinkError(f"upsert={self.upsert!r} names none of the columns {', '.join(names)}")
        found = self.shape(db)
        if not found:
            key = self.key(names) if self.upsert else None
            columns = ", ".join(quoted(n) + (" NOT NULL PRIMARY KEY" if n == key else "") for n in names)
            db.execute(f"CREATE TABLE {table} ({columns}){' WITHOUT ROWID' if self.upsert else ''}")
        elif set(found) != set(names):
            raise SinkError(
                f"table {self.table!r} of {self.path} has the columns {', '.join(found)}, expected {', '.join(names)}; "
                f"name another table, drop this one, or choose columns=[...] to match"
            )
        elif self.upsert and not self._is_unique(db, self.key(names)):
            raise SinkError(
                f"table {self.table!r} of {self.path} may hold a {self.key(names)} twice, so rows cannot replace it; "
                f"make the column its primary key, name another table, or append with upsert=False"
            )

    def _is_unique(self, db: sqlite3.Connection, column: str) -> bool:
        """Whether the primary key or a whole unique index consists of the column alone."""
        primary = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk", (self.table,)).fetchall()
        indexes = db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (self.table,))
        keys = [db.execute("SELECT name FROM pragma_index_info(?)", index).fetchall() for index in indexes.fetchall()]
        return [(column,)] in [primary, *keys]

    def _before(self, db: sqlite3.Connection) -> tuple[bool, int | None]:
        """Whether the table has no rows yet, and its last row id; None if its rows have none."""
        if not self.shape(db):
            return True, 0
        table = quoted(self.table)
        (empty,) = db.execute(f"SELECT NOT EXISTS (SELECT 1 FROM {table})").fetchone()  # noqa: S608 (quoted)
        try:
            (last,) = db.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()  # noqa: S608 (quoted)
        except sqlite3.OperationalError:
            last = None
        return bool(empty), last

    def _refused(self, error: sqlite3.Error) -> SinkError:
        """What the database said, in words that say what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
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
        return SinkError(f"{self.path}, table {self.table!r}: {what}")


@dataclass(frozen=True, slots=True)
class Upserted:
    """Rows by key. Not complete: the table had rows before the run, so keys that were not expected may be theirs."""

    rows: Mapping[Any, tuple[Any, ...]]
    complete: bool


class SqliteWriter(Writer):
    """An open table. Short transactions: rows are converted before one begins."""

    def __init__(self, sink: SqliteSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._interval, self._generation = sink, interval, generation
        self._identity = (context.run_id, context.operator)
        self._names: tuple[str, ...] | None = None
        self._statement = ""
        self._db = sink.connect()
        try:
            with sink.transaction(self._db):
                claims = opened(self._claims(), interval, generation)
                self._record(claims)
        except BaseException:
            self._db.close()
            raise
        self._committed = committed(claims, interval)
        self._through = min(tick for _, tick in self._committed)
        self._progress_ticks = progress_ticks(context.tick_ms)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._committed

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        columns = [batch.values for _, batch in ticks if batch.values is not None and len(batch)]
        if not columns and through < self._through + self._progress_ticks and not final:
            return self._through
        parts = self._parts(columns)
        with self._sink.transaction(self._db):
            claims = advanced(self._claims(), self._interval, self._generation, through)
            if parts:
                self._write(parts)
            self._record(claims)
        self._committed, self._through = committed(claims, self._interval), through
        return through

    def close(self) -> None:
        self._db.close()

    def _parts(self, columns: Sequence[Column]) -> list[Fields]:
        parts, names = list[Fields](), self._names or self._sink.columns
        for column in columns:
            parts.append(fields(column, names))
            names = parts[-1].names
            self._refuse_types(parts[-1])
        return parts

    def _write(self, parts: Sequence[Fields]) -> None:
        names = parts[0].names
        if self._names is None:
            self._sink.ensure_table(self._db, names)
            self._statement = self._insert(names)
        rows = [row for part in parts for row in zip(*part.columns, strict=True)]
        if self._sink.upsert:  # of several rows for one key only the last can stay
            at = names.index(self._sink.key(names))
            rows = list({row[at]: row for row in rows}.values())
        try:
            self._db.executemany(self._statement, rows)
        except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError) as error:
            for part in parts:
                self._refuse_values(part)
            if isinstance(error, sqlite3.Error):
                raise
            raise SinkError(f"{self._sink.path}, table {self._sink.table!r}: {error}") from error
        self._names = names

    def _insert(self, names: Sequence[str]) -> str:
        marks = ", ".join("?" * len(names))
        insert = f"INSERT INTO {quoted(self._sink.table)} ({', '.join(map(quoted, names))}) VALUES ({marks})"  # noqa: S608
        if not self._sink.upsert:
            return insert
        key = self._sink.key(names)
        changes = ", ".join(f"{quoted(n)} = excluded.{quoted(n)}" for n in names if n != key)
        return f"{insert} ON CONFLICT ({quoted(key)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"

    def _refuse_types(self, part: Fields) -> None:
        for name, column in zip(part.names, part.columns, strict=True):
            if any(not issubclass(t, _PLAIN) for t in set(map(type, column))):
                at = next(i for i, value in enumerate(column) if not isinstance(value, _PLAIN))
                self._refuse(part, at, name, f"a {type(column[at]).__name__}", "with .map(...)")

    def _refuse_values(self, part: Fields) -> None:
        """Find the value that SQLite has refused; does nothing if it was something else."""
        key = self._sink.key(part.names) if self._sink.upsert else None
        for name, column in zip(part.names, part.columns, strict=True):
            for at, value in enumerate(column):
                if isinstance(value, int) and value not in INT64:
                    self._refuse(part, at, name, "an integer of more than 64 bits", "with .map(...), for instance str")
                if isinstance(value, str) and not _is_text(value):
                    self._refuse(part, at, name, "text that is not Unicode (a lone surrogate)", "with .map(...)")
                if name == key and _stored(value) is None:
                    self._refuse(part, at, name, f"{value}, which cannot be a key", "or leave it out with .filter(...)")

    def _refuse(self, part: Fields, at: int, name: str, held: str, advice: str) -> None:
        row = tuple(column[at] for column in part.columns)
        raise SinkError(
            f"the row {shortened(row)} cannot be stored in table {self._sink.table!r} of {self._sink.path}: "
            f"column {name!r} holds {held}; SQLite holds None, bool, int (64 bits), float, str and bytes: "
            f"turn it into one of these {advice}"
        )

    def _claims(self) -> list[Claim]:
        select = "SELECT low, high, generation, tick FROM _elastic_commits WHERE run_id = ? AND operator = ?"
        return [
            Claim(KeyInterval(low, high), g, tick) for low, high, g, tick in self._db.execute(select, self._identity)
        ]

    def _record(self, claims: Sequence[Claim]) -> None:
        self._db.execute("DELETE FROM _elastic_commits WHERE run_id = ? AND operator = ?", self._identity)
        self._db.executemany(
            "INSERT INTO _elastic_commits VALUES (?, ?, ?, ?, ?, ?)",
            [(*self._identity, *c.interval, c.generation, c.tick) for c in claims],
        )


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _stored(value: Any) -> Any:
    """What SQLite gives back for a value: NaN is kept as NULL."""
    return None if value != value else value  # noqa: PLR0124 (what NaN is)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
