"""The story of a simulated job: what happened, and for each thing what caused it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from elastic.batch import Batch
from elastic.state.checkpoint import Checkpoint
from elastic.state.processing import StateTable

MAX_TEXT = 400
FAULT = "FAULT"
"""Who a line is about that tells of a fault."""


class Line(NamedTuple):
    """One thing that happened.

    Attributes:
        number: By which later lines name it as their cause.
        cause: The line that it follows from; 0 if it came from outside: a fault, or time.
        who: The party that it happened to.
        what: Values that are shown one after the other; kept as they are, since few stories are read.
    """

    number: int
    at_s: float
    cause: int
    who: str
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
        self._operators: dict[int, str] = {}

    def instances(self, assignment: Mapping[str, Any]) -> None:
        """Note which instances are whose, from the journal's entry of an assignment."""
        self._operators |= {i["id"]: assignment["operator"] for i in assignment["instances"]}

    def tell(self, at_s: float, who: str, *what: Any) -> None:
        """Add a line; what follows follows from it."""
        number = len(self.lines) + 1
        self.lines.append(Line(number, at_s, self.cause, who, what))
        self.cause = number

    def texts(self) -> tuple[str, ...]:
        """Every line."""
        return tuple(map(str, self.lines))

    def about(self, operator: str | None, last: int = 60) -> tuple[str, ...]:
        """The last lines that concern an operator, with the faults, and with what caused any of them."""
        chosen = [n for n, line in enumerate(self.lines) if line.who == FAULT or self._concerns(line, operator)][-last:]
        told = set(chosen)
        for n in chosen:
            cause = self.lines[n].cause
            while cause and cause - 1 not in told:
                told.add(cause - 1)
                cause = self.lines[cause - 1].cause
        return tuple(str(self.lines[n]) for n in sorted(told))

    def _concerns(self, line: Line, operator: str | None) -> bool:
        """Whether a line speaks of an operator, or of an instance of it."""
        for value in line.what:
            message = getattr(value, "message", value)
            ids = (getattr(message, name, 0) for name in ("instance", "producer", "consumer"))
            if getattr(message, "operator", None) == operator or any(self._operators.get(i) == operator for i in ids):
                return operator is not None
        return False


def shown(value: Any) -> str:
    """A value in a line: text as it is, messages by their fields, rows by their number."""
    return (value if isinstance(value, str) else _brief(value))[:MAX_TEXT]


def _brief(value: Any) -> str:
    if isinstance(value, Batch):
        return f"<{len(value)} rows>"
    if isinstance(value, Checkpoint):
        return f"<{'delta' if value.base is not None else 'full'} checkpoint at {value.tick}>"
    if isinstance(value, StateTable):
        return f"<{len(value)} entries>"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_brief, value[:4]))}{', …' if len(value) > 4 else ''})"
    if is_dataclass(value) and not isinstance(value, type):
        named = (f"{f.name}={_brief(getattr(value, f.name))}" for f in fields(value) if f.name not in {"epoch", "seen"})
        return f"{type(value).__name__}({', '.join(named)})"
    return str(value)
