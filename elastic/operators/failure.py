"""What a user sees when their own function raises: the operator, the record, and their own lines, not ours."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from traceback import walk_tb
from types import TracebackType
from typing import Any, Literal

from elastic.batch import Column, cut, rows
from elastic.connectors.base import Chunk, Malformed
from elastic.errors import ConnectorError, ElasticError, UserCodeError, UserError
from elastic.ours import is_ours
from elastic.plan import OnError
from elastic.report import FailedRecords, added

_NOT_THE_USERS = (
    traceback.__file__.replace("traceback.py", "importlib"),
    "<frozen ",
)
_MAX_CHARS = 200
_NO_KEY = object()


def shortened(value: Any) -> str:
    """``repr`` of a value in at most 200 characters, also of one whose ``repr`` raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 (a user's __repr__ may raise anything)
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 3]}..."


def is_ours_or_import(file: str) -> bool:
    """Whether code of this file is this package's, or Python's own that imports modules."""
    return is_ours(file) or file.startswith(_NOT_THE_USERS)


def user_trace(error: BaseException) -> str:
    """The traceback without frames of this package and of imports: the user's line comes before the exception."""
    summary = traceback.TracebackException.from_exception(error, compact=True)
    part: traceback.TracebackException | None = summary
    while part is not None:
        frames = [f for f in part.stack if not is_ours_or_import(f.filename)]
        part.stack = traceback.StackSummary.from_list(frames)
        part = part.__cause__ or part.__context__
    if not summary.stack and summary.__cause__ is None and summary.__context__ is None:
        return "".join(summary.format_exception_only())
    return "".join(summary.format())


ENDINGS = (SystemExit, KeyboardInterrupt)
"""What code raises to end its process; of a worker's process, that is not the user's code to decide."""


def ending_error(error: BaseException) -> UserError:
    """The error that tells a user that their code wanted to end the process; raise it ``from error``."""
    return UserError(f"code of yours ends the process; raise an exception, or return\n{user_trace(error).rstrip()}")


def bug(error: BaseException) -> str:
    """What tells of an error that is nobody's but ours: all of its traceback."""
    return f"a bug in elastic; please report it\n{''.join(traceback.format_exception(error))}"


def user_error(
    operator: str, tick: int | None, record: Any, error: BaseException, *, key: Any = _NO_KEY
) -> UserCodeError:
    """The error that tells a user that their code raised ``error`` on ``record``; raise it ``from error``."""
    shown = None if key is _NO_KEY else shortened(key)
    return UserCodeError(operator, tick, shortened(record), shown, user_trace(error))


def connector_error(error: Exception, connector: str) -> Exception:
    """What tells of an error that a source or sink met: the user's lines if it is one of theirs, else itself.

    Args:
        error: It is the user's if it has passed through their code, and says nothing that we would know.
        connector: Which, such as ``source 'table'``.
    """
    if isinstance(error, ElasticError) or not _has_users_frame(error):
        return error
    return ConnectorError(connector, user_trace(error))


def _has_users_frame(error: Exception) -> bool:
    return any(_whose(frame.f_code.co_filename) == "the user's" for frame, _ in walk_tb(error.__traceback__))


class RowError(UserCodeError):
    """User code raised on one row of several, or that row cannot be used; the cause is what was raised.

    Attributes:
        at: Place of the row among them. Those before it were taken in, it and those after it were not.
    """

    at: int = 0


def row_error(
    operator: str, tick: int | None, record: Any, error: BaseException, at: int, *, key: Any = _NO_KEY
) -> RowError:
    """The error that tells of the row at a place; raise it ``from error``."""
    shown = None if key is _NO_KEY else shortened(key)
    found = RowError(operator, tick, shortened(record), shown, user_trace(error))
    found.at = at
    return found


def failed_record(
    operator: str, tick: int | None, record: Any, error: BaseException, *, key: Any = None
) -> dict[str, Any]:
    """What is diverted in place of a record on which user code raised; the same at every replay.

    Returns:
        ``operator`` (or step), ``tick``, ``key`` (None where there is none yet), ``record`` as it was given, ``cause``
        (type and text of the exception) and ``line``, the user's own, as ``file:line``; None where none is to blame.
        ``place`` is None: only sources know it.
    """
    return {
        "operator": operator, "tick": tick, "key": key, "record": record,
        "cause": _cause(error), "line": _user_line(error), "place": None,
    }  # fmt: skip


def malformed_record(source: str, tick: int, malformed: Malformed) -> dict[str, Any]:
    """The same of a record that a source could not read: ``place`` says where in the input it stands."""
    return {
        "operator": source, "tick": tick, "key": None, "record": malformed.record,
        "cause": malformed.cause, "line": None, "place": malformed.place,
    }  # fmt: skip


_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
"""Where an object lies in memory, which another process would tell otherwise."""

_LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}, "<frozen ")


def _cause(error: BaseException) -> str:
    """Type and text of an exception, as Python itself shows them, but for addresses."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001 (a user's __str__ may raise anything)
        text = f"<str() raises {type(problem).__name__}>"
    return f"{name}: {_ADDRESS.sub('0x...', text)}" if text else name


@lru_cache(4096)
def _whose(file: str) -> Literal["ours", "a library's", "the user's"]:
    """Whose code a file holds."""
    if is_ours(file):
        return "ours"
    return "a library's" if file.startswith(_LIBRARIES) else "the user's"


def _user_line(error: BaseException) -> str | None:
    """The last line of the user's that the exception passed through; of a library's only if there is no other."""
    found: TracebackType | None = None
    trace = error.__traceback__
    while trace is not None:
        whose = _whose(trace.tb_frame.f_code.co_filename)
        if whose == "the user's" or (
            whose == "a library's" and (found is None or _whose(found.tb_frame.f_code.co_filename) == whose)
        ):
            found = trace
        trace = trace.tb_next
    if found is None:
        return None
    file = found.tb_frame.f_code.co_filename
    return f"{file.replace(chr(92), '/').rpartition('/')[2]}:{found.tb_lineno}"


class Failures:
    """Counts the records that an instance skips or diverts, by operator or step.

    Args:
        by_group: Tell those of different emitting groups apart, which in a source are its partitions.
    """

    def __init__(self, *, by_group: bool = False) -> None:
        self._by_group = by_group
        self._found: dict[int, tuple[FailedRecords, ...]] = {}

    def note(
        self, where: str, on_error: OnError, records: Sequence[dict[str, Any]], groups: Sequence[int] | None = None
    ) -> None:
        """Count records, given as ``failed_record`` tells of them, with the group that emitted each."""
        each = groups if groups is not None and self._by_group else [0] * len(records)
        last, counts = dict(zip(each, records, strict=True)), Counter(each)
        for group, record in last.items():
            where_at = record["line"] or record["place"]
            place = f" ({where_at})" if where_at else ""
            cause = " ".join(record["cause"].split())
            cause = cause if len(cause) <= _MAX_CHARS else f"{cause[: _MAX_CHARS - 3]}..."
            example = f"{cause}{place} on record {shortened(record['record'])}"
            skipped, diverted = (counts[group], 0) if on_error == "skip" else (0, counts[group])
            self.add([FailedRecords(where, skipped, diverted, example)], group)

    def note_malformed(self, source: str, tick: int, chunk: Chunk, group: int, *, divert: bool) -> list[dict[str, Any]]:
        """Count what a source left out of a chunk of the partition ``group``; gives what is diverted of it."""
        told = [malformed_record(source, tick, malformed) for malformed in chunk.malformed]
        if divert:
            self.note(source, "divert", told, [group] * len(told))
            return told
        if chunk.skipped:
            self.note(source, "skip", told[:1], [group])
            self.add([FailedRecords(source, chunk.skipped - len(told[:1]), 0, "")], group)
        return []

    def add(self, more: Iterable[FailedRecords], group: int = 0) -> None:
        """Count what was counted elsewhere."""
        self._found[group] = added((*self._found.get(group, ()), *more))

    def found(self) -> tuple[FailedRecords, ...]:
        """All counts, of all groups together."""
        return added(found for each in self._found.values() for found in each)

    def take(self) -> list[tuple[int, FailedRecords]]:
        """(group, count) of all, which then begin anew."""
        taken = [(group, found) for group, each in self._found.items() for found in each]
        self._found.clear()
        return taken


def row_at(column: Column | None, at: int) -> Any:
    """One row of a column, found without converting the others where that is possible."""
    return None if column is None else rows(cut(column, at, at + 1))[0]


def kind_of(value: object) -> str:
    """What a value is, in a sentence: ``a dict``, ``an int``, ``None``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
