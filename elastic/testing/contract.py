"""What checks of sources and sinks have in common: laws that are tried, and a report of those that do not hold."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from elastic import pickling
from elastic.batch import Column, rows
from elastic.errors import ElasticError


class ContractError(AssertionError):
    """A source or sink breaks its contract.

    Attributes:
        problems: What was found, law by law.
    """

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        super().__init__(what, problems)
        self.what, self.problems = what, tuple(problems)

    def __str__(self) -> str:
        laws = "1 law" if len(self.problems) == 1 else f"{len(self.problems)} laws"
        return f"{self.what} breaks {laws} of its contract:\n" + "\n".join(f"- {p}" for p in self.problems)


class Broken(Exception):  # noqa: N818 (a finding, not an error of the checker)
    """A law does not hold; the text says what was done, what was found, and what was expected."""


def try_laws(what: str, laws: Iterable[tuple[str, Callable[[], None]]]) -> None:
    """Try each law, by what it says.

    Raises:
        ContractError: Some do not hold.
    """
    problems = []
    for law, check in laws:
        try:
            check()
        except Broken as found:
            problems.append(f"{law}: {found}")
        except Exception as error:  # noqa: BLE001 (what the code under test raises is a finding)
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, ElasticError) else f" ({last.filename}:{last.lineno})"
            problems.append(f"{law}: {type(error).__name__}: {error}{where}")
    if problems:
        raise ContractError(what, problems)


def demand(holds: object, text: str) -> None:
    """Return if a condition holds.

    Raises:
        Broken: It does not.
    """
    if not holds:
        raise Broken(text)


def fingerprints(column: Column) -> list[bytes]:
    """Bytes for each row that are equal for rows that are equal by value and type, NaN included."""
    return [pickling.dumps_ordered(row) for row in rows(column)]


def difference(found: Sequence[Any], expected: Sequence[Any]) -> str | None:
    """Where two lists of rows begin to differ, in words; None if they do not."""
    one, other = fingerprints(list(found)), fingerprints(list(expected))
    if one == other:
        return None
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    left = shortened(found[at]) if at < len(found) else "the end"
    right = shortened(expected[at]) if at < len(expected) else "the end"
    return f"record {at} is {left}, expected {right} ({len(found)} records, expected {len(expected)})"


def shortened(row: Any) -> str:
    """``repr`` of a row, at most 80 characters."""
    text = repr(row)
    return text if len(text) <= 80 else f"{text[:77]}..."
