"""Whether the coordinator has fallen silent, and what is done about it."""

from __future__ import annotations

import pytest

from elastic.cluster.vigil import PATIENCE_S, WARN_S, Vigil

HEARTBEAT_S = 1.0


def vigil(*, stopped: bool = False, spoken: bool = True) -> Vigil:
    found = Vigil(HEARTBEAT_S, lambda: stopped, heard_s=0.0)
    if spoken:
        found.heard(0.0)
    return found


def test_a_stopped_coordinator_is_given_up_after_a_heartbeat() -> None:
    found = vigil(stopped=True)

    assert [found.gives_up(now_s) for now_s in (0.9 * HEARTBEAT_S, 1.2, 1.3)] == [False, True, False]
    assert found.given_up == "did not answer for 1.2 s"


def test_whoever_speaks_is_not_asked_whether_it_is_stopped() -> None:
    found = Vigil(HEARTBEAT_S, lambda: pytest.fail("it was asked"), heard_s=0.0)

    for now_s in (0.5, 1.0, 1.5):
        found.heard(now_s)
        assert not found.gives_up(now_s + 0.4)


def test_one_that_is_silent_for_another_reason_is_told_of_once_and_given_up_much_later() -> None:
    found = vigil()

    assert found.warning(WARN_S - 0.1) is None
    assert "no loss is recovered" in str(found.warning(WARN_S + 0.1))
    assert found.warning(WARN_S + 0.2) is None
    assert not found.gives_up(PATIENCE_S)
    assert found.gives_up(PATIENCE_S + 0.1)


def test_each_silence_is_told_of() -> None:
    found = vigil()
    assert found.warning(WARN_S + 0.1) is not None

    found.heard(WARN_S + 0.2)

    assert found.warning(2 * WARN_S + 0.1) is None
    assert found.warning(2 * WARN_S + 0.3) is not None


def test_how_long_the_first_takes_to_start_is_no_silence() -> None:
    found = vigil(spoken=False)

    assert (found.warning(2 * PATIENCE_S), found.gives_up(2 * PATIENCE_S)) == (None, False)


def test_the_next_one_has_its_own_time() -> None:
    found = vigil(stopped=True)
    assert found.gives_up(1.2)

    found.began(1.2)

    assert found.given_up is None
    assert not found.gives_up(1.2 + 0.9 * HEARTBEAT_S)
    assert found.gives_up(1.2 + 1.1 * HEARTBEAT_S)
