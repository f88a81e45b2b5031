"""Discretized Streams: the stream cut into intervals, each a job of deterministic tasks over immutable datasets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from elastic.ours import add_ours

if TYPE_CHECKING:
    from dstream.context import StreamingContext
    from dstream.listeners import BatchInfo, OutputInfo, ReceiverInfo, StreamingListener
    from dstream.rdd import RDD
    from dstream.stream import DStream, StateStream

__all__ = [
    "RDD", "BatchInfo", "DStream", "OutputInfo", "ReceiverInfo", "StateStream", "StreamingContext", "StreamingListener",
]  # fmt: skip

add_ours(__file__)

# Where each name lives; imported on first use, so that workers load what they need.
_HOMES = {
    "RDD": "dstream.rdd",
    "BatchInfo": "dstream.listeners",
    "OutputInfo": "dstream.listeners",
    "ReceiverInfo": "dstream.listeners",
    "StreamingListener": "dstream.listeners",
    "DStream": "dstream.stream",
    "StateStream": "dstream.stream",
    "StreamingContext": "dstream.context",
}


def __getattr__(name: str) -> Any:
    """The public name, from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dstream' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
