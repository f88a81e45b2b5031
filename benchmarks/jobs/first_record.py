"""A job whose first record leaves a note of when it was processed."""

import time
from collections.abc import Callable
from pathlib import Path

from elastic import Query, sinks, sources


def query(path: str, note: str) -> Query:
    job = Query("first-record")
    job.source(sources.text_files(path)).map(_noting(note)).key_by().count().sink(sinks.discard())
    return job


def _noting(note: str) -> Callable[[str], str]:
    def processed(line: str) -> str:
        Path(note).write_text(str(time.monotonic()))  # one clock for all processes of the machine
        return line

    return processed
