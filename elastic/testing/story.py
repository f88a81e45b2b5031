"""The story of a simulated job: what happened, and for each thing what caused it."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from elastic.batch import Batch
from elastic.state.checkpoint import Checkpoint

MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened.

    Attributes:
        number: By which later lines name it as their cause.
        cause: The line that it follows from; 0 if it came from outside: a fault, or time.
        who: The party that it happened to.
        operators: The operators concerned.
        what: Values that are shown one after the other; kept as they are, since few stories are read.
    """

    number: int
    at_s: float
    cause: int
    who: str
    operators: frozenset[str]
    what: tuple[Any, ...]

    def __str__(self) -> str:
        origin = f" (from #{self.cause})" if self.cause else ""
        return f"{self.at_s:8.4f} #{self.number}{origin} {self.who} " + " ".join(map(shown, self.what))


class Story:
    """All lines, oldest first, and the one that everything that happens now follows from.

    Attributes:
        cause: Number of that line; whoever has something done later sets it again then.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.cause = 0

    def tell(self, at_s: float, who: str, operators: frozenset[str], *what: Any) -> None:
        """Add a line; what follows follows from it."""
        number = len(self.lines) + 1
        self.lines.append(Line(number, at_s, self.cause, who, operators, what))
        self.cause = number

    def texts(self) -> tuple[str, ...]:
        """Every line."""
        return tuple(map(str, self.lines))

    def about(self, operator: str | None, last: int = 60) -> tuple[str, ...]:
        """The last lines that concern an operator, with the faults, and with what caused any of them."""
        chosen = [n for n, line in enumerate(self.lines) if operator in line.operators or line.who == "FAULT"][-last:]
        told = set(chosen)
        for n in chosen:
            cause = self.lines[n].cause
            while cause and cause - 1 not in told:
                told.add(cause - 1)
                cause = self.lines[cause - 1].cause
        return tuple(str(self.lines[n]) for n in sorted(told))


def shown(value: Any) -> str:
    """A value in a line: text as it is, messages by their fields, rows by their number."""
    return (value if isinstance(value, str) else _brief(value))[:MAX_TEXT]


def _brief(value: Any) -> str:
    if isinstance(value, Batch):
        return f"<{len(value)} rows>"
    if isinstance(value, Checkpoint):
        return f"<{'delta' if value.base is not None else 'full'} checkpoint at {value.tick}>"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_brief, value[:4]))}{', …' if len(value) > 4 else ''})"
    if is_dataclass(value) and not isinstance(value, type):
        named = (f"{f.name}={_brief(getattr(value, f.name))}" for f in fields(value) if f.name not in {"epoch", "seen"})
        return f"{type(value).__name__}({', '.join(named)})"
    return str(value)
