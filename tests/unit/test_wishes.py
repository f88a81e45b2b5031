"""What the command wants is heard once, and in order, whatever becomes of coordinators; else the user is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elastic.cluster.wishes import AGAIN_S, LATE_S, Wishes
from elastic.wire.control import DrainWorker, JoinJob, Note, Numbered, ScaleJob

SCALE, NOTE = ScaleJob("count", 3), Note("killed", 2, "SIGKILL", 1.0)


class Coordinators:
    """One after the other, as the command sees them; what each has acted upon is in a journal."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def hear(self, numbered: Numbered) -> None:
        if numbered.number == len(self.done) + 1:
            self.done.append(numbered.message)


@given(
    st.lists(st.sampled_from(["ask", "lose", "deliver", "repeat", "replace", "report"]), max_size=60),
)
def test_whatever_is_lost_or_said_twice_each_wish_is_acted_upon_once_and_in_order(history: list[str]) -> None:
    wishes, coordinators = Wishes(), Coordinators()
    asked: list[object] = []
    under_way: list[Numbered] = []
    for now_s, what in enumerate(history):
        match what:
            case "ask":
                asked.append(DrainWorker(len(asked)))
                under_way.append(wishes.ask(asked[-1], now_s))
            case "lose":
                under_way.clear()
            case "deliver":
                for numbered in under_way:
                    coordinators.hear(numbered)
                under_way.clear()
            case "repeat":
                under_way += wishes.again(now_s)
            case "replace":
                under_way += wishes.again(now_s, replaced=True)
            case _:
                wishes.heard(len(coordinators.done))
        assert coordinators.done == asked[: len(coordinators.done)]

    for numbered in wishes.again(1e6):
        coordinators.hear(numbered)
    wishes.heard(len(coordinators.done))

    assert coordinators.done == asked
    assert wishes.again(2e6) == []


def test_what_was_not_heard_is_said_again_after_a_while_and_to_another_coordinator_at_once() -> None:
    wishes = Wishes()
    numbered = wishes.ask(SCALE, 5.0)

    assert wishes.again(5.0 + AGAIN_S / 2) == []
    assert wishes.again(5.0 + AGAIN_S / 2, replaced=True) == [numbered]
    assert wishes.again(5.0 + AGAIN_S) == []
    assert wishes.again(5.0 + AGAIN_S * 2) == [numbered]


def test_the_user_is_told_once_of_what_takes_long_and_of_nothing_that_the_command_says_for_itself() -> None:
    wishes = Wishes()
    wishes.ask(NOTE, 0.0)
    wishes.ask(SCALE, 0.0)

    assert list(wishes.late(LATE_S / 2)) == []
    (text,) = wishes.late(LATE_S + 1)
    assert text == "scaling count to 3 has reached no coordinator for 10 s; it is asked for until one hears it"
    assert list(wishes.late(LATE_S + 2)) == []


def test_the_user_is_told_what_was_not_done_when_the_job_ends() -> None:
    wishes = Wishes()
    for wish in (NOTE, DrainWorker(4), JoinJob()):
        wishes.ask(wish, 1.0)
    wishes.heard(1)

    assert list(wishes.undone(3.5)) == [
        f"{what} was not done: the job ended 2.5 s after that was asked for, unheard until then"
        for what in ("draining worker 4", "adding a worker")
    ]
    assert list(wishes.undone(9.0)) == []


def test_a_worker_is_added_once_though_its_number_comes_twice() -> None:
    wishes = Wishes()
    wishes.ask(JoinJob(), 0.0)

    assert wishes.numbered_worker()
    assert not wishes.numbered_worker(), "from a coordinator that was asked again"
    assert not wishes.heard(1)


def test_a_worker_whose_number_was_lost_with_the_coordinator_is_asked_for_again() -> None:
    wishes = Wishes()
    wishes.ask(JoinJob(), 0.0)

    assert wishes.heard(1), "heard, and no number came"
    assert not wishes.heard(1)
    wishes.ask(JoinJob(), 1.0)
    assert wishes.numbered_worker()
