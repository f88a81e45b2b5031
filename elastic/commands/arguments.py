"""How the values of arguments are read, and how a command ends."""

from __future__ import annotations

import argparse
import sys
from typing import Any, TypeAlias

import yaml

DONE, BAD_USAGE, JOB_FAILED, INTERRUPTED = 0, 2, 3, 130
"""Exit codes; 1 is a report's, where an expectation was not met."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 (it has no public name)

JOB = "the job's name, or its directory"


def key(text: str) -> Any:
    """A key, as YAML; lists are the tuples that keys are made of."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read as YAML") from None
    return tuple(found) if isinstance(found, list) else found


def parameter(text: str) -> tuple[str, Any]:
    """``name=value``; the value is read as in a scenario file."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return name, value
    return name, value if isinstance(read, dict) else read  # {stdlib} is a placeholder here, not a mapping


def number(least: int) -> Any:
    """Reads whole numbers from ``least`` up."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return int(text)

    return read


def fail(text: str, code: int) -> int:
    """Say what is wrong, and end with the code."""
    print(text, file=sys.stderr)
    return code
