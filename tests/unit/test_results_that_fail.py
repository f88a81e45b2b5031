"""An aggregate of which the user's ``result`` makes nothing: left out or diverted by policy, and the others come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dstream.testing import simulator as streams
from elastic import Query, sinks, sources, windows
from elastic.functions import field
from elastic.plan import OnError, Settings
from elastic.streams import KeyedStream, Stream
from elastic.testing import simulator
from elastic.windows import WindowSpec

SMALL = Settings(tick_ms=10, checkpoint_ms=60, key_groups=16)
ROWS = [{"user": "abcdef"[n * n % 7 % 6], "ok": int(n % 5 == 0), "at": n} for n in range(90)]
"""A user's share of good rows cannot be told where there are none."""


def add(so_far: list[int], row: Any) -> list[int]:
    so_far[0] += 1
    so_far[1] += row["ok"]
    return so_far


def per_good_one(so_far: list[int]) -> float:
    return so_far[0] / so_far[1]


def merge(one: list[int], other: list[int]) -> list[int]:
    return [one[0] + other[0], one[1] + other[1]]


FUNCTIONS: dict[str, Any] = {"init": lambda: [0, 0], "add": add, "merge": merge, "result": per_good_one}


def built(windowing: WindowSpec | None, on_error: OnError) -> Query:
    query = Query("q")
    rows = query.source(sources.from_list(ROWS, rate="300/s"))
    found: Stream
    if windowing is None:
        found = keyed(rows).aggregate(**FUNCTIONS, emit="50ms", on_error=on_error)
    else:
        timed = keyed(rows.event_time(field("at"), slack="3s"))
        found = timed.window(windowing).aggregate(**FUNCTIONS, on_error=on_error)
    found.sink(sinks.discard(), name="K")
    if on_error == "divert":
        found.output("errors").sink(sinks.discard(), name="E")
    return query


def keyed(rows: Stream) -> KeyedStream:
    return rows.key_by(field("user"))


def taken(result: Any, sink: str) -> list[Any]:
    return [row for _, tick in sorted(result.sinks.get(sink, {}).items()) for row in tick]


WINDOWS = pytest.mark.parametrize(
    "windowing", [None, windows.tumbling("6s"), windows.sliding("6s", "2s"), windows.session("2s")],
    ids=["none", "tumbling", "sliding", "session"],
)  # fmt: skip


@WINDOWS
@pytest.mark.parametrize("simulate", [simulator.simulate, streams.simulate], ids=["elastic", "dstream"])
def test_what_has_no_result_is_diverted_once_whatever_fails_under_both_models(
    windowing: WindowSpec | None, simulate: Callable[..., Any]
) -> None:
    kept = simulate(built(windowing, "divert"), 0, faults=0, settings=SMALL)
    good, bad = taken(kept, "K"), taken(kept, "E")

    assert good
    assert bad
    assert {row["cause"] for row in bad} == {"ZeroDivisionError: division by zero"}
    assert {row["line"] for row in bad} == {f"test_results_that_fail.py:{per_good_one.__code__.co_firstlineno + 1}"}
    if windowing is not None:
        accounts = {(row["key"], row["record"]["start"], row["record"]["end"]): row["record"]["value"] for row in bad}
        assert len(accounts) == len(bad), "each window of a key once"
        assert accounts.keys().isdisjoint((row["key"], row["start"], row["end"]) for row in good)
        for (user, start, end), (count, ok) in accounts.items():
            inside = [row for row in ROWS if row["user"] == user and start <= int(str(row["at"])) < end]
            assert (count, ok) == (len(inside), 0)
    for seed in range(4):
        broken = simulate(built(windowing, "divert"), seed, settings=SMALL)
        assert (broken.status, broken.wrong, broken.error) == ("done", None, None)


@WINDOWS
def test_what_has_no_result_is_skipped_counted_and_the_others_are_the_same(windowing: WindowSpec | None) -> None:
    skipped = simulator.simulate(built(windowing, "skip"), 1, faults=0, settings=SMALL)
    diverted = simulator.simulate(built(windowing, "divert"), 1, faults=0, settings=SMALL)

    assert taken(skipped, "K") == taken(diverted, "K")


def pages(key: Any, values: list[Any], window: windows.Window) -> Any:
    for row in values:
        yield key, row["at"], 1 // row["ok"]


def applied(on_error: OnError) -> Query:
    query = Query("q")
    rows = keyed(query.source(sources.from_list(ROWS, rate="300/s")).event_time(field("at"), slack="3s"))
    found = rows.window(windows.tumbling("2s")).apply(pages, on_error=on_error)
    found.sink(sinks.discard(), name="K")
    if on_error == "divert":
        found.output("errors").sink(sinks.discard(), name="E")
    return query


@pytest.mark.parametrize("simulate", [simulator.simulate, streams.simulate], ids=["elastic", "dstream"])
def test_of_a_window_on_which_its_function_fails_nothing_is_emitted_and_its_rows_are_told(
    simulate: Callable[..., Any],
) -> None:
    kept = simulate(applied("divert"), 0, faults=0, settings=SMALL)
    good, bad = [at for _, at, _ in taken(kept, "K")], taken(kept, "E")

    assert good
    assert all(any(not row["ok"] for row in failed["record"]["value"]) for failed in bad)
    told = [row["at"] for failed in bad for row in failed["record"]["value"]]
    assert sorted([*good, *told]) == list(range(90)), "each row once: emitted, or told of with its window"
    for seed in range(3):
        broken = simulate(applied("divert"), seed, settings=SMALL)
        assert (broken.status, broken.wrong, broken.error) == ("done", None, None)
    skipped = simulate(applied("skip"), 0, faults=0, settings=SMALL)
    assert taken(skipped, "K") == taken(kept, "K")


def test_without_a_policy_the_job_ends_with_the_key_and_the_line() -> None:
    ended = simulator.simulate(built(None, "fail"), 0, faults=0, settings=SMALL)

    assert ended.status == "failed"
    assert "return so_far[0] / so_far[1]" in str(ended.error)
    assert "accumulator" not in str(ended.error)


def test_a_key_without_a_result_has_one_again_once_its_rows_allow_it() -> None:
    query = Query("q")
    rows = query.source(sources.from_list([{"user": "a", "ok": n // 3} for n in range(6)], rate="100/s"))
    found = keyed(rows).aggregate(**FUNCTIONS, emit="tick", on_error="skip")
    found.sink(sinks.discard(), name="K")

    result = simulator.simulate(query, 0, workers=1, faults=0, settings=SMALL)

    assert taken(result, "K")[-1] == ("a", 2.0), "of six rows, three of them good; the first three count too"


@pytest.mark.parametrize("windowing", [windows.tumbling("100s"), windows.session("100s")], ids=["tumbling", "session"])
def test_a_window_whose_first_rows_all_failed_is_emitted_with_those_that_came_later(windowing: WindowSpec) -> None:
    query = Query("q")
    rows = query.source(sources.from_list([{"v": n or "bad", "at": n} for n in range(6)], rate="100/s"))
    timed = rows.event_time(field("at"), slack="50s").key_by(lambda _: 1)
    timed.window(windowing).sum(field("v"), on_error="skip").sink(sinks.discard(), name="K")

    result = simulator.simulate(query, 0, workers=1, faults=0, settings=SMALL)

    assert [row["value"] for row in taken(result, "K")] == [15]
