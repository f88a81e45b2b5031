"""The step that looks rows up in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from elastic.callables import caller, check_function, check_shippable, shortened
from elastic.errors import QueryError
from elastic.functions import row_form
from elastic.operators.lookup import How, Lookup


def looked_up(
    table: Mapping[Any, Any], key: Callable[[Any], Any], function: Callable[[Any, Any], Any] | None, how: How
) -> Lookup:
    """The function of a step that gives each row with what a table has for it."""
    if not isinstance(table, Mapping):
        raise QueryError(
            f"{caller()}: lookup() takes a dict, such as sources.table('rates.csv', key='currency') reads, "
            f"not {shortened(table)}; to join with another stream write key_by(…).join(…)"
        )
    check_function("lookup", key)
    if function is not None:
        check_function("lookup", function, called="a row and what the table has for it", arguments=2)
    if how not in get_args(How):
        raise QueryError(f"{caller()}: lookup(how={how!r}): write 'inner' or 'left'")
    check_shippable("lookup", table)
    return Lookup(dict(table), row_form(key), function, how)
