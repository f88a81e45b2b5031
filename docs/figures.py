"""Put the newest benchmark results into the performance page: ``python docs/figures.py [RESULTS.json]``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = ("name", "value", "unit", "reference", "ratio", "target", "met")


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table, one line per row, under a line that says where they were measured."""
    lines = [f"Measured on: {_host(results['host'])}.", "", f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    for row in results["rows"]:
        cells = [_cell(row.get(column)) for column in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def filled(page: str, results: dict[str, Any]) -> str:
    """The page with the results between its marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table(results)}\n\n{END}", page)


def _host(host: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in host.items()) if isinstance(host, dict) else str(host)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, (int, float)):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|")


def main(path: Path = RESULTS) -> None:
    """The page holds the results of the file."""
    results = json.loads(path.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
