"""``elastic state``: what a job keeps, running or not."""

from __future__ import annotations

import argparse

from elastic.cluster.state import lines_of_key, read_state, state_table
from elastic.commands.arguments import DONE, JOB, Commands, key
from elastic.errors import UserError


def add_state(commands: Commands) -> None:
    """``elastic state``."""
    parser = commands.add_parser(
        "state",
        help="show the state that a job keeps",
        description="Show the keyed state of a job, running or not, as its newest checkpoints on the disk have it.",
    )
    parser.set_defaults(command=_state)
    parser.add_argument("job", metavar="JOB", help=JOB)
    parser.add_argument("operator", metavar="OPERATOR", nargs="?", help="only this operator")
    parser.add_argument(
        "--key", metavar="KEY", type=key, help="what is kept for this key; read as YAML, a list being a tuple"
    )


def _state(options: argparse.Namespace) -> int:
    states = read_state(options.job, options.operator)
    if options.key is None:
        print(state_table(states) if states else f"{options.job} has no keyed operator")
        return DONE
    lines = lines_of_key(states, options.key)
    if not lines:
        raise UserError(f"no operator of {options.job} keeps anything for the key {options.key!r}")
    print("\n".join(lines))
    return DONE
