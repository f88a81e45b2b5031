"""The holder: stores what it is told to hold, folds it, fences it and cuts it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elastic.batch import rows
from elastic.keys import KeyInterval
from elastic.protocol import (
    Command,
    Cut,
    CutDone,
    Fetch,
    Hold,
    Join,
    Part,
    Persist,
    Release,
    Send,
    Store,
    Stored,
    StoreRefused,
    Tell,
)
from elastic.state.backup import BackupStore
from elastic.state.checkpoint import Checkpoint
from elastic.state.folding import folded
from elastic.state.processing import StateTable

OWNER = 2
ALL, LEFT, RIGHT = KeyInterval(0, 4), KeyInterval(0, 2), KeyInterval(2, 4)


def table(values: dict[str, int], groups: dict[str, int]) -> StateTable:
    return StateTable(np.array([groups[k] for k in values], np.uint16), list(values), {"value": list(values.values())})


GROUPS = {"a": 0, "b": 1, "c": 3}


def checkpoint(tick: int, base: int | None, **values: int) -> Checkpoint:
    return Checkpoint(tick, base, table(values, GROUPS), {})


def contents(part: Checkpoint | None) -> dict[str, int]:
    assert part is not None
    assert part.state is not None
    state = folded(part.state)
    return dict(zip(rows(state.keys), rows(state.fields["value"]), strict=True))


def answers(commands: list[Command]) -> list[object]:
    return [c.message for c in commands if isinstance(c, Send | Tell)]


def fetched(store: BackupStore, instance: int) -> Checkpoint | None:
    (part,) = answers(store.on_fetch(Fetch(instance, OWNER)))
    assert isinstance(part, Part)
    return part.checkpoint


@pytest.fixture
def store() -> BackupStore:
    """Holds for instance 5, which has stored a full checkpoint and a delta."""
    store = BackupStore()
    store.on_hold(Hold(1, 5, fresh=True))
    store.on_store(Store(5, OWNER, checkpoint(10, None, a=1, b=2, c=3)))
    store.on_store(Store(5, OWNER, checkpoint(20, 10, b=5)))
    return store


def test_nothing_is_stored_for_an_instance_that_is_not_held_for() -> None:
    refused = BackupStore().on_store(Store(5, OWNER, checkpoint(10, None, a=1)))

    assert answers(refused) == [StoreRefused(5, 10)]


def test_a_delta_is_stored_only_on_the_checkpoint_that_it_builds_on(store: BackupStore) -> None:
    assert answers(store.on_store(Store(5, OWNER, checkpoint(40, 30, a=9)))) == [StoreRefused(5, 40)]
    assert answers(store.on_store(Store(5, OWNER, checkpoint(30, 20, a=9)))) == [Stored(5, 30)]


def test_what_is_handed_out_is_the_full_checkpoint_with_its_deltas(store: BackupStore) -> None:
    part = fetched(store, 5)

    assert part is not None
    assert (part.tick, part.base, contents(part)) == (20, None, {"a": 1, "b": 5, "c": 3})


def test_a_full_checkpoint_replaces_what_was_held(store: BackupStore) -> None:
    store.on_store(Store(5, OWNER, checkpoint(30, None, a=7)))

    assert contents(fetched(store, 5)) == {"a": 7}


def test_being_told_to_hold_again_loses_nothing(store: BackupStore) -> None:
    store.on_hold(Hold(1, 5, fresh=False))

    assert contents(fetched(store, 5)) == {"a": 1, "b": 5, "c": 3}


def test_a_cut_gives_each_successor_the_part_of_its_key_groups(store: BackupStore) -> None:
    done = store.on_cut(Cut(1, 9, 5, ((6, LEFT), (7, RIGHT))))

    assert answers(done) == [CutDone(9, 20, lost=False, keys=3)]
    assert contents(fetched(store, 6)) == {"a": 1, "b": 5}
    assert contents(fetched(store, 7)) == {"c": 3}


def test_a_cut_fences_its_instance_in_the_same_step(store: BackupStore) -> None:
    store.on_cut(Cut(1, 9, 5, ((6, ALL),)))

    assert answers(store.on_store(Store(5, OWNER, checkpoint(30, 20, a=666)))) == [StoreRefused(5, 30)]
    assert store.on_fetch(Fetch(5, OWNER)) == []
    assert contents(fetched(store, 6)) == {"a": 1, "b": 5, "c": 3}


def test_a_cut_that_is_told_twice_gives_the_same_answer_and_the_same_parts(store: BackupStore) -> None:
    cut = Cut(1, 9, 5, ((6, ALL),))
    first = store.on_cut(cut)
    store.on_store(Store(6, OWNER, checkpoint(30, 20, a=8)))

    assert store.on_cut(cut) == first
    assert contents(fetched(store, 6)) == {"a": 8, "b": 5, "c": 3}


@pytest.mark.parametrize("how", ["cut", "join"])
def test_parts_that_had_to_be_written_are_said_to_be_there_as_often_as_it_is_asked(how: str) -> None:
    """The first answer may have gone to a coordinator that was just dying."""
    store = BackupStore(disk=True)
    store.on_hold(Hold(1, 5, fresh=True))
    store.on_store(Store(5, OWNER, checkpoint(10, None, a=1, b=2, c=3)))
    store.on_persisted(5, 0, 10)

    def order() -> list[object]:
        if how == "cut":
            return answers(store.on_cut(Cut(1, 9, 5, ((6, LEFT), (7, RIGHT)))))
        return answers(store.on_join(Join(1, 9, 1, 7, 10, ((5, 1),))))

    (early,) = order()
    assert isinstance(early, CutDone)
    assert not early.stored
    assert order() == [], "they are being written"
    done = answers(store.on_persisted(7, 0, 10))
    assert done == [replace(early, stored=True)]
    assert order() == order() == done


def test_a_successor_goes_on_with_deltas_where_its_predecessor_ended(store: BackupStore) -> None:
    store.on_cut(Cut(1, 9, 5, ((6, ALL),)))

    assert answers(store.on_store(Store(6, OWNER, checkpoint(30, 20, a=8)))) == [Stored(6, 30)]


def test_an_instance_of_which_nothing_was_ever_stored_begins_at_tick_0() -> None:
    store = BackupStore()
    store.on_hold(Hold(1, 5, fresh=True))

    assert answers(store.on_cut(Cut(1, 9, 5, ((6, ALL),)))) == [CutDone(9, 0, lost=False)]
    assert fetched(store, 6) is None


@pytest.mark.parametrize("held", [True, False])
def test_a_checkpoint_that_should_be_there_and_is_not_is_said_to_be_lost(held: bool) -> None:  # noqa: FBT001
    store = BackupStore()
    if held:
        store.on_hold(Hold(1, 5, fresh=False))

    assert answers(store.on_cut(Cut(1, 9, 5, ((6, ALL),)))) == [CutDone(9, 0, lost=True)]


def test_what_is_released_is_gone(store: BackupStore) -> None:
    assert store.has_copy(5)

    store.on_release(Release(1, 5))

    assert not store.has_copy(5)
    assert store.size_bytes == 0


def test_deltas_that_outweigh_their_base_are_folded_when_there_is_time(store: BackupStore) -> None:
    before = store.size_bytes
    while store.tidy()[0]:
        pass
    store.on_store(Store(5, OWNER, checkpoint(30, 20, a=4, b=4, c=4)))
    store.on_store(Store(5, OWNER, checkpoint(40, 30, a=6, b=6, c=6)))

    assert store.tidy() == (True, [])
    assert store.tidy() == (False, [])
    assert store.size_bytes <= before
    assert contents(fetched(store, 5)) == {"a": 6, "b": 6, "c": 6}


def test_what_was_folded_takes_the_place_of_what_lay_on_the_disk_before_whatever_came_meanwhile() -> None:
    store = BackupStore(disk=True)
    store.on_hold(Hold(1, 5, fresh=True))
    store.on_store(Store(5, OWNER, checkpoint(10, None, a=1, b=2, c=3), term=7))
    store.on_store(Store(5, OWNER, checkpoint(20, 10, a=4, b=4, c=4), term=7))
    store.on_store(Store(5, OWNER, checkpoint(30, 20, a=6, b=6), term=7))

    _, written = store.tidy()

    (persist,) = written
    assert isinstance(persist, Persist)
    assert (persist.instance, persist.term, persist.checkpoint.tick, persist.compact) == (5, 7, 30, True)
    assert contents(persist.checkpoint) == {"a": 6, "b": 6, "c": 4}


def test_the_second_holder_leaves_the_disk_to_the_first() -> None:
    store = BackupStore(disk=True)
    store.on_hold(Hold(1, 5, fresh=True))
    for tick, base in ((10, None), (20, 10), (30, 20)):
        store.on_store(Store(5, OWNER, checkpoint(tick, base, a=tick), term=7, second=True))

    assert store.tidy() == (True, [])


def test_checkpoints_of_neighbours_are_joined_once_those_of_other_holders_have_come() -> None:
    store = joining(reconfigure=4, successor=9)

    (done,) = answers(store.on_part(Part(2, checkpoint(5, None, b=2))))

    assert done == CutDone(4, 5, lost=False, keys=2)
    assert contents(fetched(store, 9)) == {"a": 1, "b": 2}


def test_a_part_of_another_tick_is_as_good_as_none() -> None:
    (done,) = answers(joining(reconfigure=4, successor=9).on_part(Part(2, checkpoint(6, None, b=2))))

    assert done == CutDone(4, 5, lost=True)


def test_a_join_that_was_called_off_takes_no_part_of_the_next_one() -> None:
    store = joining(reconfigure=4, successor=9)
    store.on_release(Release(1, 9))
    store.on_join(Join(1, 5, 0, 10, 5, ((1, 0), (2, 7))))

    (done,) = answers(store.on_part(Part(2, checkpoint(5, None, b=2))))

    assert done == CutDone(5, 5, lost=False, keys=2)
    assert contents(fetched(store, 10)) == {"a": 1, "b": 2}


def joining(reconfigure: int, successor: int) -> BackupStore:
    """Worker 0, which holds instance 1 at tick 5 and is waiting for what worker 7 holds of instance 2."""
    store = BackupStore()
    store.on_hold(Hold(1, 1, fresh=True))
    store.on_store(Store(1, 3, checkpoint(5, None, a=1)))
    asked = answers(store.on_join(Join(1, reconfigure, 0, successor, 5, ((1, 0), (2, 7)))))
    assert asked == [Fetch(2, 0)]
    return store


def test_a_patient_cut_waits_for_the_next_checkpoint_so_that_little_is_replayed(store: BackupStore) -> None:
    order = Cut(1, 9, 5, ((6, LEFT), (7, RIGHT)), patient=True)

    assert store.on_cut(order) == store.on_cut(order) == []
    told = answers(store.on_store(Store(5, OWNER, checkpoint(30, 20, c=4))))

    assert told == [Stored(5, 30), CutDone(9, 30, lost=False, keys=3)]
    assert contents(fetched(store, 7)) == {"c": 4}


def test_who_has_waited_long_enough_cuts_what_there_is(store: BackupStore) -> None:
    store.on_cut(Cut(1, 9, 5, ((6, ALL),), patient=True))

    told = answers(store.on_cut(Cut(1, 9, 5, ((6, ALL),))))

    assert told == [CutDone(9, 20, lost=False, keys=3)]
    assert answers(store.on_store(Store(5, OWNER, checkpoint(30, 20, a=2)))) == [StoreRefused(5, 30)]


def test_a_cut_that_was_called_off_does_not_happen_with_the_next_checkpoint(store: BackupStore) -> None:
    store.on_cut(Cut(1, 9, 5, ((6, ALL),), patient=True))

    store.on_release(Release(1, 6))

    assert answers(store.on_store(Store(5, OWNER, checkpoint(30, 20, a=2)))) == [Stored(5, 30)]
