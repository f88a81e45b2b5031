"""A word count whose input comes once a minute: all that runs is the system itself."""

from elastic import Query, sinks, sources
from elastic.functions import split


def query(path: str) -> Query:
    job = Query("idle")
    job.source(sources.text_files(path, rate="1B/s")).flat_map(split()).key_by().count().sink(sinks.discard())
    return job
