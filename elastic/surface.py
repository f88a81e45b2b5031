"""Where users call in: a mistake of theirs leaves with their own line above it, not with what lies below.

Python shows every frame that an error has passed. Those of this system say nothing about a query that is wrong or a job
that failed, and push the user's line out of sight. All but one can be taken away: the one in which the error is raised
again, since nothing that is written in Python is without a frame.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from elastic.errors import UserError
from elastic.ours import is_ours

Told = TypeVar("Told")

_WITH_DOUBLE_UNDERSCORES = frozenset({"__init__", "__getattr__"})


def surface(told: Told) -> Told:
    """A function, or a class with all of its public methods, that users call: see above.

    Errors that are not a user's mistake keep every frame.
    """
    if not inspect.isclass(told):
        return _at_surface(told)  # type: ignore[return-value, arg-type]
    for name, value in list(vars(told).items()):
        if inspect.isfunction(value) and (not name.startswith("_") or name in _WITH_DOUBLE_UNDERSCORES):
            setattr(told, name, _at_surface(value))
    return told


def _at_surface(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (UserError, KeyboardInterrupt, TypeError) as error:
            if isinstance(error, TypeError) and not _of_the_call(error):
                raise
            what_went_wrong = error.with_traceback(_of_the_user(error.__traceback__))
            raise what_went_wrong from None

    return called


def _of_the_call(error: TypeError) -> bool:
    """Whether the function was never begun: it takes other arguments."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _of_the_user(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is in the user's own code, which ours may have called."""
    if trace is None:
        return None
    rest = _of_the_user(trace.tb_next)
    if is_ours(trace.tb_frame.f_code.co_filename):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
