"""Versions of D-Stream state: what they are made of, when a whole one is due, what may be dropped, their files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstream.versions import Chain, Version, Versions, Weight, whole
from dstream.worker.state_files import StateFiles
from elastic.batch import rows
from elastic.state.folding import MAX_DELTAS
from elastic.state.processing import StateTable

HERE = (2, 7)


def table(counts: dict[str, int], gone: tuple[str, ...] = ()) -> StateTable:
    keys = pa.array(list(counts), pa.string())
    fields = {"count": pa.array(list(counts.values()), pa.int64())}
    groups = np.zeros(len(counts), np.uint16)
    if not gone:
        return StateTable(groups, keys, fields)
    return StateTable(groups, keys, fields, np.zeros(len(gone), np.uint16), pa.array(gone, pa.string()))


def counts(version: Version) -> dict[str, int]:
    assert version.table is not None
    return dict(zip(rows(version.table.keys), rows(version.table.fields["count"]), strict=True))


CHANGES = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), max_size=3), st.sampled_from(["", "a", "d"])),
    min_size=1, max_size=8,
)  # fmt: skip


@given(CHANGES)
def test_a_whole_version_and_deltas_come_to_what_was_written(changes: list[tuple[dict[str, int], str]]) -> None:
    expected: dict[str, int] = {}
    links: list[Version] = []
    for interval, (written, gone) in enumerate(changes):
        dropped = (gone,) if gone and gone not in written else ()
        expected = {k: v for k, v in {**expected, **written}.items() if k not in dropped}
        base = interval - 1 if interval else None
        links.append(Version(table(written, dropped if interval else ()), interval, base))

    found = whole(links)

    assert counts(found) == expected
    assert (found.common, found.base) == (len(changes) - 1, None)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 12))
def test_what_versions_from_a_floor_on_are_made_of_is_never_dropped(wholes: list[bool], floor: int) -> None:
    chain = Chain()
    for interval, is_whole in enumerate(wholes, 1):
        assert chain.add(interval, None if is_whole or interval == 1 else interval - 1)
    before = {interval: chain.links(interval) for interval in chain if interval >= floor}

    dropped = chain.drop_below(floor)

    assert {interval: chain.links(interval) for interval in before} == before
    assert all(interval < floor for interval in dropped)
    assert len([base for i in chain if i <= floor and (base := chain.base(i)) is None]) <= 1


def test_a_delta_without_its_base_is_refused() -> None:
    versions = Versions()
    assert versions.put(HERE, 2, Version(table({"a": 1})))

    assert not versions.put(HERE, 6, Version(table({"a": 3}), base=4))
    assert versions.put(HERE, 4, Version(table({"b": 2}), base=2))
    assert versions.put(HERE, 6, Version(table({"a": 3}), base=4))
    assert counts(whole([version for _, version in versions.get(HERE, 6)])) == {"a": 3, "b": 2}
    assert versions.get(HERE, 5) == versions.get((2, 8), 2) == []


def test_a_whole_version_is_due_first_and_when_deltas_outweigh_the_last_one() -> None:
    weight = Weight()
    assert weight.is_due
    weight.cut(1, Version(table({str(n): n for n in range(100)})))
    small = Version(table({str(n): n for n in range(40)}), base=1)

    due = [weight.is_due]
    for interval in (2, 3, 4):
        weight.cut(interval, small)
        due.append(weight.is_due)

    assert due == [False, False, False, True]


def test_a_whole_version_is_due_after_very_many_deltas_however_small() -> None:
    weight = Weight()
    weight.cut(1, Version(table({str(n): n for n in range(100)})))
    for interval in range(MAX_DELTAS):
        assert not weight.is_due
        weight.cut(interval + 2, Version(table({}), base=interval + 1))

    assert weight.is_due


@pytest.mark.parametrize("sync", [False, True])
def test_files_give_back_what_was_written_and_forget_what_is_needed_no_more(tmp_path: Path, *, sync: bool) -> None:
    files, other = StateFiles(tmp_path, sync=sync), StateFiles(tmp_path)
    for interval, version in [
        (10, Version(table({"a": 1}))),
        (20, Version(table({"b": 2}), base=10)),
        (30, Version(table({"b": 3}))),
        (40, Version(table({"c": 4}, ("b",)), {"seen": 4}, base=30)),
    ]:
        assert files.write(*HERE, interval, version) > 0
    (tmp_path / f"2-7-50.{os.getpid()}.partial").touch()

    assert counts(whole([v for _, v in other.read(HERE, 20)])) == {"a": 1, "b": 2}
    assert [interval for interval, _ in other.read(HERE)] == [30, 40]
    found = whole([v for _, v in other.read(HERE, 40)])
    assert (counts(found), found.common) == ({"c": 4}, {"seen": 4})

    other.drop_below([HERE], [0, 0, 35])

    assert [interval for interval, _ in files.read(HERE, 40)] == [30, 40]
    assert files.read(HERE, 20) == files.read((2, 8)) == []
    assert len(list(tmp_path.glob("*.state"))) == 2
    assert files.size_bytes(HERE) == sum(path.stat().st_size for path in tmp_path.glob("*.state"))


def test_of_two_files_of_one_interval_the_whole_one_counts(tmp_path: Path) -> None:
    """An incarnation that was replaced may still write its delta, whose base is gone by then."""
    files = StateFiles(tmp_path)
    files.write(*HERE, 20, Version(table({"a": 2})))
    files.write(*HERE, 20, Version(table({"a": 2}), base=10))

    assert [version.base for _, version in files.read(HERE, 20)] == [None]
