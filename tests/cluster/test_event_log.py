"""What a job tells of a failure: events in order, with times that make sense, and the same in figures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from elastic.report import JobOutcome
from tests.cluster.driving import Running, drive, kill_owner, kinds, see
from tests.cluster.jobs import word_count

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> JobOutcome:
    """Of a job whose stateful worker was killed, and that has come back from that before its input ends."""
    place = tmp_path_factory.mktemp("events")

    def has_another_spare(running: Running) -> bool:
        told = [e.kind for e in running.events]
        return "spare_started" in told[told.index("failed") :]

    kill = kill_owner("count", 0, after_records=6_000, checkpoints=8)
    return drive(
        word_count(place, "8k/s"), place, kill, see("caught_up"), has_another_spare, workers=4, checkpoint_ms=500
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
    known_late_s = 0.5  # a hundredth of that on a machine of one's own
    times = [e.at_s for e in outcome.events if e.kind != "caught_up"]

    assert all(later >= earlier - known_late_s for earlier, later in pairwise(times))
    assert all(-30.0 < at_s <= outcome.wall_s + 10.0 for at_s in times)


@pytest.mark.slow
def test_the_recovery_in_figures_agrees_with_the_events(outcome: JobOutcome) -> None:
    (recovery,) = outcome.recoveries
    at_s = {e.kind: e.at_s for e in outcome.events}

    assert recovery.restored_s is not None
    assert recovery.caught_up_s is not None
    assert 0 <= recovery.detected_s <= recovery.restored_s <= recovery.caught_up_s
    assert recovery.caught_up_s == pytest.approx(at_s["caught_up"] - at_s["failed"], abs=0.01)
    assert recovery.replayed_records > 0
    assert recovery.state_keys > 0
    assert recovery.lag_bound_s >= 0.5
    assert outcome.checkpoints.count > 4
    assert outcome.checkpoints.bytes > 0
