"""What the codec refuses, and in which words; what it copies and what it does not."""

from __future__ import annotations

import enum
import pickle
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch
from elastic.errors import UserError
from elastic.fingerprint import fingerprint
from elastic.wire.codec import WIRE_VERSION, Codec, WireError


class Phase(enum.Enum):
    RUNNING = 1


@dataclass(frozen=True, slots=True)
class Report:
    phase: Phase
    rows: Any


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@dataclass(frozen=True)
class Money:
    """A user's value: known to pickle, not to the codec."""

    cents: int
    tags: tuple[str, ...] = ()


private = Codec([Report, Nothing, Phase], trusted=True)
public = Codec([Report, Nothing, Phase], trusted=False)


def batch_of(values: Any) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, values)


def test_a_message_of_another_wire_version_is_refused_with_both_versions() -> None:
    header, *_ = private.encode(Nothing())

    with pytest.raises(WireError, match=rf"wire version {WIRE_VERSION + 1}.*speaks version {WIRE_VERSION}"):
        private.decode([bytes([WIRE_VERSION + 1]) + bytes(header)[1:]])


@pytest.mark.parametrize(
    "frames", [[b""], [bytes([WIRE_VERSION])], [bytes([WIRE_VERSION, 0xC1])], [b"\x01\xd4\x00\x07"]]
)
def test_noise_is_refused_as_no_message(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        private.decode(frames)


def test_a_message_type_that_is_not_registered_is_named() -> None:
    frames = Codec([Report], trusted=True).encode(Report(Phase.RUNNING, 1))

    with pytest.raises(WireError, match="unknown type 'Report'"):
        Codec([Nothing], trusted=True).decode(frames)


def test_two_message_types_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two message types are called Nothing"):
        Codec([Nothing, dataclass(type("Nothing", (), {}))], trusted=True)


@pytest.mark.parametrize("content", [Money(1), batch_of([Money(1)])])
def test_nothing_is_unpickled_on_a_channel_that_is_not_private(content: Any) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            raise AssertionError

    with pytest.raises(WireError, match="not private"):
        public.decode(private.encode(Report(Phase.RUNNING, content)))


def test_typed_batches_cross_a_channel_that_is_not_private() -> None:
    sent = Report(Phase.RUNNING, batch_of(pa.array(["a", "b"])))

    received = public.decode(public.encode(sent))

    assert received.phase is Phase.RUNNING
    assert received.rows.values == sent.rows.values


def test_an_array_that_reaches_out_of_its_frame_is_refused_on_a_channel_that_is_not_private() -> None:
    header, body = public.encode(batch_of(pa.array(["word"] * 1000)))
    offsets = bytes(body).index((4).to_bytes(4, "little") + (8).to_bytes(4, "little"))
    broken = bytearray(body)
    broken[offsets + 400 : offsets + 404] = (2**31 - 1).to_bytes(4, "little")

    with pytest.raises(WireError, match="malformed"):
        public.decode([header, bytes(broken)])


def test_a_value_that_cannot_be_pickled_is_named_by_its_type() -> None:
    with pytest.raises(UserError, match=r"type _thread\.lock cannot be sent.*cannot pickle"):
        private.encode(batch_of(["fine", (1, {"lock": threading.Lock()})]))


def test_a_value_that_cannot_be_unpickled_is_the_users_error() -> None:
    class Local:
        pass

    frames = private.encode(Report(Phase.RUNNING, [Money(1)]))
    broken = bytes(frames[0]).replace(b"Money", b"Honey")

    with pytest.raises(UserError, match=r"AttributeError.*Honey"):
        private.decode([broken])
    with pytest.raises(UserError, match=r"Local cannot be sent.*top level"):
        private.encode(Local())


def test_a_value_that_contains_itself_arrives() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    received = private.decode(private.encode(batch_of([loop, "x"]))).values[0]

    assert received[1] is received


def test_a_slice_is_sent_without_the_rest_of_its_buffers() -> None:
    words, numbers = pa.array(["word"] * 100_000), pa.array(range(100_000))

    frames = private.encode(Report(Phase.RUNNING, [words[5:9], numbers[5:9]]))

    assert sum(len(f) for f in frames) < 2000


def test_decoded_arrays_refer_to_the_received_frame() -> None:
    sent = private.encode(batch_of(pa.array(range(1000))))
    frame = bytes(sent[1])

    batch = private.decode([sent[0], frame])

    start = np.frombuffer(frame, np.uint8).ctypes.data
    for address in (batch.values.buffers()[1].address, batch.groups.ctypes.data):
        assert start <= address < start + len(frame)


def test_large_bytes_are_sent_as_the_object_they_are() -> None:
    content = bytes(5000)

    frames = private.encode(Report(Phase.RUNNING, content))

    assert frames[1] is content
    assert private.decode(frames).rows is content


def test_a_checkpoint_of_a_long_stall_has_more_frames_than_two_bytes_can_count() -> None:
    content, batch = bytes(2000), batch_of(["word" * 10] * 100)

    frames = private.encode(Report(Phase.RUNNING, ((content,) * 70_000, batch)))
    contents, found = private.decode(frames).rows

    assert len(frames) > 70_000
    assert all(each is content for each in contents)
    assert found.values == batch.values


def test_stored_data_that_was_cut_off_is_refused() -> None:
    data = private.pack(Report(Phase.RUNNING, bytes(5000)))

    for end in (0, 4, 12, 100, len(data) - 8):
        with pytest.raises(WireError):
            private.unpack(data[:end])
    assert private.unpack(data).rows == bytes(5000)


def test_a_fingerprint_ignores_what_lies_under_a_null() -> None:
    validity = pa.py_buffer(b"\x05")
    one = pa.Array.from_buffers(pa.int64(), 3, [validity, pa.array([1, 2, 3]).buffers()[1]])
    other = pa.Array.from_buffers(pa.int64(), 3, [validity, pa.array([1, 9, 3]).buffers()[1]])

    assert fingerprint(batch_of(one)) == fingerprint(batch_of(other)) == fingerprint(batch_of([1, None, 3]))


def test_a_fingerprint_ignores_the_order_in_which_a_set_was_filled() -> None:
    one, other = {"t": [set(range(0, 800, 8))]}, {"t": [set(range(792, -1, -8))]}
    assert pickle.dumps(one) != pickle.dumps(other)

    assert fingerprint(batch_of([one])) == fingerprint(batch_of([other]))


@pytest.mark.parametrize("others", [[1.0, 2], [True, 2], ["1", 2], [(1,), 2], [2, 1]])
def test_a_fingerprint_tells_values_apart_by_type_and_order(others: list[Any]) -> None:
    assert fingerprint(batch_of([1, 2])) != fingerprint(batch_of(others))


def test_a_fingerprint_tells_keys_from_values_and_groups() -> None:
    zeros, ones, column = np.zeros(2, np.uint16), np.ones(2, np.uint16), pa.array([1, 2])

    batches = [Batch(zeros, column, None), Batch(zeros, None, column), Batch(ones, column, None)]

    assert len({fingerprint(b) for b in [*batches, Batch(zeros, column, None, partial=True)]}) == 4


def test_fingerprints_stay_the_same_over_releases() -> None:
    """They are kept in checkpoints and compared after a restart."""
    groups = np.array([0, 1, 7], np.uint16)

    assert fingerprint(Batch(groups, pa.array(["a", "bc", None]), pa.array([1, 2, 3]))) == 17_831_708_666_134_227_259
    assert fingerprint(Batch(groups, None, [(1, "a"), {"b": 2.5}, None])) == 4_009_309_672_058_696_971
