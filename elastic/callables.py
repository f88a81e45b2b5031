"""Functions as their writer sees them: what each is called, where the query names it, and whether it can be shipped."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cloudpickle

from elastic.errors import QueryError
from elastic.functions import ColumnFunction
from elastic.operators.timestamps import Timestamps

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 (compared with code objects' names)
_QUERY_FILES = {
    _PACKAGE + name
    for name in ("query.py", "graph.py", "arguments.py", "callables.py", "surface.py", f"connectors{os.sep}sinks.py")
}
_QUERY_FOLDERS = (f"{_PACKAGE}streams{os.sep}", f"{_PACKAGE}nodes{os.sep}")

_TRUSTED = frozenset({"builtins", "operator", "_operator"})


def add_query_room(file: str) -> None:
    """The code in a file builds jobs for users: their line is outside of it. For models with an API of their own."""
    _QUERY_FILES.add(os.path.abspath(file))  # noqa: PTH100 (compared with code objects' names)


def caller() -> str:
    """``file.py:12`` of the innermost frame outside of the query's own code: the user's line."""
    frame = _users_frame()
    return place(frame.f_code.co_filename, frame.f_lineno)


def _users_frame() -> types.FrameType:
    """The innermost frame outside of the query's own code."""
    frame = sys._getframe(1)  # noqa: SLF001 (inspect.stack reads every source file on the way)
    while frame.f_back is not None and _builds_queries(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _builds_queries(file: str) -> bool:
    return file in _QUERY_FILES or file.startswith(_QUERY_FOLDERS)


def refuse_while_imported(call: str) -> None:
    """Return unless the user's line is run by the import of its file, as it would be in every worker.

    Raises:
        QueryError: It is.
    """
    frame = _users_frame()
    file, line = frame.f_code.co_filename, frame.f_lineno
    while frame.f_back is not None and frame.f_code.co_name != "<module>" and frame.f_back.f_code.co_filename == file:
        frame = frame.f_back
    if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
        raise QueryError(
            f"{place(file, line)}: {call}() runs whenever this file is imported, which every process of the job does; "
            f'write it below `if __name__ == "__main__":`'
        )


def place(file: str, line: int) -> str:
    """A file and line as one writes it: relative where the file lies below the working directory."""
    here = os.getcwd() + os.sep  # noqa: PTH109
    return f"{file.removeprefix(here)}:{line}"


def describe(function: Any) -> str:
    """What a user would call a function: ``split()``, ``parse``, ``lambda at job.py:12``, ``partial(parse)``."""
    if isinstance(function, functools.partial):
        return f"partial({describe(function.func)})"
    code = getattr(function, "__code__", None)
    if code is not None and function.__name__ == "<lambda>":
        return f"lambda at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"  # noqa: PTH119
    if isinstance(function, types.MethodType):
        return f"{type(function.__self__).__name__}.{function.__name__}"
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else shortened(function)


def shortened(value: Any, limit: int = 60) -> str:
    """``repr`` of a value, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def check_function(
    call: str, function: Any, *, called: str = "one row", arguments: int = 1, one_row: bool = True
) -> None:
    """Refuse, in the user's words, what cannot serve as the function of a step.

    Args:
        call: How the step is named in the error, such as ``map``.
        function: Whatever the user gave.
        called: With what it will be called, in words.
        arguments: With how many positional arguments that is.
        one_row: It must return one value: a generator function is a slip there.

    Raises:
        QueryError: Not callable, called with other arguments, a generator or coroutine function, or not to be shipped.
    """
    if not callable(function):
        hint = ""
        if isinstance(function, str) and called == "one row":
            hint = f"; for the field of that name write field({function!r}), of elastic.functions"
        given = f"{shortened(function)} ({type(function).__name__})"
        raise QueryError(f"{caller()}: {call}() takes a function, not {given}{hint}")
    name = describe(function)
    if inspect.isfunction(function) and function.__module__ == ColumnFunction.__module__:
        raise QueryError(
            f"{caller()}: {call}({name}) gives the maker of a function, not the function; write {call}({name}(…))"
        )
    if inspect.iscoroutinefunction(function):
        raise QueryError(f"{caller()}: {call}({name}) is an async function; steps take plain functions")
    if one_row and inspect.isgeneratorfunction(function):
        hint = "; flat_map takes functions that yield" if call in {"map", "filter"} else ""
        raise QueryError(f"{caller()}: {call}({name}) yields, but must return one value{hint}")
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except ValueError:  # a built-in without a signature
        pass
    except TypeError as error:
        raise QueryError(
            f"{caller()}: {call}({name}) is called with {called}, but {name} takes others: {error}"
        ) from None
    check_shippable(f"{call}({name})", function)


def check_shippable(what: str, value: Any) -> None:
    """Refuse what cannot be sent to a worker, naming the part of it that cannot.

    Raises:
        QueryError: It cannot be pickled by value.
    """
    problem = _pickle_problem(value)
    if problem is None:
        return
    culprit = next(
        (f"it uses {name} = {shortened(part)}" for name, part in _parts(value) if _pickle_problem(part) is not None),
        problem,
    )
    raise QueryError(
        f"{caller()}: {what} cannot be sent to the workers: {culprit}, which cannot be pickled. "
        "Open or make it inside of the function, where it runs, and let the function use only plain values from outside"
    )


def _pickle_problem(value: Any) -> str | None:
    try:
        cloudpickle.dumps(value)
    except Exception as error:  # noqa: BLE001 (what pickling raises is up to the value's own __reduce__)
        return str(error) or type(error).__name__
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What pickling a value by value reaches, and under which name: captured variables, attributes, arguments."""
    if isinstance(value, functools.partial):
        yield from ((describe(part), part) for part in (value.func, *value.args))
        yield from value.keywords.items()
    elif isinstance(value, types.MethodType):
        yield from _parts(value.__self__)
    elif isinstance(value, types.FunctionType):
        captured = inspect.getclosurevars(value)
        yield from {**captured.nonlocals, **captured.globals}.items()
        yield from (
            (p.name, p.default) for p in inspect.signature(value).parameters.values() if p.default is not p.empty
        )
    else:
        yield from ((f"its attribute {name}", part) for name, part in getattr(value, "__dict__", {}).items())


def is_built_in(function: Callable[..., Any] | None) -> bool:
    """Whether a function is one that ships with the package, and so depends on nothing but its row."""
    if isinstance(function, ColumnFunction):
        return all(
            _module(form) in _TRUSTED or _module(form).startswith("elastic.")
            for form in (function.row, function.column)
        )
    return is_built_in(function.function) if isinstance(function, Timestamps) else function is None


def _module(form: Any) -> str:
    """Where the code of one form of a shipped function comes from."""
    while isinstance(form, functools.partial):
        form = form.func
    return str(getattr(form, "__module__", None) or type(form).__module__)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``; did you mean x?`` where one of the known names is close, else a full stop: the end of a sentence."""
    found = closest(given, known)
    return "." if found is None else f"; did you mean {found}?"


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant; None if none is close."""
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)), None)
