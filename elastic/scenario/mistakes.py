"""Mistakes in a scenario or a job, and where they are."""

from __future__ import annotations

from typing import TypeAlias

from elastic.errors import ScenarioError

Location: TypeAlias = "tuple[str | int, ...]"
"""Where a value stands in a scenario: keys and list positions from the top."""


def dotted(location: Location) -> str:
    """``faults[0].kill.owner_of``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class FieldError(ScenarioError):
    """A mistake in a job or in how it is named, and the field of a scenario that it shows in.

    Attributes:
        location: The field, such as ``("parameters", "rate")``.
        problem: What is wrong and what to write, without the field.
    """

    def __init__(self, location: Location, problem: str) -> None:
        super().__init__(location, problem)
        self.location, self.problem = location, problem

    def __str__(self) -> str:
        return f"{dotted(self.location)}: {self.problem}"
