"""The step that reads event time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from elastic.arguments import check_on_error, duration_ms
from elastic.callables import caller, check_function, describe
from elastic.errors import QueryError
from elastic.graph import Graph, Path
from elastic.operators.timestamps import US_PER, Timestamps, Unit
from elastic.plan import EventTime, OnError, Step


def timed(
    graph: Graph,
    paths: Sequence[Path],
    time: Callable[[Any], Any],
    slack: str | None,
    idle: str | None,
    unit: Unit,
    on_error: OnError,
) -> list[Path]:
    """The paths, their rows with event times."""
    check_function("event_time", time)
    if unit not in US_PER:
        raise QueryError(f"{caller()}: event_time(unit={unit!r}): write one of {', '.join(map(repr, US_PER))}")
    check_on_error("event_time", on_error)
    slack_ms = duration_ms("event_time", "slack", slack, "5s") if slack is not None else 0
    idle_ms = duration_ms("event_time", "idle", idle, "30s") if idle is not None else None
    if idle_ms == 0:
        raise QueryError(f"{caller()}: event_time(idle={idle!r}): nobody would be waited for; write idle='30s'")
    found = []
    for path in paths:
        producer, spec = graph.nodes[path.producer], path.event_time
        is_origin = producer.kind == "source"
        if is_origin:
            spec = EventTime(slack_ms, idle_ms)
        elif spec is None:
            raise QueryError(
                f"{caller()}: event_time() begins behind a source, and {producer} has rows without any; "
                "write .event_time(…) right behind the source"
            )
        elif slack is not None or idle is not None:
            raise QueryError(
                f"{caller()}: slack and idle belong to the event_time() behind the source; behind {producer} "
                "event time goes on as it was"
            )
        reading = Timestamps(time, unit, is_origin)
        step = Step("event_time", f"event_time({describe(time)})", reading, graph.next_id(), on_error)
        found.append(replace(path, steps=(*path.steps, step), event_time=spec, has_times=True))
    return found
