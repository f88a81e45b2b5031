"""Key intervals, the fixed hash and its vectors, and keys that are refused."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.errors import KeyTypeError
from elastic.hashing import not_a_key
from elastic.keys import (
    KeyInterval,
    encode_key,
    even_intervals,
    groups_of,
    hash_column,
    key_group,
    key_hash,
    sort_order,
    tiles,
    unique_nan,
    value_order,
)

#: Never change one: key groups of running jobs, their checkpoints and their sinks depend on them.
VECTORS: list[tuple[Any, int]] = [
    (None, 0x8F1BBCDC5A827999),
    (False, 0xB800BD6C02472607),
    (True, 0xBA1F03598DD83004),
    (0, 0xB800BD6C02472607),
    (1, 0xBA1F03598DD83004),
    (-1, 0xCB30A855101ADE54),
    (2**63 - 1, 0xE679B4F76ACB7A6B),
    (-(2**63), 0xBC002B2C0F525FB5),
    (2**64 - 1, 0xCB30A855101ADE54),
    (2**64, 0x1156352776A583D3),
    (2**64 + 1, 0x25F939584B51981B),
    (-(10**30), 0x0DE83D81C7D0B662),
    (0.5, 0xE50076052A2397FD),
    (-2.0, 0xE3862BB7C0EE30D4),
    (1e300, 0x34F1C98A6776FACF),
    (math.inf, 0x7E8420BC78A61F5E),
    (-math.inf, 0xD89AB6F1735C2EA6),
    (math.nan, 0xE1BEC6C7C7B4F4C5),
    ("", 0x933B81DFD0754ABB),
    ("a", 0x89C51EF2FB0E0575),
    ("word", 0x2E4FA4B673EAD9B1),
    ("eight by", 0x2C38B62847BF05DF),
    ("nine byte", 0xD6CC10859C9DEA6C),
    ("ß€😀", 0x58F734D4B98615DE),
    ("\ud800", 0xCF432D503072BFA4),
    ("x" * 100, 0x913F345196421C7D),
    (b"", 0xD2E9B992AD20E57D),
    (b"a", 0x1B2BF8681918AEF9),
    (b"\0" * 9, 0xA1CB307BC3DD1B8A),
    ((), 0x2C03B6238CC78C01),
    ((None,), 0x070993137A9A6ED0),
    (("a", 1), 0xEFA6AD63E5401FC4),
    (("a", ("b", 2.5)), 0x8396BD9928001E32),
]


@pytest.mark.parametrize(("key", "expected"), VECTORS, ids=repr)
def test_the_hash_of_a_key_is_fixed_for_all_time(key: Any, expected: int) -> None:
    assert f"{key_hash(key):#018x}" == f"{expected:#018x}"


def test_the_hash_does_not_depend_on_the_process() -> None:
    program = "from elastic.keys import key_hash; print(key_hash(('word', 7, b'x', None, 0.5)))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert int(other.stdout) == key_hash(("word", 7, b"x", None, 0.5))


@pytest.mark.parametrize(
    "column",
    [
        [f"user-{i}" for i in range(100_000)],
        [f"{i}" for i in range(100_000)],
        list(range(100_000)),
        [i * 256 for i in range(100_000)],
        [i / 7 for i in range(100_000)],
        [(i % 300, f"{i // 300}") for i in range(100_000)],
        [b"%016d-%016d" % (i % 317, i // 317) for i in range(100_000)],
    ],
    ids=["names", "digits", "ints", "strided", "floats", "tuples", "long"],
)
def test_groups_are_evenly_filled(column: list[Any]) -> None:
    """Chi squared over 256 groups stays under its 1 - 1e-6 quantile (373) for keys that differ in few bits."""
    counts = np.bincount(groups_of(column), minlength=256)
    expected = len(column) / 256

    assert float(((counts - expected) ** 2 / expected).sum()) < 373


def test_no_two_of_a_million_similar_keys_share_a_hash() -> None:
    words = pa.array([f"{a:08d}{b:08d}" for a in range(1000) for b in range(1000)])

    assert len(np.unique(hash_column(words))) == len(words)


@pytest.mark.parametrize(
    "same",
    [
        [1, 1.0, True],
        [0, 0.0, -0.0, False],
        [2**70, float(2**70)],
        [2**63, float(2**63)],
        [-(2**63), float(-(2**63))],
        [(1, ("a", 0)), (1.0, ("a", False))],
        [math.nan, float("nan"), -math.nan],
        [(math.nan, 1), (float("nan"), True)],
    ],
    ids=repr,
)
def test_keys_that_python_calls_equal_are_one_key(same: list[Any]) -> None:
    assert len({key_hash(key) for key in same}) == 1
    assert len({encode_key(key) for key in same}) == 1
    assert len(set(hash_column(same).tolist())) == 1
    assert len({unique_nan(key) for key in same}) == 1


def test_keys_of_different_type_that_look_alike_are_different_keys() -> None:
    alike = [None, 0, "", b"", (), "0", b"0", ("0",), (None,), "a\0", "a", ("a", ""), ("a\0",), ("", "a"), (("a",), "")]

    assert len({encode_key(key) for key in alike}) == len(alike)
    assert len({key_hash(key) for key in alike}) == len(alike)


@pytest.mark.parametrize(
    "bad", [["a"], {"a": 1}, {1}, pytest.param(object(), id="object"), 1j, ("a", ["b"]), bytearray(b"x")], ids=repr
)
def test_a_key_of_another_type_is_refused_with_what_to_do(bad: Any) -> None:
    for refuse in (key_hash, encode_key, lambda key: groups_of(["a", key]), lambda key: groups_of([key, key])):
        with pytest.raises(KeyTypeError, match="keys are None, bool, int, float, str, bytes and tuples of them"):
            refuse(bad)


def test_an_array_of_a_type_that_is_no_key_is_refused() -> None:
    with pytest.raises(KeyTypeError, match=r"\{'user': 1\} cannot be a key or part of one, since it is a dict"):
        groups_of(pa.array([{"user": 1}]))


def test_a_key_type_error_survives_pickling_even_if_its_key_does_not() -> None:
    error = not_a_key(lambda: None)

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_lone_surrogate_is_a_key_like_any_other() -> None:
    assert key_group("\ud800") == groups_of(["\ud800", "a"]).tolist()[0]


def test_empty_columns_have_no_groups_and_no_order() -> None:
    types = (pa.string(), pa.int64(), pa.null(), pa.bool_(), pa.large_binary())
    columns: list[Any] = [[], *(pa.array([], dtype) for dtype in types)]
    for empty in columns:
        assert groups_of(empty).tolist() == []
        assert sort_order(np.empty(0, np.uint16), empty).tolist() == []
        assert value_order(empty).tolist() == []


def test_keys_are_ordered_by_value_as_none_numbers_text_bytes_tuples() -> None:
    keys = [("a",), b"a", "é", "z", "a", math.nan, math.inf, 2**80, 1.5, True, -(10**400), -math.inf, None]

    ordered = [keys[i] for i in value_order(keys)]

    assert ordered[:5] == [None, -math.inf, -(10**400), True, 1.5]
    assert ordered[5:7] == [2**80, math.inf]
    assert math.isnan(ordered[7])
    assert ordered[8:] == ["a", "z", "é", b"a", ("a",)]


def test_intervals_know_what_they_contain_and_overlap() -> None:
    interval = KeyInterval(10, 20)

    assert interval.contains(10)
    assert not interval.contains(20)
    assert interval.overlaps(KeyInterval(19, 30))
    assert not interval.overlaps(KeyInterval(20, 30))
    assert not interval.overlaps(KeyInterval(15, 15))


def test_tiles_sees_gaps_overlaps_and_what_sticks_out() -> None:
    span = KeyInterval(0, 10)

    assert tiles([KeyInterval(5, 10), KeyInterval(0, 5)], span)
    assert not tiles([KeyInterval(0, 4), KeyInterval(5, 10)], span)
    assert not tiles([KeyInterval(0, 6), KeyInterval(5, 10)], span)
    assert not tiles([KeyInterval(0, 5), KeyInterval(5, 11)], span)
    assert not tiles([KeyInterval(0, 5)], span)
    assert not tiles([], span)


def test_more_intervals_than_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 key groups cannot be cut into 3 intervals"):
        even_intervals(3, 2)
