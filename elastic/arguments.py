"""Arguments that users give beside functions, checked: names, policies, periods and durations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from elastic.callables import caller, shortened
from elastic.errors import QueryError
from elastic.plan import MAIN, OnError
from elastic.units import UnitError, parse_duration_ms

_NAME = re.compile(r"\w[\w.-]*")


def check_name(what: str, name: Any) -> None:
    """Return if ``name`` can name a job or an operator; it becomes part of file names and of ``name#0``.

    Raises:
        QueryError: It is not a string, or has other characters than those of words.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        better = re.sub(r"[^\w.-]+", "-", str(name)).strip("-.") or "word-count"
        raise QueryError(
            f"{caller()}: {shortened(name)} is not a name for {what}; "
            f"letters, digits, '_', '-' and '.' make one, such as {better!r}"
        )


def check_names(operator: str, attribute: str, names: Any) -> None:
    """Return if an operator's attribute is a sequence of different names.

    Raises:
        QueryError: It is none.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        better = (names,) if isinstance(names, str) else ("errors",)
        given = f"{operator}.{attribute} is {shortened(names)}"
        raise QueryError(f"{caller()}: {given}, not a sequence of names; write {attribute} = {better!r}")
    for name in names:
        check_name(f"one of its {attribute}", name)
        if list(names).count(name) > 1:
            raise QueryError(f"{caller()}: {operator}.{attribute} names {name!r} twice; give each a name of its own")


def check_outputs(operator: str, outputs: Any) -> None:
    """Return if ``outputs`` names an operator's outputs beside the main one.

    Raises:
        QueryError: It is not a sequence of different names.
    """
    check_names(operator, "outputs", outputs)
    if MAIN in outputs:
        raise QueryError(f"{caller()}: {operator}.outputs names {MAIN!r}, which is the output that apply() gives")


def check_on_error(verb: str, on_error: Any) -> None:
    """Return if ``on_error`` is a policy.

    Raises:
        QueryError: It is none.
    """
    if on_error not in get_args(OnError):
        raise QueryError(f"{caller()}: {verb}(on_error={on_error!r}): write 'fail', 'skip' or 'divert'")


def check_emit(verb: str, emit: Any) -> None:
    """Return if ``emit`` is a period, ``tick`` or ``end``; whether the period fits the tick, only the plan can tell.

    Raises:
        QueryError: It is none of them.
    """
    if emit in ("tick", "end"):
        return
    try:
        period_ms = parse_duration_ms(emit)
    except UnitError:
        period_ms = 0
    if period_ms == 0:
        raise QueryError(f"{caller()}: {verb}(emit={emit!r}) is no period; write emit='1s', emit='tick' or emit='end'")


def duration_ms(call: str, name: str, text: Any, example: str) -> int:
    """Milliseconds of a duration that the user gave as an argument.

    Raises:
        QueryError: It is none.
    """
    try:
        return parse_duration_ms(text)
    except UnitError as error:
        raise QueryError(f"{caller()}: {call}({name}={text!r}): {error}; write {name}={example!r}") from None
