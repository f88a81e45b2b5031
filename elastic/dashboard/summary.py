"""The summary of a run that has ended: for a person, on a terminal or in a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.text import Text

from elastic.dashboard.lines import QUIET, event_style, failed_line
from elastic.report import Intervals, Report
from elastic.units import counted, format_count, format_duration, format_size

FIRST_EVENTS, LAST_EVENTS = 14, 6
"""Of more events than these together the middle is left out: a job's story has its point at the end."""

LEAST_COLUMNS = 16
"""A terminal that has fewer behind a line's titles folds the line itself."""


def print_summary(report: Report, stream: TextIO) -> None:
    """The summary has been written to the stream: in colour on a terminal, without a control character elsewhere.

    A terminal gets lines that it has room for; a log gets them whole.
    """
    console = Console(file=stream, highlight=False, soft_wrap=True)
    for line in summary(report):
        console.print(_folded(line, console) if console.is_terminal else line)


def _folded(line: Text, console: Console) -> Text:
    """The line, going on below where its text begins, behind its titles, if it is too long."""
    titles = re.match(r"(?:\s{2,}\S+)*\s{2,}", line.plain)
    begins = titles.end() if titles else 0
    if line.cell_len <= console.width or console.width - begins < LEAST_COLUMNS:
        return line
    head, text = line.divide([begins])
    lines = text.wrap(console, console.width - begins)
    for each in lines:
        each.rstrip()
    return head + Text("\n" + " " * begins).join(lines)


def summary(report: Report) -> Iterator[Text]:
    """The summary, line by line: how it ended, the job's own lines, figures, what happened, what was expected."""
    yield _headline(report)
    if report.error:
        yield from (Text(f"  {line}", "red") for line in report.error.splitlines())
    figures = (Text.assemble((f"  {title:<12}", "dim"), text) for title, text in _figures(report))
    shown = (Text(f"  {line}") for line in report.shown)
    sections = (shown, figures, _operators(report), _failed(report), _happened(report), _expectations(report))
    for section in sections:
        if lines := list(section):
            yield Text()
            yield from lines


def _expectations(report: Report) -> Iterator[Text]:
    for e in report.expectations:
        verdict = ("met    ", "green") if e.met else ("NOT MET", "bold red")
        yield Text.assemble("  ", verdict, f"  {e.name:<11} {e.detail}")


def _headline(report: Report) -> Text:
    status, style = {
        "done": ("done", "green"),
        "failed": ("FAILED", "bold red"),
        "interrupted": ("interrupted", "yellow"),
    }[report.status]
    line = Text.assemble((report.scenario, "bold"), ": ", (status, style), f" after {format_duration(report.wall_s)}")
    if report.verified is True:
        line.append(", result verified", "green")
    elif report.verified is False:
        line.append(", result WRONG", "bold red")
        line.append(f": {_count(report.lost)} rows lost, {_count(report.duplicated)} duplicated")
    return line


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    yield "records", f"{report.records_in:,} in, {report.records_out:,} out, {format_size(report.bytes_in)} read"
    yield "throughput", f"{format_count(report.records_per_s)} records/s, {format_size(report.mb_per_s * 1e6)}/s"
    latency = report.latency_ms
    shown = [(n, v) for n in ("p50", "p95", "p99", "max") if (v := getattr(latency, n)) is not None]
    if shown:
        yield "latency", ", ".join(f"{name} {format_duration(ms / 1000)}" for name, ms in shown)
    if report.intervals.count:
        yield "intervals", _intervals(report.intervals)
    if report.checkpoints.count:
        duration = report.checkpoints.duration_ms
        took = (
            ""
            if duration.p50 is None or duration.p99 is None
            else (f", p50 {format_duration(duration.p50 / 1000)}, p99 {format_duration(duration.p99 / 1000)}")
        )
        yield "checkpoints", f"{report.checkpoints.count}, {format_size(report.checkpoints.bytes)}{took}"
    peak = report.peak_memory_bytes
    if peak.worker:
        yield (
            "memory",
            f"largest worker {format_size(peak.worker)}, all together {format_size(peak.total)}"
            + (f", spilled {format_size(peak.spilled)}" if peak.spilled else ""),
        )


def _intervals(intervals: Intervals) -> str:
    """How many, how long they took from their end to their last task, and what of it was work."""
    total, work = intervals.total_delay_ms, intervals.processing_ms
    shown = [(n, v) for n in ("p50", "p99", "max") if (v := getattr(total, n)) is not None]
    delays = ", ".join(f"{name} {format_duration(ms / 1000)}" for name, ms in shown)
    again = f", {intervals.recomputed:,} done again" if intervals.recomputed else ""
    processing = "" if work.p50 is None else f"; processing p50 {format_duration(work.p50 / 1000)}"
    return f"{intervals.count:,}, total delay {delays}{processing}; {counted(intervals.tasks, 'task')}{again}"


def _operators(report: Report) -> Iterator[Text]:
    width = max([len("operator"), *(len(o.name) for o in report.operators)])
    if report.operators:
        yield Text(f"  {'operator':<{width}}  instances  records in  busy", "dim")
    for o in report.operators:
        yield Text(f"  {o.name:<{width}}  {o.instances:>9}  {format_count(o.records_in):>10}  {o.busy:>4.0%}")


def _failed(report: Report) -> Iterator[Text]:
    for f in report.failures:
        yield Text.assemble(("  failed      ", "dim"), (failed_line(f), "yellow"), f"; the last: {f.example}")


def _happened(report: Report) -> Iterator[Text]:
    for r in report.recoveries:
        steps = [("detected", r.detected_s), ("restored", r.restored_s), ("caught up", r.caught_up_s)]
        times = ", ".join(f"{what} {'never' if s is None else 'after ' + format_duration(s)}" for what, s in steps)
        replayed = f"{counted(r.replayed_records, 'record')} replayed, {counted(r.state_keys, 'key')} restored"
        yield Text.assemble(("  recovery    ", "dim"), f"{r.cause}: {times}; {replayed}")
    events = [e for e in report.events if e.kind not in QUIET]
    events.sort(key=lambda e: e.at_s)  # that a job has caught up is known a second later
    left_out = len(events) - FIRST_EVENTS - LAST_EVENTS
    for i, event in enumerate(events):
        if i == FIRST_EVENTS and left_out > 0:
            yield Text(f"  …           {counted(left_out, 'more event')}; --json FILE writes all of them", "dim")
        if i < FIRST_EVENTS or i >= FIRST_EVENTS + left_out:
            yield Text.assemble(("  event       ", "dim"), (str(event), event_style(event)))


def _count(rows: int | None) -> str:
    return "?" if rows is None else f"{rows:,}"
