"""What is done to a job on purpose."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import Field, model_validator

from elastic.scenario.models.values import Count, DurationS, Section
from elastic.units import counted, format_duration


class Target(Section):
    """The process that a fault hits: a worker by its number, or as the one that holds an instance then; or another."""

    owner_of: Annotated[str | None, Field(description="Name of an operator.")] = None
    instance: Annotated[int, Field(ge=0, description="Which of the operator's instances, from 0.")] = 0
    worker: Annotated[int | None, Field(ge=0, description="Number of a worker, from 0.")] = None
    coordinator: Annotated[
        Literal[True] | None, Field(description="true: the coordinator, which can be killed or paused.")
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
        hit = self.resume or self.drain
        if hit is not None and hit.coordinator:
            raise ValueError("the coordinator can only be killed or paused; write kill: {coordinator: true}")
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
        after = counted(self.after or 0, "record")
        when = f"after {after}" if self.at is None else f"at {format_duration(self.at)}"
        if self.scale is not None:
            return f"scale {self.scale.operator} to {self.scale.to} {when}"
        if self.join:
            return f"join {when}"
        return f"{self.action} {self.target} {when}"
