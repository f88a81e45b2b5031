"""Who does not answer is taken for hung only if it is: not for what the machine, or the coordinator, is late with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.coordinator.silence import EXIT_NEWS_S, PATIENCE, SECOND_CHANCE, TURN_S, UNKNOWN, Look, Silence
from elastic.server.processes import look_at
from elastic.wire.control import Hello

ENDED, STOPPED, ASLEEP = Look("ended"), Look("stopped"), Look("asleep", 3.0)


def told_after(silence: Silence, looks: Mapping[int, Look] | None = None, *, since_s: float = 10.0) -> float:
    """How long after it fell silent worker 1 is taken for hung, looking a hundred times a second."""
    silence.silent(1, since_s)
    for n in range(10_000):
        now_s = since_s + n / 100
        silence.turn(now_s)
        if silence.hung(now_s, looks or {}):
            return n / 100
    raise AssertionError("never")


def test_a_process_that_is_stopped_is_given_up_as_soon_as_it_is_silent() -> None:
    assert told_after(Silence(1.0), {1: STOPPED}) <= EXIT_NEWS_S + 0.01


def test_a_process_that_has_ended_is_given_up_without_the_news_of_how_only_if_that_does_not_come() -> None:
    assert told_after(Silence(1.0), {1: ENDED}) == pytest.approx(1.0, abs=0.02)


def test_it_does_not_matter_how_late_the_coordinator_was_where_a_process_is_stopped() -> None:
    silence = Silence(1.0)
    silence.turn(5.0)
    silence.turn(9.9)

    assert told_after(silence, {1: STOPPED}) <= EXIT_NEWS_S + 0.01


def test_a_process_that_sleeps_is_asked_once_more() -> None:
    assert told_after(Silence(1.0), {1: ASLEEP}) == pytest.approx(SECOND_CHANCE, abs=0.02)


@pytest.mark.parametrize("heartbeat_s", [0.1, 1.0])
def test_a_process_that_wants_to_run_has_longer_to_answer(heartbeat_s: float) -> None:
    found = told_after(Silence(heartbeat_s), {1: Look("running")})

    assert found == pytest.approx(PATIENCE * heartbeat_s, abs=0.02)


def test_one_that_slept_whenever_it_was_looked_at_and_has_used_its_processor_is_no_other() -> None:
    silence = Silence(1.0)
    silence.silent(1, 10.0)
    for n in range(100):
        now_s = 10 + n / 100
        silence.turn(now_s)
        assert silence.hung(now_s, {1: Look("asleep", 3.0 + n / 1000)}) == []


def test_what_the_coordinator_was_late_itself_is_added_once_and_up_to_a_heartbeat() -> None:
    for late_s, added_s in ((0.8, 0.8), (30.0, 1.0)):
        silence = Silence(1.0)
        silence.turn(9.95 - late_s - TURN_S)
        silence.turn(9.95)

        assert told_after(silence, {1: UNKNOWN}) == pytest.approx(EXIT_NEWS_S + added_s, abs=0.03)


def test_lateness_from_before_the_silence_counts_for_nothing() -> None:
    silence = Silence(1.0)
    silence.turn(2.0)
    for n in range(4, 50):
        silence.turn(n / 5)

    assert told_after(silence) <= EXIT_NEWS_S + 0.01


def test_who_answers_was_never_hung() -> None:
    silence = Silence(1.0)
    silence.silent(1, 10.0)
    silence.clear(1)

    assert silence.suspects == []
    assert silence.hung(99.0, {}) == []


def test_who_is_hung_is_told_with_how_long_it_was_silent_and_since_when() -> None:
    silence = Silence(1.0)
    silence.silent(1, 10.0)
    silence.silent(2, 10.0)

    (hung,) = silence.hung(10.1, {1: STOPPED, 2: ASLEEP})
    assert hung == (1, "does not answer for 1 s", 9.0)
    (_, late) = silence.hung(14.5, {1: STOPPED, 2: ASLEEP})
    assert late == (2, "does not answer for 5.5 s", 9.0)


@given(
    st.lists(st.floats(0.0, 3.0), max_size=30),
    st.lists(st.sampled_from(["ended", "stopped", "asleep", "running", "unknown"]), min_size=30, max_size=30),
)
def test_nobody_is_waited_for_without_end_and_nobody_given_up_before_the_news_of_its_end(
    gaps: list[float], states: list[str]
) -> None:
    silence, now_s = Silence(1.0), 10.0
    silence.turn(now_s)
    silence.silent(1, now_s)
    for gap, state in zip(gaps, states, strict=False):
        now_s += gap
        silence.turn(now_s)
        if silence.hung(now_s, {1: Look(state)}):  # type: ignore[arg-type]
            assert now_s - 10.0 > EXIT_NEWS_S
        else:
            assert now_s - 10.0 <= PATIENCE + 1.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    script = "import sys\nprint(1, flush=True)\nsys.stdin.readline()\nprint(2, flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_what_a_process_does_can_be_seen(process: subprocess.Popen[str]) -> None:
    hello = Hello(1, "ipc:///somewhere", process.pid)

    def seen(state: str) -> bool:
        return any(look_at(hello).state == state for _ in range(100_000))

    assert seen("asleep")
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert seen("running")
    os.kill(process.pid, signal.SIGSTOP)
    assert seen("stopped")
    process.kill()
    assert seen("ended")
    process.wait()
    assert seen("ended")


def test_of_a_process_elsewhere_or_without_a_number_nothing_is_known() -> None:
    assert look_at(Hello(1, "ipc:///somewhere", 0)) == UNKNOWN
    assert look_at(Hello(1, "tcp://10.0.0.7:4711", os.getpid())) == UNKNOWN
