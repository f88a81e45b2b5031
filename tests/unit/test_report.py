"""The report: its names are a promise to programs."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from elastic.report import (
    EVENT_KINDS,
    SCHEMA,
    Checkpoints,
    EventKind,
    Expectation,
    JobEvent,
    JobOutcome,
    OperatorReport,
    PeakMemory,
    Percentiles,
    Recovery,
    ScaleOut,
    Verdict,
    report_of,
)

OUTCOME = JobOutcome(
    status="done",
    wall_s=2.0,
    records_in=1000,
    records_out=10,
    bytes_in=4_000_000,
    latency_ms=Percentiles(1.0, 2.0, 3.0, 4.0),
    checkpoints=Checkpoints(3, 512),
    operators=(OperatorReport("count", 2, 1000, 0.5),),
    events=(JobEvent(0.5, "failed", None, None, 2, "SIGKILL"),),
    recoveries=(Recovery("worker 2 died", "checkpoint", 0.01, 0.1, 0.4, 0.5, 20, 30),),
    scale_outs=(ScaleOut("count", 1, 2, 0.7, 0.1),),
    peak_memory_bytes=PeakMemory(10, 40),
)


def test_the_json_form_has_exactly_the_promised_names() -> None:
    report = report_of(OUTCOME, scenario="s", model="elastic", expectations=[Expectation("lost", True, "0")])

    written = report.to_json()

    promised = """schema scenario model cores wall_s records_in records_out bytes_in records_per_s mb_per_s verified
        lost duplicated latency_ms checkpoints operators events recoveries scale_outs expectations peak_memory_bytes"""
    assert set(promised.split()) <= written.keys()
    assert next(iter(written)) == "schema"
    assert written["schema"] == SCHEMA
    assert set(written["latency_ms"]) == {"p50", "p95", "p99", "max"}
    assert set(written["checkpoints"]) == {"count", "bytes", "duration_ms"}
    assert set(written["checkpoints"]["duration_ms"]) == {"p50", "p99"}
    assert set(written["operators"][0]) == {"name", "instances", "records_in", "busy"}
    assert set(written["events"][0]) == {"at_s", "kind", "operator", "instance", "worker", "cause"}
    recovery = "cause strategy detected_s restored_s caught_up_s lag_bound_s replayed_records state_keys"
    assert set(written["recoveries"][0]) == set(recovery.split())
    assert written["scale_outs"] == [{"operator": "count", "from": 1, "to": 2, "at_s": 0.7, "took_s": 0.1}]
    assert set(written["expectations"][0]) == {"name", "met", "detail"}
    assert set(written["peak_memory_bytes"]) == {"worker", "total", "spilled"}


def test_rates_are_taken_over_the_whole_run() -> None:
    report = report_of(OUTCOME, scenario="s", model="elastic")

    assert (report.records_per_s, report.mb_per_s) == (500.0, 2.0)


def test_a_run_that_processed_nothing_has_no_rates_and_no_latencies() -> None:
    written = report_of(JobOutcome("failed", "no"), scenario="s", model="elastic").to_json()

    assert written["records_per_s"] == 0.0
    assert written["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}


def test_a_written_report_reads_back_equal_and_leaves_no_partial_file(tmp_path: Path) -> None:
    report = report_of(OUTCOME, scenario="s", model="elastic", verdict=Verdict(True, 0, 0))

    report.write(str(tmp_path / "report.json"))

    assert json.loads((tmp_path / "report.json").read_text()) == report.to_json()
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("status", "met", "code"), [("done", True, 0), ("done", False, 1), ("failed", True, 3), ("interrupted", False, 130)]
)
def test_the_exit_code_follows_the_status_before_the_expectations(status: str, *, met: bool, code: int) -> None:
    outcome = JobOutcome(status)  # type: ignore[arg-type]

    assert report_of(outcome, scenario="", model="", expectations=[Expectation("x", met, "")]).exit_code == code


def test_every_event_kind_is_documented_and_no_other() -> None:
    assert set(EVENT_KINDS) == set(get_args(EventKind))


def test_every_field_of_the_outcome_reaches_the_report() -> None:
    report = report_of(OUTCOME, scenario="s", model="elastic")

    assert all(getattr(report, f.name) == getattr(OUTCOME, f.name) for f in fields(OUTCOME))


def test_an_event_reads_as_a_line() -> None:
    assert str(JobEvent(3.214, "caught_up", "count", 0, 2, "worker 1 died")) == (
        "3.21s caught up (count#0, worker 2): worker 1 died"
    )
