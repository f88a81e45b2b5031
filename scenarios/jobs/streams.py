"""Programs over DStreams that the scenarios run: sliding counts, sessions with time-outs, a filter by static data."""

from __future__ import annotations

import heapq
import json
import operator
import random
from collections.abc import Iterable, Iterator
from typing import Any

from dstream import DStream, StreamingContext
from elastic import sinks, sources
from elastic.functions import split
from elastic.scenario.verify import JobResult


def word_count(paths: list[str], rate: str, window: str, slide: str) -> StreamingContext:
    """How often each word was there in the last ``window``, told every ``slide``, and the most that it ever was."""
    context = StreamingContext("500ms", name="dstream-word-count", checkpoint=4)
    words = context.text_files(paths, rate=rate).flat_map(split())
    counts = words.count_by_value_and_window(window, slide)
    counts.map_partitions(five_largest).map(under_none).group_by_key().flat_map(five_of_all).pprint(5)
    counts.running_reduce(max, name="most").save(sinks.discard())
    return context


def five_largest(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return heapq.nlargest(5, pairs, key=by_count)


def under_none(pair: tuple[str, int]) -> tuple[None, tuple[str, int]]:
    return None, pair


def five_of_all(group: tuple[None, list[tuple[str, int]]]) -> list[tuple[str, int]]:
    return five_largest(group[1])


def events(users: int, count: int, seed: int) -> list[tuple[str, str]]:
    """(user, event): users join, click, and mostly leave; some just fall silent."""
    chance = random.Random(seed)
    inside: set[str] = set()
    found = []
    for _ in range(count):
        user = f"user-{chance.randrange(users)}"
        if user not in inside:
            inside.add(user)
            found.append((user, "join"))
        elif chance.random() < 0.3:
            inside.discard(user)
            found.append((user, "leave"))
        else:
            found.append((user, "click"))
    return found


def opened(_: str, event: str) -> int | None:
    return None if event == "leave" else 1


def went_on(_: str, clicks: int, event: str) -> int | None:
    return None if event == "leave" else clicks + 1


def sessions(users: int, count: int, rate: str, timeout: str) -> StreamingContext:
    """How many sessions are open, and their events, after every interval; one without events for long is over."""
    context = StreamingContext("200ms", name="sessions", checkpoint=5)
    stream = context.source(sources.from_list(events(users, count, seed=7), rate=rate), name="events")
    tracked = stream.track(opened, went_on, timeout, name="sessions")
    totals = tracked.snapshots().map_values(with_one).map(second).reduce(both)
    totals.save(sinks.json_lines(".elastic/sessions-open", columns=("sessions", "events")), name="open")
    return context


def open_sessions(result: JobResult) -> Iterator[str]:
    """How many sessions were open at the same time, at most."""
    found = [json.loads(row) for row in result.sinks["open"]]
    yield f"at most {max(row['sessions'] for row in found)} sessions were open at once"


def with_one(clicks: int) -> tuple[int, int]:
    return 1, clicks


def second(pair: tuple[str, tuple[int, int]]) -> tuple[int, int]:
    return pair[1]


def both(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


SENDERS = [f"sender-{n}" for n in range(200)]
SPAMMERS = dict.fromkeys(SENDERS[::7], "reported")


def mails(count: int, seed: int) -> list[tuple[str, str]]:
    """(sender, subject)."""
    chance = random.Random(seed)
    return [(chance.choice(SENDERS), f"subject {chance.randrange(50)}") for _ in range(count)]


def wanted(stream: Any) -> Any:
    """Those whose sender nobody has reported: the same code for a stream and for history."""
    return stream.filter(is_wanted).map_values(first)


def is_wanted(row: tuple[str, tuple[str, str | None]]) -> bool:
    return row[1][1] is None


def first(pair: tuple[str, str | None]) -> str:
    return pair[0]


def spam_filter(count: int, rate: str) -> StreamingContext:
    """Mails of senders who are not in a static set, counted by subject."""
    context = StreamingContext("200ms", name="spam-filter", checkpoint=5)
    spammers = context.parallelize(SPAMMERS.items())
    stream: DStream = context.source(sources.from_list(mails(count, seed=3), rate=rate), name="mails")
    kept = wanted(stream.left_outer_join(spammers))
    by_subject = kept.map(second_as_key).reduce_by_key(operator.add)
    by_subject.running_reduce(operator.add, name="subjects").pprint(5)
    return context


def second_as_key(pair: tuple[str, str]) -> tuple[str, int]:
    return pair[1], 1


def history(result: JobResult) -> Iterator[str]:
    """The same over all mails at once, as RDDs in the command's own process."""
    context = StreamingContext(name="history")
    received = context.parallelize(mails(result.parameters["count"], seed=3))
    kept = wanted(received.left_outer_join(context.parallelize(SPAMMERS.items())))
    yield f"history: {kept.count()} of {received.count()} mails are wanted"
    for subject, n in kept.map(second_as_key).reduce_by_key(operator.add).top(3, key=by_count):
        yield f"  {n} {subject}"


def by_count(pair: tuple[str, int]) -> tuple[int, str]:
    return pair[1], pair[0]
