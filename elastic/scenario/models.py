"""The scenario file, field by field. Loaded with line numbers by ``elastic.scenario.load``."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from elastic.keys import KEY_GROUPS
from elastic.plan import OnError, Settings
from elastic.policies import Policy, Threshold, TrueRates
from elastic.units import parse_count, parse_duration_ms, parse_duration_s, parse_rate, parse_size_bytes


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    """What a value with a unit looks like to an editor that reads the JSON schema."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


def _field(description: str, default: str, *, at_least: int | None = None) -> Any:
    """A field whose default the JSON schema shows as a person would write it, not in the unit it is kept in."""
    return Field(description=description, json_schema_extra={"default": default}, ge=at_least)


_NUMBER = r"^[0-9][0-9_]*(\.[0-9]+)? *"
DurationMs = Annotated[int, BeforeValidator(parse_duration_ms), _written(_NUMBER + "(ms|s|m|h)$", "10ms", "5s", "1m")]
DurationS = Annotated[float, BeforeValidator(parse_duration_s), _written(_NUMBER + "(ms|s|m|h)$", "10ms", "5s", "1m")]
SizeBytes = Annotated[
    int, BeforeValidator(parse_size_bytes), _written(_NUMBER + "(B|KiB|MiB|GiB|TiB)$", "64MiB", "1GiB")
]
Count = Annotated[
    int,
    BeforeValidator(parse_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": _NUMBER + "[kMG]?( records?)?$"},
            ],
            "examples": ["200k records", 200_000],
        }
    ),
]
RatePerS = Annotated[
    tuple[float, Literal["records", "bytes"]],
    BeforeValidator(parse_rate),
    _written(_NUMBER + "([kMG]?( records?)?|B|KiB|MiB|GiB)/s$", "200k/s", "4MiB/s"),
]


class Section(BaseModel):
    """Base of every part of a scenario: no field but the named ones, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cluster(Section):
    """What the job runs on."""

    workers: Annotated[int, Field(ge=1, le=256, description="Worker processes that hold instances.")] = 4
    spares: Annotated[
        int, Field(ge=0, le=64, description="Idle workers that stand by to take over; each is replaced when used.")
    ] = 1
    memory: Annotated[SizeBytes, _field("Limit per worker that credit and buffers keep to.", "512MiB")] = 512 << 20


def _tick(value: object) -> object:
    return value if value == "auto" else parse_duration_ms(value)


def _off(value: object) -> object:
    return 0 if value is False or value == "off" else parse_duration_ms(value)  # YAML reads a bare off as false


def _size_or_off(value: object) -> object:
    return 0 if value is False or value == "off" else parse_size_bytes(value)


_POLICIES: dict[str, type[Policy]] = {"threshold": Threshold, "true_rates": TrueRates}


def _policy(value: object) -> Policy | None:
    """A policy by its name, or by its name and its arguments; or one that was made already."""
    if value is None or value is False or value == "off":  # YAML reads a bare off as false
        return None
    if isinstance(value, Policy):
        return value
    options = dict(value) if isinstance(value, dict) else {"policy": value}
    name = options.pop("policy", None)
    if name not in _POLICIES:
        raise ValueError(f"names no policy; write off, {', or '.join(_POLICIES)}, or {{policy: threshold, reports: 2}}")
    kind = _POLICIES[name]
    known = list(inspect.signature(kind).parameters)
    if unknown := [option for option in options if option not in known and option != "period"]:
        raise ValueError(f"{name} has no {unknown[0]}; it has {', '.join(known).replace('period_s', 'period')}")
    if "period" in options:
        options["period_s"] = parse_duration_s(options.pop("period"))
    wrong = next((o for o, v in options.items() if isinstance(v, bool) or not isinstance(v, int | float)), None)
    if wrong is not None:
        raise ValueError(f"{wrong} must be a number, not {options[wrong]!r}")
    return kind(**options)


def _switch(value: object) -> object:
    """YAML reads on and off as booleans."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Elastic(Section):
    """Settings of the elastic model."""

    tick: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        BeforeValidator(_tick),
        _written("^(auto|[0-9]+ *(ms|s))$", "10ms", "auto"),
        _field("Length of a tick, the step of logical time; auto is 10 ms, or longer where its cost shows.", "auto"),
    ] = "auto"
    checkpoint: Annotated[
        int,
        BeforeValidator(_off),
        _written("^(off|[0-9]+ *(ms|s|m))$", "1s", "off"),
        _field("Time between the checkpoints of an instance; off takes none.", "1s"),
    ] = 1000
    key_groups: Annotated[
        int, Field(ge=1, le=65_535, description="Units in which key space is cut; fixed for the life of the job.")
    ] = KEY_GROUPS
    heartbeat: Annotated[
        DurationMs, _field("A worker that lives but is silent for so long is taken for hung.", "1s", at_least=100)
    ] = 1000
    tick_bytes: Annotated[
        SizeBytes, _field("A source reads at most this much in one tick and partition.", "32MiB", at_least=1)
    ] = 32 << 20
    disk: Annotated[
        Literal["on", "sync", "off"],
        BeforeValidator(_switch),
        Field(
            description="Where checkpoints lie beside another worker's memory: on, in the job directory; sync, there "
            "and past any cache; off, nowhere."
        ),
    ] = "on"
    copies: Annotated[
        int, Field(ge=1, le=2, description="How many other workers keep each checkpoint in memory: 1 or 2.")
    ] = 1
    spill: Annotated[
        int,
        BeforeValidator(_size_or_off),
        _written("^(off|[0-9]+ *(B|KiB|MiB|GiB|TiB))$", "1GiB", "off"),
        _field("Per worker: output that may lie on the disk until it is checkpointed or committed downstream.", "1GiB"),
    ] = 1 << 30
    stall_after: Annotated[
        int,
        BeforeValidator(_off),
        _written("^(off|[0-9]+ *(ms|s|m))$", "10s", "off"),
        _field("An instance that has got no further for so long is told of, with where it stands; off never.", "10s"),
    ] = 10_000
    deadline: Annotated[
        int,
        BeforeValidator(_off),
        _written("^(off|[0-9]+ *(ms|s|m))$", "60s", "off"),
        _field("Of a recovery and of scaling; off waits for ever.", "60s"),
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
        Any,
        BeforeValidator(_policy),
        WithJsonSchema({"anyOf": [{"enum": ["off", *_POLICIES]}, {"type": "object", "required": ["policy"]}]}),
        _field("Policy by which operators scale out to spares: off, threshold (SEEP) or true_rates (DS2).", "off"),
    ] = None

    on_error: Annotated[
        dict[str, OnError],
        Field(
            description="By name of an operator or step, such as map(parse): fail, skip or divert records on which it "
            "raises, instead of what the query says."
        ),
    ] = {}

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


class DStream(Section):
    """Settings of the D-Streams model; those of ``elastic`` that are about ticks, keys and liveness hold for it too."""

    interval: Annotated[DurationMs, _field("Length of an interval; a whole number of ticks.", "1s", at_least=1)] = 1000
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


class Target(Section):
    """The process that a fault hits: a worker by its number, or as the one that holds an instance then; or another."""

    owner_of: Annotated[str | None, Field(description="Name of an operator.")] = None
    instance: Annotated[int, Field(ge=0, description="Which of the operator's instances, from 0.")] = 0
    worker: Annotated[int | None, Field(ge=0, description="Number of a worker, from 0.")] = None
    coordinator: Annotated[
        Literal[True] | None, Field(description="true: the coordinator, which can only be killed.")
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(t is not None for t in (self.owner_of, self.worker, self.coordinator)) != 1:
            raise ValueError(
                "names no worker; write {owner_of: count, instance: 0}, {worker: 2} or {coordinator: true}"
            )
        if self.owner_of is None and "instance" in self.model_fields_set:
            raise ValueError("instance goes with owner_of alone; leave it out")
        return self

    def __str__(self) -> str:
        if self.coordinator:
            return "the coordinator"
        return f"worker {self.worker}" if self.owner_of is None else f"the owner of {self.owner_of}#{self.instance}"


class Scale(Section):
    """How many instances an operator is to have."""

    operator: Annotated[str, Field(description="Its name.")]
    to: Annotated[int, Field(ge=1, le=65_535, description="Instances from then on; more need a spare each.")]


Action: TypeAlias = Literal["kill", "pause", "resume", "scale", "drain", "join"]
_ACTIONS: tuple[Action, ...] = get_args(Action)


class Fault(Section):
    """One thing that is done to the job on purpose: when, and what."""

    at: Annotated[DurationS | None, Field(description="Time since the job's start.")] = None
    after: Annotated[Count | None, Field(description="Number of records that sources have read.")] = None
    kill: Annotated[Target | None, Field(description="SIGKILL: the process is gone.")] = None
    pause: Annotated[Target | None, Field(description="SIGSTOP: the process hangs.")] = None
    resume: Annotated[
        Target | None, Field(description="SIGCONT; with owner_of, the worker that the pause of the same target hit.")
    ] = None
    scale: Annotated[Scale | None, Field(description="Have an operator run on more or fewer instances.")] = None
    drain: Annotated[Target | None, Field(description="Take the worker out of the job; what it has moves first.")] = (
        None
    )
    join: Annotated[Literal[True] | None, Field(description="true: add a worker, a spare at first.")] = None

    @model_validator(mode="after")
    def _one_when_and_what(self) -> Self:
        if (self.at is None) == (self.after is None):
            raise ValueError("needs one time; write at: 3s, or after: 200k records")
        if sum(getattr(self, action) is not None for action in _ACTIONS) != 1:
            raise ValueError(
                f"needs one thing to do; write {', '.join(_ACTIONS[:-1])} or {_ACTIONS[-1]}, such as kill: "
                "{owner_of: count}"
            )
        hit = self.pause or self.resume or self.drain
        if hit is not None and hit.coordinator:
            raise ValueError("the coordinator can only be killed; write kill: {coordinator: true}")
        return self

    @property
    def action(self) -> Action:
        """What is done."""
        return next(action for action in _ACTIONS if getattr(self, action) is not None)

    @property
    def target(self) -> Target | None:
        """To whom; ``scale`` and ``join`` have no target."""
        return self.kill or self.pause or self.resume or self.drain

    def __str__(self) -> str:
        when = f"at {self.at:g} s" if self.at is not None else f"after {self.after} records"
        if self.scale is not None:
            return f"scale {self.scale.operator} to {self.scale.to} {when}"
        if self.join:
            return f"join {when}"
        return f"{self.action} {self.target} {when}"


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
    ] = {}
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
