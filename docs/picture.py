"""Draw the terminal of a real run, shortly after its worker was killed: ``python docs/picture.py``.

Runs ``scenarios/word_count_kill.yaml`` and keeps the screen of the moment when it had caught up: ``docs/terminal.svg``.
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from elastic.dashboard.live import EVENTS, Screen
from elastic.report import JobEvent, Progress
from elastic.scenario.assemble import run_of_scenario
from elastic.scenario.load import load_scenario
from elastic.scenario.runner import execute, prepare

ROOT = Path(__file__).parents[1]
SCENARIO = Path("scenarios/word_count_kill.yaml")
PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS, LINES = 100, 30
AFTERWARDS_S = 0.5
"""So long after it has caught up, the lag shown is that of a healthy job again."""


class Photographer:
    """Looks on as the live screen does, and keeps the screen of one moment. Satisfies the runner's ``Watcher``."""

    def __init__(self, name: str) -> None:
        self.console = Console(record=True, width=COLUMNS, height=LINES, file=io.StringIO(), force_terminal=True)
        self._name, self._events = name, list[JobEvent]()
        self._caught_up_s: float | None = None
        self.taken = False

    def progress(self, progress: Progress) -> None:
        """Look, and press the button once."""
        self._events.extend(progress.events)
        if any(e.kind == "caught_up" for e in progress.events):
            self._caught_up_s = progress.at_s
        if not self.taken and self._caught_up_s is not None and progress.at_s >= self._caught_up_s + AFTERWARDS_S:
            self.taken = True
            self.console.print(Screen(self._name, "", progress, self._events[-EVENTS:]))

    def note(self, text: str) -> None:
        """Not in the picture."""

    def close(self) -> None:
        """Nothing to restore."""


def main() -> None:
    """The picture is that of a run just now."""
    loaded = load_scenario(ROOT / SCENARIO)
    with loaded.naming_lines():
        run = run_of_scenario(loaded)
    photographer = Photographer(run.name)
    execute(run, prepare(run), photographer)
    if not photographer.taken:
        raise SystemExit("the run ended before it had caught up with the failure; there is nothing to show")
    svg = photographer.console.export_svg(title=f"elastic run {SCENARIO}", unique_id="terminal")
    PICTURE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
