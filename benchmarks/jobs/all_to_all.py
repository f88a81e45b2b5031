"""As many sources as counters, each with every other: a few records a tick, so that the ticks are all that costs."""

from elastic import Query, sinks, sources
from elastic.functions import field


def query(instances: int) -> Query:
    job = Query("all-to-all")
    rate = 20 * 4 * instances  # four records a tick and source
    numbers = job.source(sources.generator(keys=1000, distribution="uniform", rate=f"{rate}/s"))
    numbers.key_by(field("key")).count(emit="1s", name="count").sink(sinks.discard())
    return job
