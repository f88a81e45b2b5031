"""What a measurement gives, the table that people read, and the file that programs read."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from elastic.report import usable_cores

TARGET_CORES = 4
"""Targets hold for a machine of so many cores, and are not judged on a smaller one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    Attributes:
        reference: What the value is held against, in the same unit; None where the value stands for itself.
        ratio: Value by reference; None without one. Both are taken in the same run.
        target: What the ratio, or without one the value, has to reach; None where there is no target.
        met: Whether it does; None where there is no target or the machine has fewer cores than targets are made for.
    """

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    target: float | None
    met: bool | None


def ratio_row(name: str, value: float, unit: str, reference: float, *, at_least: float) -> Row:
    """A figure that has to reach a share of its reference."""
    ratio = value / reference
    return Row(name, value, unit, reference, ratio, at_least, _judged(met=ratio >= at_least))


def limit_row(name: str, value: float, unit: str, *, at_most: float) -> Row:
    """A figure that must not pass a bound."""
    return Row(name, value, unit, None, None, at_most, _judged(met=value <= at_most))


def _judged(*, met: bool) -> bool | None:
    return met if usable_cores() >= TARGET_CORES else None


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often things are measured.

    Attributes:
        timed_s: Least length of a timed run.
        rounds: How often a figure and its reference are measured, in turns; the medians count.
    """

    timed_s: float
    rounds: int
    quick: bool


FULL = Effort(timed_s=10.0, rounds=3, quick=False)
QUICK = Effort(timed_s=2.0, rounds=1, quick=True)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A row, or a few that come from one run, and how to get them; ``run`` may print what it is at."""

    name: str
    what: str
    run: Callable[[Effort], Sequence[Row]]


def in_turns(rounds: int, value: Callable[[], float], reference: Callable[[], float]) -> tuple[float, float]:
    """Medians of both, measured in turns, so that what else the machine does falls on both alike."""
    pairs = [(reference(), value()) for _ in range(rounds)]
    return statistics.median(v for _, v in pairs), statistics.median(r for r, _ in pairs)


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "pyarrow", "pyzmq")},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(path: Path, rows: Sequence[Row], *, keep: bool = False) -> None:
    """The file holds the host and the rows, whole: it is renamed into place.

    Args:
        path: The file.
        rows: What was measured now.
        keep: Leave other rows that the file has from the same host in their places.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {row.name: _plain(row) for row in rows}
    if keep and path.exists() and (before := json.loads(path.read_text()))["host"] == host():
        measured = {row["name"]: row for row in before["rows"]} | measured
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"host": host(), "rows": list(measured.values())}, indent=2, allow_nan=False) + "\n")
    partial.replace(path)


def _plain(row: Row) -> dict[str, Any]:
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(row).items()}


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of plain text."""
    cells = [("what", "value", "unit", "reference", "ratio", "target", "met")]
    cells += [
        (
            row.name, _figure(row.value), row.unit, _figure(row.reference), _figure(row.ratio),
            "" if row.target is None else f"{'≥' if row.ratio is not None else '≤'} {_figure(row.target)}",
            {True: "yes", False: "NO", None: "–"}[row.met],
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"
