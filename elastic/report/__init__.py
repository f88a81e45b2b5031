"""What a run tells: its progress while it lasts, and one report at its end, for people and for programs.

Everything here is a value: the runtime fills it, the display and ``Report.write`` read it.
"""

from elastic.report.document import SCHEMA, Expectation, Report, Verdict, report_of, usable_cores
from elastic.report.events import EVENT_KINDS, EventKind, JobEvent
from elastic.report.figures import (
    Checkpoints,
    Durations,
    Intervals,
    IntervalTimes,
    OperatorReport,
    PeakMemory,
    Percentiles,
)
from elastic.report.incidents import FailedOutput, FailedRecords, Recovery, ScaleOut, Stall, added
from elastic.report.outcome import Failure, JobOutcome, Progress, Status

__all__ = [
    "EVENT_KINDS",
    "SCHEMA",
    "Checkpoints",
    "Durations",
    "EventKind",
    "Expectation",
    "FailedOutput",
    "FailedRecords",
    "Failure",
    "IntervalTimes",
    "Intervals",
    "JobEvent",
    "JobOutcome",
    "OperatorReport",
    "PeakMemory",
    "Percentiles",
    "Progress",
    "Recovery",
    "Report",
    "ScaleOut",
    "Stall",
    "Status",
    "Verdict",
    "added",
    "report_of",
    "usable_cores",
]
