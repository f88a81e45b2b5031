"""A scenario, and what it expects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from elastic.scenario.models.faults import Fault
from elastic.scenario.models.settings import Cluster, DStream, Elastic
from elastic.scenario.models.values import DurationMs, DurationS, RatePerS, Section, SizeBytes


class Expect(Section):
    """What must be true in the end; each becomes one line of the summary, and the exit code is 1 if one is not met."""

    result: Annotated[
        Literal["verified"] | None,
        Field(description="The sinks hold what the job's own check, or a clean run over the same input log, gives."),
    ] = None
    lost: Annotated[int | None, Field(ge=0, description="Rows that the sinks lack, at most.")] = None
    duplicated: Annotated[int | None, Field(ge=0, description="Rows that the sinks have beyond it, at most.")] = None
    recovery: Annotated[DurationS | None, Field(description="Every failure is caught up within this time of it.")] = (
        None
    )
    recoveries: Annotated[int | None, Field(ge=0, description="Failures that were recovered from, at least.")] = None
    instances: Annotated[
        dict[str, Annotated[int, Field(ge=1)]] | None,
        Field(description="Instances of each named operator in the end, exactly."),
    ] = None
    failed: Annotated[
        dict[str, Annotated[int, Field(ge=0)]] | None,
        Field(description="Records that each named operator or step skipped or diverted, exactly."),
    ] = None
    throughput: Annotated[
        RatePerS | None, Field(description="Records or bytes of input per second over the whole run, at least.")
    ] = None
    latency_p50: Annotated[DurationMs | None, Field(description="Median latency, at most.")] = None
    latency_p99: Annotated[DurationMs | None, Field(description="99th percentile of latency, at most.")] = None
    memory: Annotated[SizeBytes | None, Field(description="Largest resident set of a worker, at most.")] = None


class Scenario(Section):
    """One run: a job, what it runs on, what goes wrong on the way, and what is expected in the end."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            max_length=100,
            description="Of the run and of its directory: letters, digits, dot, dash and underscore.",
        ),
    ]
    description: Annotated[str | None, Field(description="For the reader.")] = None
    job: Annotated[
        str,
        Field(
            description="file.py:name (relative to this file) or package.module:name; a Query, or a function that "
            "returns one. Without a name: query."
        ),
    ]
    parameters: Annotated[
        dict[str, Any],
        Field(description="Arguments of the job's function. {stdlib}, {here}, {job_dir} and {home} stand for paths."),
    ] = {}  # noqa: RUF012 (pydantic gives each object its own)
    model: Annotated[str, Field(description="Execution model.")] = "elastic"
    cluster: Cluster = Cluster()
    elastic: Elastic = Elastic()
    dstream: DStream = DStream()
    faults: Annotated[tuple[Fault, ...], Field(strict=False, description="What goes wrong, in any order.")] = ()
    expect: Expect = Expect()
    check: Annotated[
        str | None,
        Field(
            description="file.py:name of a function that is given the result and returns whether it is right, or "
            "(lost, duplicated). Without one, the job is run again over its input log, in one process."
        ),
    ] = None
    show: Annotated[
        str | None, Field(description="file.py:name of a function that is given the result and returns lines to print.")
    ] = None


def json_schema() -> dict[str, Any]:
    """The JSON schema of scenario files, for editors and for ``elastic schema``."""
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "elastic scenario"}
