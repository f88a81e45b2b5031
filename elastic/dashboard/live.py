"""Progress on a terminal: one screen that is redrawn in place, and gone when the job has ended."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from elastic.dashboard.lines import event_style, failed_line, workers
from elastic.report import JobEvent, Progress
from elastic.units import format_count, format_duration, format_size

REDRAW_S = 0.1
EVENTS = 10
"""One recovery has about ten; with them and a few operators the screen is still below 24 lines."""

BAR_COLUMNS = 60
FIGURES_COLUMNS = 72
"""A terminal with fewer shows the figures in two rows."""


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
            self._live.update(Screen(self._name, self._note, progress, tuple(self._events)), refresh=True)

    def note(self, text: str) -> None:
        """The text stays above the screen; the newest one is also its status."""
        self._note = text
        self._live.console.print(Text(text, "yellow" if text.startswith("warning") else "dim"))

    def close(self) -> None:
        """The screen is gone and the cursor is back."""
        self._live.stop()


@dataclass(frozen=True, slots=True)
class Screen:
    """The whole screen: is it healthy, what does it do, where is it slow, what happened last.

    It fits into any terminal, since one that scrolls cannot be redrawn: the oldest events give way first.
    """

    name: str
    note: str
    progress: Progress
    events: Sequence[JobEvent]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line."""
        room = max(options.size.height - 1, 1)
        lines = console.render_lines(Group(*self._state(options.max_width)), options, pad=False)[:room]
        if self.events and room - len(lines) > 1:
            last = self.events[-(room - len(lines) - 1) :]
            texts = [Text(f"  {event}", event_style(event), overflow="ellipsis", no_wrap=True) for event in last]
            lines += console.render_lines(Group(Text("last events", "bold"), *texts), options, pad=False)
        for line in lines:
            yield from line
            yield Segment.line()

    def _state(self, columns: int) -> Iterator[RenderableType]:
        """All but the events."""
        progress = self.progress
        yield _headline(self.name, self.note, progress)
        if progress.done is not None:
            yield _bar(progress.done)
        yield from _figures(progress, 6 if columns >= FIGURES_COLUMNS else 3)
        if progress.operators:
            yield _operators(progress)
        yield from (Text.assemble(("failed records  ", "yellow"), failed_line(f)) for f in progress.failures)
        for stall in progress.stalls:
            home = "in this process" if stall.worker is None else f"on worker {stall.worker}"
            where = f"{stall.operator}#{stall.instance} {home}"
            yield Text(f"stalled: {where} {stall.detail}", "bold red")
            for line in (*stall.lines, *stall.waiting):
                yield Text(f"  {line}", "red", overflow="ellipsis", no_wrap=True)
        yield from (Text(f"under way: {text}", "yellow") for text in progress.under_way)


def _bar(done: float) -> RenderableType:
    """What was read of the input; in a table, since a bar alone does not end its line."""
    row = Table.grid()
    row.add_row(ProgressBar(total=1.0, completed=done, width=BAR_COLUMNS))
    return row


def _headline(name: str, note: str, progress: Progress) -> Text:
    line = Text.assemble((name, "bold"), f"  {progress.at_s:.1f}s")
    if note:
        line.append(f"  {note}", "dim")
    return line


def _figures(progress: Progress, at_once: int) -> Iterator[Table]:
    """The figures of the whole job, so many beside one another."""
    age = progress.checkpoint_age_s
    figures = {
        "records": format_count(progress.records_in),
        "records/s": format_count(progress.records_per_s),
        "lag": format_duration(progress.lag_s),
        "workers": workers(progress),
        "checkpoints": f"{progress.checkpoints}" + ("" if age is None else f", {format_duration(age)} old"),
        "memory": format_size(progress.memory_bytes),
    }
    if (last := progress.interval) is not None:
        figures |= {
            "interval": f"{last.interval}",
            "processing": format_duration(last.processing_ms / 1000),
            "scheduling delay": format_duration(last.scheduling_delay_ms / 1000),
        }
    titles = list(figures)
    for i in range(0, len(titles), at_once):
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in titles[i : i + at_once]:
            table.add_column(title, min_width=9, no_wrap=True)
        table.add_row(*(figures[title] for title in titles[i : i + at_once]))
        yield table


def _operators(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("operator", min_width=16, no_wrap=True)
    for title in ("instances", "records in", "busy"):
        table.add_column(title, justify="right", no_wrap=True)
    for o in progress.operators:
        table.add_row(o.name, f"{o.instances}", format_count(o.records_in), f"{o.busy:.0%}")
    return table
