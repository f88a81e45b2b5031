"""What a job runs on, and the settings of each execution model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from elastic.keys import KEY_GROUPS
from elastic.plan import OnError, Settings
from elastic.scenario.models.values import (
    AutoOrDurationMs,
    DiskUse,
    DurationMs,
    OffOrDurationMs,
    OffOrSizeBytes,
    ScalingPolicy,
    Section,
    SizeBytes,
    field,
)


class Cluster(Section):
    """What the job runs on."""

    workers: Annotated[int, Field(ge=1, le=256, description="Worker processes that hold instances.")] = 4
    spares: Annotated[
        int, Field(ge=0, le=64, description="Idle workers that stand by to take over; each is replaced when used.")
    ] = 1
    memory: Annotated[SizeBytes, field("Limit per worker that credit and buffers keep to.", "512MiB")] = 512 << 20


class Elastic(Section):
    """Settings of the elastic model."""

    tick: Annotated[
        AutoOrDurationMs,
        field("Length of a tick, the step of logical time; auto is 10 ms, or longer where its cost shows.", "auto"),
    ] = "auto"
    checkpoint: Annotated[
        OffOrDurationMs,
        field("Time between the checkpoints of an instance; off takes none.", "1s"),
    ] = 1000
    key_groups: Annotated[
        int, Field(ge=1, le=65_535, description="Units in which key space is cut; fixed for the life of the job.")
    ] = KEY_GROUPS
    heartbeat: Annotated[
        DurationMs, field("A worker that lives but is silent for so long is taken for hung.", "1s", at_least=100)
    ] = 1000
    tick_bytes: Annotated[
        SizeBytes, field("A source reads at most this much in one tick and partition.", "32MiB", at_least=1)
    ] = 32 << 20
    disk: Annotated[
        DiskUse,
        Field(
            description="Where checkpoints lie beside another worker's memory: on, in the job directory; sync, there "
            "and past any cache; off, nowhere."
        ),
    ] = "on"
    copies: Annotated[
        int, Field(ge=1, le=2, description="How many other workers keep each checkpoint in memory: 1 or 2.")
    ] = 1
    spill: Annotated[
        OffOrSizeBytes,
        field("Per worker: output that may lie on the disk until it is checkpointed or committed downstream.", "1GiB"),
    ] = 1 << 30
    stall_after: Annotated[
        OffOrDurationMs,
        field("An instance that has got no further for so long is told of, with where it stands; off never.", "10s"),
    ] = 10_000
    deadline: Annotated[
        OffOrDurationMs,
        field("Of a recovery and of scaling; off waits for ever.", "60s"),
    ] = 60_000
    recovery_parts: Annotated[
        int,
        Field(ge=1, le=64, description="A lost keyed instance is restored as so many, at once and on as many workers."),
    ] = 1
    nondeterminism: Annotated[
        Literal["fail", "warn"],
        Field(description="fail stops the job when a replay differs from what was sent; warn reports it and goes on."),
    ] = "fail"
    seed: Annotated[int, Field(description="Of ctx.random.")] = 0
    partitions: Annotated[
        int | None,
        Field(ge=1, le=65_535, description="Parts into which a source is cut; it has at most as many instances."),
    ] = None
    scaling: Annotated[
        ScalingPolicy,
        field("Policy by which operators scale out to spares: off, threshold (SEEP) or true_rates (DS2).", "off"),
    ] = None

    on_error: Annotated[
        dict[str, OnError],
        Field(
            description="By name of an operator or step, such as map(parse): fail, skip or divert records on which it "
            "raises, instead of what the query says."
        ),
    ] = {}  # noqa: RUF012 (pydantic gives each object its own)

    def settings(self, memory_bytes: int) -> Settings:
        """The same as the runtime's settings; ``tick: auto`` is a base tick of 10 ms that may be lengthened."""
        return Settings(
            tick_ms=10 if self.tick == "auto" else self.tick,
            auto_tick=self.tick == "auto",
            checkpoint_ms=self.checkpoint,
            key_groups=self.key_groups,
            memory_bytes=memory_bytes,
            heartbeat_ms=self.heartbeat,
            tick_bytes=self.tick_bytes,
            spill_bytes=self.spill,
            stall_after_ms=self.stall_after,
            deadline_ms=self.deadline,
            nondeterminism=self.nondeterminism,
            disk=self.disk,
            copies=self.copies,
            recovery_parts=self.recovery_parts,
            seed=self.seed,
            partitions=self.partitions or 0,
            scaling=self.scaling,
            on_error=self.on_error,
        )


ELASTIC_ALONE = frozenset({"checkpoint", "deadline", "nondeterminism", "recovery_parts", "scaling", "spill"})
"""Settings under ``elastic`` that have no meaning under another model."""


class DStream(Section):
    """Settings of the D-Streams model; ``elastic``'s about ticks, keys, liveness, disk and copies hold for it too."""

    interval: Annotated[DurationMs, field("Length of an interval; a whole number of ticks.", "1s", at_least=1)] = 1000
    checkpoint: Annotated[
        int, Field(ge=1, description="State is checkpointed after every so many intervals; older lineage is forgotten.")
    ] = 10
    tasks: Annotated[
        int | None,
        Field(
            ge=1, le=65_535, description="Tasks of a keyed operator in each interval; 3 for each worker if not given."
        ),
    ] = None
    retries: Annotated[
        int, Field(ge=0, description="How often a task is tried again after user code has raised in it.")
    ] = 2
    keep_going: Annotated[
        bool,
        Field(
            description="If it still raises, only the outputs that need the task fail, and the others go on; "
            "false stops the job."
        ),
    ] = False
