"""What a job tells of a failure: events in order, with times that make sense, and the same in figures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from elastic.report import JobOutcome
from tests.cluster.driving import drive, kill_owner, kinds
from tests.cluster.jobs import word_count

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> JobOutcome:
    """Of a job that ran for two seconds after its stateful worker was killed."""
    place = tmp_path_factory.mktemp("events")
    return drive(
        word_count(place, "8k/s"), place, kill_owner("count", 0, after_records=6_000), workers=4, checkpoint_ms=500
    )


@pytest.mark.slow
def test_the_events_of_a_recovery_come_in_order_and_name_who_is_concerned(outcome: JobOutcome) -> None:
    story = ["started", "killed", "failed", "detected", "restored", "replayed", "source_finished", "finished"]
    places = [kinds(outcome).index(kind) for kind in story]
    killed = next(e.worker for e in outcome.events if e.kind == "killed")

    assert places == sorted(places)
    assert {e.worker for e in outcome.events if e.kind in ("killed", "failed", "detected")} == {killed}
    restored = [e for e in outcome.events if e.kind == "restored" and e.operator == "count"]
    assert [(e.instance, e.worker == killed) for e in restored] == [(0, False)]
    assert kinds(outcome).count("caught_up") == 1
    assert "spare_started" in kinds(outcome)[kinds(outcome).index("failed") :]


@pytest.mark.slow
def test_the_times_of_events_never_go_back_by_more_than_what_is_found_out_late(outcome: JobOutcome) -> None:
    """That lag is back under its bound is known a second after it happened; its event has the time when it did.

    That a worker is killed, and that it has died of it, comes by two ways, and each has its own time.
    """
    times = [e.at_s for e in outcome.events if e.kind != "caught_up"]

    assert all(later >= earlier - 0.01 for earlier, later in pairwise(times))
    assert all(-5.0 < at_s <= outcome.wall_s + 1.0 for at_s in times)


@pytest.mark.slow
def test_the_recovery_in_figures_agrees_with_the_events(outcome: JobOutcome) -> None:
    (recovery,) = outcome.recoveries
    at_s = {e.kind: e.at_s for e in outcome.events}

    assert recovery.restored_s is not None
    assert recovery.caught_up_s is not None
    assert 0 <= recovery.detected_s < 0.5
    assert recovery.detected_s <= recovery.restored_s <= recovery.caught_up_s < 5.0
    assert recovery.caught_up_s == pytest.approx(at_s["caught_up"] - at_s["failed"], abs=0.01)
    assert recovery.replayed_records > 0
    assert recovery.state_keys > 0
    assert recovery.lag_bound_s >= 0.5
    assert outcome.checkpoints.count > 4
    assert outcome.checkpoints.bytes > 0
