"""What a user sees when their own function raises: the operator, the record, and their own lines, not ours."""

from __future__ import annotations

import traceback
from typing import Any

from elastic.batch import Column, cut, rows
from elastic.errors import UserCodeError, UserError

_NOT_THE_USERS = (
    __file__.rpartition("operators")[0],
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
    return file.startswith(_NOT_THE_USERS)


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


def user_error(
    operator: str, tick: int | None, record: Any, error: BaseException, *, key: Any = _NO_KEY
) -> UserCodeError:
    """The error that tells a user that their code raised ``error`` on ``record``; raise it ``from error``."""
    shown = None if key is _NO_KEY else shortened(key)
    return UserCodeError(operator, tick, shortened(record), shown, user_trace(error))


def row_at(column: Column | None, at: int) -> Any:
    """One row of a column, found without converting the others where that is possible."""
    return None if column is None else rows(cut(column, at, at + 1))[0]
