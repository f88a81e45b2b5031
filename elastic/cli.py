"""The command ``elastic``, which does one of ``COMMANDS``.

Exit codes: 0 done and every expectation met, 1 an expectation was not met, 2 bad usage or a bad scenario, 3 the job
failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from elastic.commands.arguments import BAD_USAGE, INTERRUPTED, JOB_FAILED, fail
from elastic.commands.jobs import add_drain, add_jobs, add_kill_worker, add_scale, add_worker
from elastic.commands.run import add_run, add_schema, add_validate
from elastic.commands.state import add_state
from elastic.errors import JobFailedError, UserError

COMMANDS = (
    add_run, add_validate, add_jobs, add_scale, add_drain, add_kill_worker, add_worker, add_state, add_schema
)  # fmt: skip
"""In the order in which ``elastic --help`` lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone: `elastic schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except JobFailedError as error:
        return fail(str(error), JOB_FAILED)
    except UserError as error:
        return fail(str(error), BAD_USAGE)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except Exception:  # noqa: BLE001 (the surface: what arrives here is our own mistake, and is shown whole)
        return fail(f"{traceback.format_exc()}elastic: this is a bug in elastic itself, not in your job", JOB_FAILED)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="elastic",
        description="Run keyed, stateful streaming jobs on worker processes, break them on purpose, see them recover.",
        epilog="Exit codes: 0 done and every expectation met, 1 an expectation was not met, 2 bad usage or a bad "
        "scenario, 3 the job failed, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"elastic {sys.modules['elastic'].__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
