"""The user's side of a run: from ``jobs/word_count.py:query`` and its parameters to a ``Query``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar, runtime_checkable

import cloudpickle

from elastic.callables import did_you_mean, place
from elastic.errors import QueryError, UserError
from elastic.operators.failure import is_ours_or_import, kind_of, user_trace
from elastic.plan import Plan, Settings
from elastic.scenario.mistakes import FieldError, Location
from elastic.units import UnitError

T = TypeVar("T")

_TARGET = re.compile(r"(?P<module>.+?)(?::(?P<name>[^:/\\]*))?")
_PLACE = re.compile(r"[^:\n]+:\d+: |query '")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@runtime_checkable
class Runs(Protocol):
    """A job: a ``Query``, or a program of another execution model, which has the same name and plan."""

    @property
    def name(self) -> str:
        """Name of the job."""

    def plan(self, *, workers: int, settings: Settings) -> Plan:
        """What runs."""


def load_query(target: str, directory: Path, parameters: Mapping[str, Any]) -> Runs:
    """The query that ``target`` names: a ``Query``, or what a function gives when it is called with the parameters.

    Args:
        target: ``file.py:name`` or ``package.module:name``; ``query`` if there is no name.
        directory: What a relative file name is relative to.
        parameters: Arguments by name; a ``Query`` that is built already takes none.

    Raises:
        FieldError: There is no such file or name, the parameters do not fit, or the code raised.
        UserError: The code built a query with a mistake; the text names the user's own line.
    """
    found = load_object(target, directory, "job", default="query")
    if isinstance(found, Runs):
        if parameters:
            name = next(iter(parameters))
            raise FieldError(
                ("parameters", name),
                f"{target} is a Query, built already, and takes no parameters; make it a function that returns one, "
                f"such as def query({name}): …",
            )
        return found
    if not callable(found):
        raise FieldError(("job",), f"{target} is {kind_of(found)}; expected a Query, or a function that returns one")
    _check_parameters(target, found, parameters)
    query = _call(("job",), target, lambda: found(**parameters), parameters)
    if not isinstance(query, Runs):
        forgot = "; did you forget to return it?" if query is None else ""
        raise FieldError(("job",), f"{target}() returned {kind_of(query)}; expected a Query{forgot}")
    return query


def load_function(target: str, directory: Path, field: str) -> Callable[..., Any]:
    """The function that a field such as ``check`` names.

    Raises:
        FieldError: There is none, or loading its module raised.
    """
    found = load_object(target, directory, field, default=field)
    if not callable(found):
        raise FieldError((field,), f"{target} is {kind_of(found)}; expected a function")
    return found  # type: ignore[no-any-return]


def load_object(target: str, directory: Path, field: str, *, default: str) -> Any:
    """What ``module:name`` names, its module being loaded if need be."""
    match = _TARGET.fullmatch(target)
    module_name, name = (match["module"], match["name"]) if match else ("", None)
    if not module_name or name == "":
        raise FieldError((field,), f'"{target}" names nothing; write file.py:{default} or package.module:{default}')
    if module_name.endswith(".py") or "/" in module_name:
        path = (directory / module_name).resolve()
        if not path.is_file():
            beside = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
            hint = did_you_mean(path.name, beside)
            raise FieldError((field,), f"there is no file {path}{hint} A path is relative to {directory}")
        module = _call((field,), target, lambda: load_file(path))
    elif not all(part.isidentifier() for part in module_name.split(".")):
        raise FieldError((field,), f'"{target}" is no module; write file.py:{default} or package.module:{default}')
    else:
        module = _load_module(module_name, field, target)
    wanted = name or default
    if not hasattr(module, wanted):
        there = [name for name, value in vars(module).items() if _is_users(name, value, module)]
        hint = f"{did_you_mean(wanted, there)} It has {', '.join(there) or 'no job'}"
        raise FieldError((field,), f"{module_name} has no {wanted}{hint}")
    return getattr(module, wanted)


def _is_users(name: str, value: Any, module: ModuleType) -> bool:
    """Whether a name of a module is that of a job or function that it defines."""
    if name.startswith("_") or isinstance(value, type):
        return False
    return isinstance(value, Runs) or (callable(value) and getattr(value, "__module__", None) == module.__name__)


def load_file(path: Path) -> ModuleType:
    """The module in a file, loaded as ``import`` from beside it would, and modules beside it importable from now on.

    Where the name is taken, the module gets one of its own, and what it defines is shipped by value.
    """
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(path.stem)
    if known is not None and _is_at(known, path):
        return known
    taken = known is not None or path.stem in sys.stdlib_module_names or not path.stem.isidentifier()
    name = f"_job_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}" if taken else path.stem
    if taken and name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    if taken:
        cloudpickle.register_pickle_by_value(module)
    return module


def filled(parameters: Mapping[str, Any], directory: Path, job_directory: Path) -> dict[str, Any]:
    """The parameters with ``{stdlib}``, ``{here}``, ``{job_dir}`` and ``{home}`` replaced; ``{{`` stands for a brace.

    Raises:
        FieldError: An unknown placeholder.
    """
    places = {
        "stdlib": sysconfig.get_path("stdlib"),
        "here": str(directory),
        "job_dir": str(job_directory),
        "home": str(Path.home()),
    }
    return {name: _fill(value, places, ("parameters", name)) for name, value in parameters.items()}


def _fill(value: Any, places: Mapping[str, str], location: Location) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, places, (*location, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, places, (*location, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def place(match: re.Match[str]) -> str:
        name: str | None = match[1]
        if name is None:
            return match[0][0]
        if name not in places:
            known = ", ".join(f"{{{p}}}" for p in places)
            hint = did_you_mean(name, places)
            raise FieldError(location, f"{{{name}}} stands for nothing{hint} Known: {known}; write {{{{ for a brace")
        return places[name]

    return _PLACEHOLDER.sub(place, value)


def _is_at(module: ModuleType, path: Path) -> bool:
    """Whether a loaded module came from the file."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _load_module(name: str, field: str, target: str) -> ModuleType:
    """The module of a dotted name; the working directory is searched first, as ``python -m`` does."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise FieldError((field,), _raised(target, error)) from None
        raise FieldError(
            (field,), f"there is no module {error.name}; install it, or write the file's name with .py"
        ) from None
    except UserError as error:
        raise _with_line(error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (user code raises what it likes)
        raise FieldError((field,), _raised(target, error)) from None


def _call(location: Location, target: str, code: Callable[[], T], parameters: Mapping[str, Any] | None = None) -> T:
    """What the user's code gives; what it raises is shown with the user's own lines only.

    Args:
        location: The field that names the code.
        target: The code, as it is named there.
        code: Calls it.
        parameters: What it is called with, which may be to blame.
    """
    try:
        return code()
    except UnitError as error:
        if (given := _given_in(parameters or {}, error.given)) is not None:
            raise FieldError(given, str(error)) from None
        raise _with_line(error) from None
    except UserError as error:
        raise _with_line(error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (user code raises what it likes)
        raise FieldError(location, _raised(target, error)) from None


def _with_line(error: UserError) -> UserError:
    """A mistake in a query, with the user's line in front where its text does not begin with one."""
    users = [f for f in traceback.extract_tb(error.__traceback__) if not is_ours_or_import(f.filename)]
    if not users or _PLACE.match(str(error)):
        return error
    return QueryError(f"{place(users[-1].filename, users[-1].lineno or 0)}: {error}")


def _raised(target: str, error: BaseException) -> str:
    return f"{target} raised while it was loaded:\n{user_trace(error).rstrip()}"


def _check_parameters(target: str, function: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    """Hold the parameters against the function's signature before it is called.

    Raises:
        FieldError: One is unknown, or one that the function needs is not given.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have none
        return
    takes = signature.parameters.values()
    named = [p.name for p in takes if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    if not any(p.kind is p.VAR_KEYWORD for p in takes):
        for name in parameters:
            if name not in named:
                takes_what = f"{target} takes {', '.join(named) or 'no parameters'}"
                raise FieldError(
                    ("parameters", name), f"there is no such parameter{did_you_mean(name, named)} {takes_what}"
                )
    for parameter in takes:
        if parameter.name in named and parameter.default is parameter.empty and parameter.name not in parameters:
            raise FieldError(("parameters", parameter.name), f"is missing; {target} needs it")


def _given_in(parameters: Mapping[str, Any], value: object) -> Location | None:
    """The parameter that has this value; None if none has."""
    return next((("parameters", name) for name, given in parameters.items() if given == value), None)
