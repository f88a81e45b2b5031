"""Values of scenario files: with units, as a person writes them, or by name."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from elastic.policies import Policy, Threshold, TrueRates
from elastic.units import parse_count, parse_duration_ms, parse_duration_s, parse_rate, parse_size_bytes


def written(pattern: str, *examples: str) -> WithJsonSchema:
    """What a value with a unit looks like to an editor that reads the JSON schema."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


def field(description: str, default: str, *, at_least: int | None = None) -> Any:
    """A field whose default the JSON schema shows as a person would write it, not in the unit it is kept in."""
    return Field(description=description, json_schema_extra={"default": default}, ge=at_least)


NUMBER = r"^[0-9][0-9_]*(\.[0-9]+)? *"
DurationMs = Annotated[int, BeforeValidator(parse_duration_ms), written(NUMBER + "(ms|s|m|h)$", "10ms", "5s", "1m")]
DurationS = Annotated[float, BeforeValidator(parse_duration_s), written(NUMBER + "(ms|s|m|h)$", "10ms", "5s", "1m")]
SizeBytes = Annotated[int, BeforeValidator(parse_size_bytes), written(NUMBER + "(B|KiB|MiB|GiB|TiB)$", "64MiB", "1GiB")]
Count = Annotated[
    int,
    BeforeValidator(parse_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": NUMBER + "[kMG]?( records?)?$"},
            ],
            "examples": ["200k records", 200_000],
        }
    ),
]
RatePerS = Annotated[
    tuple[float, Literal["records", "bytes"]],
    BeforeValidator(parse_rate),
    written(NUMBER + "([kMG]?( records?)?|B|KiB|MiB|GiB)/s$", "200k/s", "4MiB/s"),
]


def _auto_or_duration_ms(value: object) -> object:
    return value if value == "auto" else parse_duration_ms(value)


def _off_or_duration_ms(value: object) -> object:
    return 0 if value is False or value == "off" else parse_duration_ms(value)  # YAML reads a bare off as false


def _off_or_size_bytes(value: object) -> object:
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


AutoOrDurationMs = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"],
    BeforeValidator(_auto_or_duration_ms),
    written("^(auto|[0-9]+ *(ms|s))$", "10ms", "auto"),
]
OffOrDurationMs = Annotated[
    int, BeforeValidator(_off_or_duration_ms), written("^(off|[0-9]+ *(ms|s|m))$", "1s", "60s", "off")
]
"""0 for off."""

OffOrSizeBytes = Annotated[
    int, BeforeValidator(_off_or_size_bytes), written("^(off|[0-9]+ *(B|KiB|MiB|GiB|TiB))$", "1GiB", "off")
]
"""0 for off."""

DiskUse = Annotated[Literal["on", "sync", "off"], BeforeValidator(_switch)]
ScalingPolicy = Annotated[
    Any,
    BeforeValidator(_policy),
    WithJsonSchema({"anyOf": [{"enum": ["off", *_POLICIES]}, {"type": "object", "required": ["policy"]}]}),
]
"""None for off."""


class Section(BaseModel):
    """Base of every part of a scenario: no field but the named ones, no silent conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
