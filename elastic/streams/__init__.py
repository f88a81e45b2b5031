"""What users write on: streams without keys, with keys, and cut into windows."""

from elastic.streams.base import diverted, named_outputs
from elastic.streams.connected import ConnectedStreams
from elastic.streams.keyed import KeyedStream
from elastic.streams.plain import Stream
from elastic.streams.windowed import WindowedStream

__all__ = ["ConnectedStreams", "KeyedStream", "Stream", "WindowedStream", "diverted", "named_outputs"]
