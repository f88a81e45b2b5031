from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors.claims import Claim, advanced, committed, opened
from elastic.connectors.commit_log import CommitLog, CommitLogReader
from elastic.errors import FencedError
from elastic.keys import KeyInterval, tiles

GROUPS = 12
ALL = KeyInterval(0, GROUPS)
intervals = st.tuples(st.integers(0, GROUPS - 1), st.integers(1, GROUPS)).map(
    lambda bounds: KeyInterval(min(bounds), max(bounds) + (bounds[0] == bounds[1]))
)
calls = st.lists(
    st.tuples(st.sampled_from(["open", "commit"]), intervals, st.integers(1, 5), st.integers(1, 40)), max_size=25
)


def by_group(claims: list[Claim]) -> dict[int, tuple[int, int]]:
    """Generation and tick of each group, the long way round."""
    return {g: (c.generation, c.tick) for c in claims for g in range(*c.interval)}


@given(calls)
def test_claims_over_intervals_are_what_every_group_would_keep_for_itself(
    calls: list[tuple[str, KeyInterval, int, int]],
) -> None:
    """Whatever intervals are split, joined and overlapped, and whoever is too late."""
    claims, model = list[Claim](), dict[int, tuple[int, int]]()
    for kind, interval, generation, tick in calls:
        groups = range(*interval)
        refused = any(model.get(g, (0, 0))[0] > generation for g in groups)
        try:
            if kind == "open":
                claims = opened(claims, interval, generation)
            else:
                claims = advanced(claims, interval, generation, tick)
        except FencedError:
            assert refused
            continue
        assert not refused
        for g in groups:
            if kind == "open":
                model[g] = generation, model.get(g, (0, 0))[1]
            elif g in model:  # what nobody has opened is not committed either
                model[g] = generation, max(model[g][1], tick)

        assert by_group(claims) == model
        assert all(one.interval.high <= other.interval.low for one, other in pairwise(claims))
        if kind == "open":
            pieces = committed(claims, interval)
            assert tiles([piece for piece, _ in pieces], interval)
            assert all(model[g][1] == tick for piece, tick in pieces for g in range(*piece))


def newest(commits: Iterable[tuple[KeyInterval, int, int]]) -> dict[tuple[KeyInterval, int], int]:
    """The last commit of every writer."""
    return {(interval, generation): number for interval, generation, number in commits}


@given(calls=calls, torn=st.integers(0, 4), segment_bytes=st.sampled_from([1, 100, 400, 10_000]), keep=st.booleans())
def test_every_reader_of_a_commit_log_agrees_with_what_its_writers_were_told(
    *, calls: list[tuple[str, KeyInterval, int, int]], torn: int, segment_bytes: int, keep: bool
) -> None:
    """Also where a killed process has left the beginning of a record behind every ``torn``-th call.

    And however short its segments are, so that writers find theirs ended, and deleted.
    """
    with TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        writers, told = list[tuple[CommitLog, KeyInterval, int]](), list[tuple[KeyInterval, int, int]]()
        follower, followed = CommitLogReader(path, whole=True), list[int]()
        for number, (kind, interval, generation, tick) in enumerate(calls):
            if torn and number % (torn + 1) == torn:
                for segment in Path(directory).iterdir():
                    with segment.open("ab") as file:
                        file.write(b'\n01234567 [1,"commit",0,12,')
            try:
                if kind == "open":
                    log = CommitLog(path, interval, generation, keep=keep, segment_bytes=segment_bytes)
                    writers.append((log, interval, generation))
                    assert newest((e.interval, e.generation, e.payload) for e in log.commits) == newest(told)
                elif writers:
                    log, *writer = writers[tick % len(writers)]
                    log.commit(tick, number)
                    told.append((*writer, number))  # type: ignore[arg-type]
            except FencedError:
                pass
            followed += [entry.payload for entry in follower.read()]

        reader = CommitLogReader(path)
        assert newest((e.interval, e.generation, e.payload) for e in reader.read()) == newest(told)
        if keep:
            assert followed == [number for _, _, number in told]
        elif segment_bytes == 1:
            assert len(list(Path(directory).iterdir())) <= 1
        for log, interval, generation in writers:
            if by_group(reader.claims).get(interval.low, (0, 0))[0] > generation:
                with pytest.raises(FencedError):
                    log.commit(99, None)
            log.close()
