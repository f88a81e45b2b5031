"""Keyed, stateful stream processing that survives the death of any of its processes, exactly once."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic import windows
    from elastic.connectors import sinks, sources
    from elastic.operators.base import Context, Operator, Timer, ValueState
    from elastic.operators.states import ListState, MapState
    from elastic.query import Query
    from elastic.report import Report
    from elastic.streams import KeyedStream, Stream, WindowedStream

__all__ = [
    "Context", "KeyedStream", "ListState", "MapState", "Operator", "Query", "Report", "Stream", "Timer", "ValueState",
    "WindowedStream", "sinks", "sources", "windows",
]  # fmt: skip
__version__ = "0.1.0"

if sys.platform == "win32":
    raise ImportError("elastic runs on Linux and macOS; on Windows, use it inside of WSL 2")

# Where each name lives; imported on first use, so that `import elastic` alone costs nothing.
_HOMES = {
    "Context": "elastic.operators.base:Context",
    "KeyedStream": "elastic.streams:KeyedStream",
    "ListState": "elastic.operators.states:ListState",
    "MapState": "elastic.operators.states:MapState",
    "Operator": "elastic.operators.base:Operator",
    "Query": "elastic.query:Query",
    "Report": "elastic.report:Report",
    "Stream": "elastic.streams:Stream",
    "Timer": "elastic.operators.base:Timer",
    "ValueState": "elastic.operators.base:ValueState",
    "WindowedStream": "elastic.streams:WindowedStream",
    "sinks": "elastic.connectors.sinks",
    "sources": "elastic.connectors.sources",
    "windows": "elastic.windows",
}


def __getattr__(name: str) -> Any:
    """The public name, from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'elastic' has no attribute {name!r}")
    home, _, attribute = _HOMES[name].partition(":")
    module = import_module(home)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
