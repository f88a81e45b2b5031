"""A SQLite table as a sink: the rows of a commit and its tick are written in one transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from elastic.batch import INT64, Batch, Column
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import Claim, advanced, committed, opened, progress_ticks
from elastic.connectors.shapes import Fields, fields, shortened
from elastic.connectors.sqlite_table import SqliteTable, quoted
from elastic.errors import SinkError
from elastic.keys import KeyInterval

_RECORDS = (
    """CREATE TABLE IF NOT EXISTS _elastic_commits (
        run_id TEXT NOT NULL, operator TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
        generation INTEGER NOT NULL, tick INTEGER NOT NULL, PRIMARY KEY (run_id, operator, low))""",
    """CREATE TABLE IF NOT EXISTS _elastic_runs (
        run_id TEXT NOT NULL, operator TEXT NOT NULL, was_empty INTEGER NOT NULL, last_rowid INTEGER,
        PRIMARY KEY (run_id, operator))""",
)
_PLAIN = (int, float, str, bytes, type(None))  # bool is an int


@dataclass(frozen=True)
class SqliteSink(Sink):
    """Rows go into one table; see ``elastic.sinks.sqlite``."""

    table: SqliteTable
    columns: tuple[str, ...] | None = None
    name = "sqlite"
    parallel = False  # a SQLite file has one writer at a time
    checks = True
    locks = True

    def check(self, column: Column) -> None:
        part = fields(column, self.columns)
        self.refuse_types(part)
        self.refuse_values(part)

    def prepare(self, context: SinkContext) -> None:
        with closing(self.table.connect()) as db, self.table.transaction(db):
            for statement in _RECORDS:
                db.execute(statement)
            if self.columns:
                self.table.ensure(db, self.columns)
            db.execute(
                "INSERT OR IGNORE INTO _elastic_runs VALUES (?, ?, ?, ?)",
                (context.run_id, context.operator, *self.table.before(db)),
            )

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return SqliteWriter(self, context, interval, generation)

    def finish(self, context: SinkContext) -> None:
        self.table.connect().close()  # the last to close folds the write-ahead log into the file and removes it

    def contents(self, context: SinkContext) -> Any:
        with closing(self.table.connect()) as db:
            columns = self.table.columns(db)
            if not columns:
                return self.expected([])
            was_empty, last_rowid = db.execute(
                "SELECT was_empty, last_rowid FROM _elastic_runs WHERE run_id = ? AND operator = ?",
                (context.run_id, context.operator),
            ).fetchone()
            names = ", ".join(map(quoted, sorted(columns)))
            select = f"SELECT {names} FROM {quoted(self.table.name)}"  # noqa: S608 (quoted)
            if self.table.upsert:
                return Upserted(db.execute(select).fetchall(), complete=bool(was_empty))
            if last_rowid is None:
                return None
            return Counter(db.execute(f"{select} WHERE rowid > ?", (last_rowid,)))

    def expected(self, batches: Sequence[Batch]) -> Any:
        names, key_at, stored = self.columns, 0, list[tuple[Any, ...]]()
        for batch in batches:
            assert batch.values is not None, "a sink's input carries its rows"
            part = fields(batch.values, names)
            names = part.names
            by_name = dict(zip(names, part.columns, strict=True))
            stored += [tuple(map(_stored, row)) for row in zip(*(by_name[n] for n in sorted(names)), strict=True)]
        if not self.table.upsert:
            return Counter(stored)
        if names and (key := self.table.key(names)):
            key_at = sorted(names).index(key)
        return Upserted(list({row[key_at]: row for row in stored}.values()), key_at=key_at)

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        if not self.table.upsert:
            return (expected - contents).total(), (contents - expected).total()
        wanted, found = ({row[expected.key_at]: row for row in side.rows} for side in (expected, contents))
        lost = sum(found.get(key) != row for key, row in wanted.items())
        duplicated = sum(wanted[key] != row if key in wanted else contents.complete for key, row in found.items())
        return lost, duplicated

    def refuse_types(self, part: Fields) -> None:
        """Return if SQLite has a type for every value.

        Raises:
            SinkError: It has none for one.
        """
        for name, column in zip(part.names, part.columns, strict=True):
            if any(not issubclass(t, _PLAIN) for t in set(map(type, column))):
                at = next(i for i, value in enumerate(column) if not isinstance(value, _PLAIN))
                raise self._unfit(part, at, name, f"a {type(column[at]).__name__}", "with .map(...)")

    def refuse_values(self, part: Fields) -> None:
        """Return if SQLite can hold every value; constraints of the user's are not looked at.

        Raises:
            SinkError: It cannot hold one.
        """
        key = self.table.key(part.names)
        for name, column in zip(part.names, part.columns, strict=True):
            for at, value in enumerate(column):
                if isinstance(value, int) and value not in INT64:
                    raise self._unfit(part, at, name, "an integer of more than 64 bits", "with .map(...)")
                if isinstance(value, str) and not _is_text(value):
                    raise self._unfit(part, at, name, "text that is not Unicode (a lone surrogate)", "with .map(...)")
                if name == key and _stored(value) is None:
                    raise self._unfit(
                        part, at, name, f"{value}, which cannot be a key", "or leave it out, .filter(...)"
                    )

    def _unfit(self, part: Fields, at: int, name: str, held: str, advice: str) -> SinkError:
        row = tuple(column[at] for column in part.columns)
        return SinkError(
            f"the row {shortened(row)} cannot be stored in table {self.table.name!r} of {self.table.path}: "
            f"column {name!r} holds {held}; SQLite holds None, bool, int (64 bits), float, str and bytes: "
            f"turn it into one of these {advice}"
        )


@dataclass(frozen=True, slots=True)
class Upserted:
    """Rows, one for each key, their fields in order of column name.

    Attributes:
        key_at: Which field is the key, as far as it is known.
        complete: False if the table had rows before the run: keys that are not expected may then be theirs.
    """

    rows: list[tuple[Any, ...]]
    key_at: int = 0
    complete: bool = True


class SqliteWriter(Writer):
    """An open table. Transactions are short: rows are converted before one begins."""

    def __init__(self, sink: SqliteSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._table, self._names = sink, sink.table, sink.columns
        self._interval, self._generation = interval, generation
        self._identity = (context.run_id, context.operator)
        self._insert: str | None = None
        self._progress_ticks = progress_ticks(context.tick_ms)
        self._db = self._table.connect()
        try:
            with self._table.transaction(self._db):
                claims = opened(self._claims(), interval, generation)
                self._record(claims)
        except BaseException:
            self._db.close()
            raise
        self._committed = committed(claims, interval)
        self._through = min(tick for _, tick in self._committed)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._committed

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if not ticks and through < self._through + self._progress_ticks and not final:
            return self._through
        parts = self._parts([batch for _, batch in ticks if len(batch)])
        with self._table.transaction(self._db):
            claims = advanced(self._claims(), self._interval, self._generation, through)
            if parts:
                self._write(parts)
            self._record(claims)
        self._committed, self._through = committed(claims, self._interval), through
        return through

    def close(self) -> None:
        self._db.close()

    def _parts(self, batches: Sequence[Batch]) -> list[Fields]:
        parts, names = list[Fields](), self._names
        for batch in batches:
            assert batch.values is not None, "a sink's input carries its rows"
            parts.append(fields(batch.values, names))
            names = parts[-1].names
            self._sink.refuse_types(parts[-1])
        return parts

    def _write(self, parts: Sequence[Fields]) -> None:
        names = parts[0].names
        if self._insert is None:
            self._table.ensure(self._db, names)
            self._insert = self._table.insert(names)
        rows = [row for part in parts for row in zip(*part.columns, strict=True)]
        if key := self._table.key(names):  # of several rows for one key only the last can stay
            at = names.index(key)
            rows = list({row[at]: row for row in rows}.values())
        try:
            self._db.executemany(self._insert, rows)
        except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError):
            for part in parts:
                self._sink.refuse_values(part)
            raise
        self._names = names

    def _claims(self) -> list[Claim]:
        select = "SELECT low, high, generation, tick FROM _elastic_commits WHERE run_id = ? AND operator = ?"
        found = self._db.execute(select, self._identity)
        return [Claim(KeyInterval(low, high), generation, tick) for low, high, generation, tick in found]

    def _record(self, claims: Sequence[Claim]) -> None:
        self._db.execute("DELETE FROM _elastic_commits WHERE run_id = ? AND operator = ?", self._identity)
        self._db.executemany(
            "INSERT INTO _elastic_commits VALUES (?, ?, ?, ?, ?, ?)",
            [(*self._identity, *c.interval, c.generation, c.tick) for c in claims],
        )


def _stored(value: Any) -> Any:
    """What SQLite gives back for a value: NaN is kept as NULL."""
    return None if value != value else value  # noqa: PLR0124 (what NaN is)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
