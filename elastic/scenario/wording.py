"""What a validation error means, in words that say what to write instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from elastic.callables import closest, did_you_mean
from elastic.scenario.mistakes import Location
from elastic.scenario.models import Scenario


def problem(error: ErrorDetails, location: Location) -> str:
    """What is wrong with one value, and what to write."""
    kind, given, limits = error["type"], error["input"], error.get("ctx", {})
    shown = json.dumps(given, default=repr, ensure_ascii=False)
    if kind == "extra_forbidden":
        name, known = str(location[-1]), _fields_at(location[:-1])
        return f"there is no such field{_meant(name, known)} Fields here: {', '.join(known)}"
    if kind == "missing":
        return "is missing"
    if given is None:
        return "is empty; give it a value or leave it out"
    if kind == "value_error":
        return str(limits["error"])
    if kind == "literal_error":
        allowed = str(limits["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{shown} is not known{did_you_mean(str(given), allowed.split(', '))} Allowed: {allowed}"
    if kind == "string_pattern_mismatch":
        return f"{shown} is not a name; use letters, digits, dot, dash and underscore, and begin with a letter or digit"
    simple = {
        "int_type": f"{shown} is not a whole number{_unquoted(given)}",
        "string_type": f"{shown} is not text; put it in quotes",
        "greater_than_equal": f"{shown} is too small; at least {limits.get('ge')}",
        "less_than_equal": f"{shown} is too large; at most {limits.get('le')}",
        "model_type": f"{shown} is no section; its fields are {', '.join(_fields_at(location))}",
        "dict_type": f"{shown} is no section; write it as name: value",
        "tuple_type": f"{shown} is no list; write its items as - item",
        "string_too_long": f"is too long; at most {limits.get('max_length')} characters",
    }
    return simple.get(kind, f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}")


def _meant(name: str, known: Sequence[str]) -> str:
    """What a field that is not there was most likely to be: one of its section, or else of another one."""
    sections = [name for name, field in Scenario.model_fields.items() if _section(field.annotation) is not None]
    elsewhere = {field: section for section in reversed(sections) for field in _fields_at((section,))}
    other = closest(name, elsewhere)
    if other is not None and (other == name or closest(name, known) is None):
        return f"; did you mean {other} in the section {elsewhere[other]}?"
    return did_you_mean(name, known)


def _unquoted(given: object) -> str:
    return f"; write {given}, without quotes" if isinstance(given, str) and given.strip().isdigit() else ""


def _fields_at(location: Location) -> list[str]:
    """Names of the fields of the section at a location."""
    model: type[BaseModel] = Scenario
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _section(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``tuple[Fault, ...]`` or ``Target | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section(inner)) is not None), None)
