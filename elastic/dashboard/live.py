"""Progress on a terminal: one screen that is redrawn in place, and gone when the job has ended."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from elastic.dashboard.lines import event_style, failed_line, workers
from elastic.report import JobEvent, Progress
from elastic.units import format_count, format_duration, format_size

REDRAW_S = 0.1
EVENTS = 10
"""One recovery has about ten; with them the screen is still below 24 lines."""


class LiveProgress:
    """Draws on a terminal until it is closed. Satisfies the runner's ``Watcher``.

    It draws when it is told of progress, from the caller's thread: a job that hangs shows a picture that hangs.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._name = name
        self._events: deque[JobEvent] = deque(maxlen=EVENTS)
        self._note = "starting"
        self._drawn_at = 0.0
        # what the user's check prints appears above the screen, unless stdout goes elsewhere
        redirect = sys.stdout.isatty()
        self._live = Live(console=Console(file=stream), auto_refresh=False, transient=True, redirect_stdout=redirect)
        self._live.start()

    def progress(self, progress: Progress) -> None:
        """What is on the screen is at most ``REDRAW_S`` old."""
        self._events.extend(progress.events)
        if progress.at_s > 0 and self._note == "starting":
            self._note = ""
        now = time.monotonic()
        if now - self._drawn_at >= REDRAW_S or progress.events or progress.finished:
            self._drawn_at = now
            self._live.update(screen(self._name, self._note, progress, list(self._events)), refresh=True)

    def note(self, text: str) -> None:
        """The text stays above the screen; the newest one is also its status."""
        self._note = text
        self._live.console.print(Text(text, "yellow" if text.startswith("warning") else "dim"))

    def close(self) -> None:
        """The screen is gone and the cursor is back."""
        self._live.stop()


def screen(name: str, note: str, progress: Progress, events: list[JobEvent]) -> RenderableType:
    """The whole screen: is it healthy, what does it do, where is it slow, what happened last."""
    parts: list[RenderableType] = [_headline(name, note, progress)]
    if progress.done is not None:
        parts.append(ProgressBar(total=1.0, completed=progress.done, width=60))
    parts.append(_figures(progress))
    if progress.operators:
        parts.append(_operators(progress))
    parts += [Text.assemble(("failed records  ", "yellow"), failed_line(f)) for f in progress.failures]
    for stall in progress.stalls:
        where = f"{stall.operator}#{stall.instance} on worker {stall.worker}"
        parts.append(Text(f"stalled: {where} {stall.detail}", "bold red"))
        parts += [
            Text(f"  {line}", "red", overflow="ellipsis", no_wrap=True) for line in (*stall.lines, *stall.waiting)
        ]
    parts += [Text(f"under way: {text}", "yellow") for text in progress.under_way]
    if events:
        parts.append(Text("last events", "bold"))
        parts += [Text(f"  {event}", event_style(event), overflow="ellipsis", no_wrap=True) for event in events]
    return Group(*parts)


def _headline(name: str, note: str, progress: Progress) -> Text:
    line = Text.assemble((name, "bold"), f"  {progress.at_s:.1f}s")
    if note:
        line.append(f"  {note}", "dim")
    return line


def _figures(progress: Progress) -> Table:
    age = progress.checkpoint_age_s
    figures = {
        "records": format_count(progress.records_in),
        "records/s": format_count(progress.records_per_s),
        "lag": format_duration(progress.lag_s),
        "workers": workers(progress),
        "checkpoints": f"{progress.checkpoints}" + ("" if age is None else f", {format_duration(age)} old"),
        "memory": format_size(progress.memory_bytes),
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in figures:
        table.add_column(title, min_width=9, no_wrap=True)
    table.add_row(*figures.values())
    return table


def _operators(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("operator", min_width=16, no_wrap=True)
    for title in ("instances", "records in", "busy"):
        table.add_column(title, justify="right", no_wrap=True)
    for o in progress.operators:
        table.add_row(o.name, f"{o.instances}", format_count(o.records_in), f"{o.busy:.0%}")
    return table
