"""Where a query's records come from: files, connections, seeded records, rows in memory; and what a source keeps."""

from __future__ import annotations

from elastic.connectors.base import Chunk, Malformed, Partition, Rate, Reader, Source
from elastic.connectors.from_list import from_list
from elastic.connectors.generator import generator
from elastic.connectors.parquet_files import parquet
from elastic.connectors.record_files import csv, json_lines
from elastic.connectors.table import table
from elastic.connectors.tcp_lines import tcp_lines
from elastic.connectors.text_files import text_files
from elastic.errors import SourceError

__all__ = [
    "Chunk", "Malformed", "Partition", "Rate", "Reader", "Source", "SourceError", "csv", "from_list", "generator",
    "json_lines", "parquet", "table", "tcp_lines", "text_files",
]  # fmt: skip
