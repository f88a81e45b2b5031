"""Where a query's records come from: text files, seeded records, rows in memory."""

from __future__ import annotations

from elastic.connectors.base import Chunk, Partition, Rate, Reader, Source
from elastic.connectors.from_list import from_list
from elastic.connectors.generator import generator
from elastic.connectors.text_files import text_files

__all__ = ["Chunk", "Partition", "Rate", "Reader", "Source", "from_list", "generator", "text_files"]
