"""What a query has to be for the D-Streams model to run it."""

from __future__ import annotations

from typing import Any

import pytest

from dstream.model import cut
from elastic import Operator, Query, sinks, sources, windows
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.scenario.models import DStream


class Rules(Operator):
    """Has a broadcast input."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Any:
        yield key, value

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: Any) -> None:
        shared[value] = True


def test_a_query_with_event_time_is_refused_with_the_operator() -> None:
    query = Query("timed")
    timed = query.source(sources.from_list([1, 2])).event_time(identity())
    timed.key_by().window(windows.tumbling("1s")).count(name="W").sink(sinks.discard())

    with pytest.raises(QueryError, match="operator 'W' is given rows with event time"):
        cut(query.plan(workers=1), 1, DStream())


def test_a_query_that_broadcasts_is_refused_with_the_operator() -> None:
    query = Query("rules")
    rules = query.source(sources.from_list([1]), name="rules")
    rows = query.source(sources.from_list([1]), name="rows").key_by()
    rows.union(rules.broadcast()).apply(Rules()).sink(sinks.discard())

    with pytest.raises(QueryError, match="operator 'Rules' has a broadcast stream, which the model dstream cannot"):
        cut(query.plan(workers=2), 2, DStream())
