"""Which of many lines a parser refuses, where the parser only says that it does.

A parser of columns stops at the first bad line, and seldom says which it was. So lines that it refuses are halved until
each bad one stands alone: two parses of the text in all for a single bad line, and for many at most as many passes as
the number of lines has bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from elastic.connectors.lines import Parsed

Parse = Callable[[Sequence[bytes]], "pa.StructArray | None"]
"""One row for each line; None if it cannot be: then at least one of them is bad, or all of them together are odd."""


def parse_good_lines(lines: Sequence[tuple[int, bytes]], parse: Parse, nothing: pa.StructArray) -> Parsed:
    """The rows of the good lines, and which are the others.

    Args:
        lines: With their numbers; none is empty.
        parse: Of a single line it is the judge.
        nothing: No rows, of the right type.
    """
    parts: list[pa.StructArray] = []
    bad: list[int] = []
    waiting = [(0, len(lines))] if lines else []
    while waiting:
        low, high = waiting.pop()
        rows = parse([line for _, line in lines[low:high]])
        if rows is not None:
            parts.append(rows)
        elif high - low == 1:
            bad.append(lines[low][0])
        else:
            middle = (low + high) // 2
            waiting += [(middle, high), (low, middle)]  # the lower half first: rows keep their order
    return Parsed(pa.concat_arrays(parts) if parts else nothing, len(lines), 0, bad)
