"""The command: ``elastic run``, ``validate``, ``jobs``, ``scale``, ``drain``, ``kill-worker``, ``worker``, ``schema``.

Exit codes: 0 done and every expectation met, 1 an expectation was not met, 2 bad usage or a bad scenario, 3 the job
failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from elastic.cluster.remote import JOBS, Remote, become_worker, find, roster, running, table
from elastic.cluster.state import lines_of_key, read_state, state_table
from elastic.dashboard.launch import launch
from elastic.errors import JobFailedError, UserError
from elastic.scenario.assemble import Overrides, run_of_job, run_of_scenario
from elastic.scenario.load import load_scenario
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import json_schema
from elastic.scenario.runner import Run, prepare, warnings

BAD_USAGE, JOB_FAILED, INTERRUPTED = 2, 3, 130


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
        return _fail(str(error), JOB_FAILED)
    except UserError as error:
        return _fail(str(error), BAD_USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception:  # noqa: BLE001 (the surface: what arrives here is our own mistake, and is shown whole)
        return _fail(f"{traceback.format_exc()}elastic: this is a bug in elastic itself, not in your job", JOB_FAILED)
    return code


def _run(options: argparse.Namespace) -> int:
    target = options.json
    if target is not None and not target.absolute().parent.is_dir():
        raise UserError(f"--json {target}: there is no directory {target.absolute().parent}")
    with _assembled(options.target, _overrides(options)) as run:
        report = launch(run, display=options.display)
    if options.display == "none" and report.error:
        print(report.error, file=sys.stderr)
    if target is not None:
        try:
            report.write(target)
        except OSError as error:
            raise UserError(f"--json {target}: cannot be written: {error.strerror}") from None
    return report.exit_code


def _validate(options: argparse.Namespace) -> int:
    found: list[str] = []
    for target in options.targets:
        try:
            with _assembled(target, Overrides()) as run:
                plan = prepare(run)
        except UserError as error:
            found.append(str(error))
            continue
        print(f"{target}: valid: {', '.join(f'{o.name} x {o.parallelism}' for o in plan.operators.values())}")
        for warning in warnings(run, plan):
            print(f"{target}: warning: {warning}")
    return _fail("\n".join(found), BAD_USAGE) if found else 0


def _jobs(options: argparse.Namespace) -> int:
    if options.job is not None:
        with Remote(find(options.job)) as remote:
            print(roster(remote.inventory()))
        return 0
    rows = []
    for contact in running():
        with contextlib.suppress(UserError), Remote(contact) as remote:  # it may be ending just now
            rows.append((contact, remote.inventory()))
    print(table(rows) if rows else f"no job runs in {JOBS}")
    return 0


def _scale(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        inventory = remote.scale(options.operator, options.instances)
    left = "1 spare is" if inventory.spares == 1 else f"{inventory.spares} spares are"
    print(f"{options.operator} runs on {options.instances} instances; {left} left")
    return 0


def _state(options: argparse.Namespace) -> int:
    states = read_state(options.job, options.operator)
    if options.key is None:
        print(state_table(states) if states else f"{options.job} has no keyed operator")
        return 0
    lines = lines_of_key(states, options.key)
    if not lines:
        raise UserError(f"no operator of {options.job} keeps anything for the key {options.key!r}")
    print("\n".join(lines))
    return 0


def _drain(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        inventory = remote.drain(options.worker)
    print(f"worker {options.worker} has left; {inventory.workers} workers are in use, {inventory.spares} are spares")
    return 0


def _kill_worker(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        worker = remote.kill(options.worker)
    print(f"worker {worker} was sent SIGKILL")
    return 0


def _worker(options: argparse.Namespace) -> int:
    contact = find(options.join)
    with Remote(contact) as remote:
        number = remote.join()
    print(f"worker {number} joins {contact.name}; Ctrl-C drains it", flush=True)
    become_worker(contact, number)


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0


@contextlib.contextmanager
def _assembled(target: str, overrides: Overrides) -> Iterator[Run]:
    """The run that a scenario file or a job means; mistakes found later name the file's lines too."""
    if Path(target).suffix not in {".yaml", ".yml"}:
        try:
            yield run_of_job(target, overrides)
        except FieldError as error:
            where = f"--set {error.location[-1]}: " if error.location[0] == "parameters" else ""
            raise UserError(where + error.problem) from None
        return
    loaded = load_scenario(Path(target))
    with loaded.naming_lines():
        yield run_of_scenario(loaded, overrides)


def _key(text: str) -> Any:
    """A key, as YAML; lists are the tuples that keys are made of."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read as YAML") from None
    return tuple(found) if isinstance(found, list) else found


def _overrides(options: argparse.Namespace) -> Overrides:
    return Overrides(
        options.workers, options.spares, options.directory, dict(options.set), options.verify, options.resume
    )


def _parameter(text: str) -> tuple[str, Any]:
    """``name=value``; the value is read as in a scenario file."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return name, value
    return name, value if isinstance(read, dict) else read  # {stdlib} is a placeholder here, not a mapping


def _number(least: int) -> Any:
    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return int(text)

    return read


def _fail(text: str, code: int) -> int:
    print(text, file=sys.stderr)
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

    run = commands.add_parser("run", help="run a scenario or a job", description="Run a scenario or a job to its end.")
    run.set_defaults(command=_run)
    run.add_argument("target", metavar="SCENARIO.yaml|JOB.py[:NAME]", help="what to run; NAME is query if left out")
    run.add_argument("--json", metavar="FILE", type=Path, help="write the report to FILE, as one JSON object")
    run.add_argument("--workers", metavar="N", type=_number(1), help="worker processes that share the work (4)")
    run.add_argument("--spares", metavar="N", type=_number(0), help="worker processes that stand by (1)")
    run.add_argument(
        "--set", metavar="NAME=VALUE", type=_parameter, action="append", default=[], help="a parameter of the job"
    )
    run.add_argument("--directory", metavar="DIR", type=Path, help="the job directory (.elastic/NAME)")
    run.add_argument(
        "--resume", action="store_true", help="go on with the job that was stopped or killed in the job directory"
    )
    run.add_argument("--verify", action="store_true", help="hold the result against a clean run over the same input")
    run.add_argument("--plain", dest="display", action="store_const", const="lines", default="auto", help="no screen")
    run.add_argument("--quiet", dest="display", action="store_const", const="none", help="no progress and no summary")

    validate = commands.add_parser(
        "validate",
        help="check scenarios or jobs without running them",
        description="Check scenarios or jobs without running them: every field, the query, its functions, its input.",
    )
    validate.set_defaults(command=_validate)
    validate.add_argument("targets", metavar="SCENARIO.yaml|JOB.py[:NAME]", nargs="+")

    jobs = commands.add_parser("jobs", help="list the jobs that run", description="List the jobs that run in .elastic.")
    jobs.set_defaults(command=_jobs)
    jobs.add_argument("job", metavar="JOB", nargs="?", help="list the workers of this one instead")

    scale = commands.add_parser(
        "scale",
        help="run an operator on more or fewer instances",
        description="Run an operator of a running job on more instances, a spare for each, or on fewer; returns then.",
    )
    scale.set_defaults(command=_scale)
    scale.add_argument("job", metavar="JOB", help="the job's name, or its directory")
    scale.add_argument("operator", metavar="OPERATOR", help="the operator's name")
    scale.add_argument("instances", metavar="N", type=_number(1), help="how many instances it is to have")

    drain = commands.add_parser(
        "drain",
        help="take a worker out of a running job",
        description="Move what a worker runs and holds elsewhere, without loss or recovery, and end it; returns then.",
    )
    drain.set_defaults(command=_drain)
    drain.add_argument("job", metavar="JOB", help="the job's name, or its directory")
    drain.add_argument("worker", metavar="WORKER", type=_number(0), help="its number, as elastic jobs JOB lists it")

    kill = commands.add_parser(
        "kill-worker", help="SIGKILL a worker, to see the job recover", description="Send SIGKILL to a worker of a job."
    )
    kill.set_defaults(command=_kill_worker)
    kill.add_argument("job", metavar="JOB", help="the job's name, or its directory")
    kill.add_argument(
        "worker", metavar="WORKER", nargs="?", type=_number(0), help="its number; that of the first keyed instance"
    )

    worker = commands.add_parser(
        "worker",
        help="add a worker to a running job",
        description="Be a worker of a job that runs: a spare at first. Ctrl-C drains it; it ends with the job.",
    )
    worker.set_defaults(command=_worker)
    worker.add_argument("--join", metavar="JOB", required=True, help="the job's name, or its directory")

    state = commands.add_parser(
        "state",
        help="show the state that a job keeps",
        description="Show the keyed state of a job, running or not, as its newest checkpoints on the disk have it.",
    )
    state.set_defaults(command=_state)
    state.add_argument("job", metavar="JOB", help="the job's name, or its directory")
    state.add_argument("operator", metavar="OPERATOR", nargs="?", help="only this operator")
    state.add_argument(
        "--key", metavar="KEY", type=_key, help="what is kept for this key; read as YAML, a list being a tuple"
    )

    schema = commands.add_parser("schema", help="print the JSON schema of scenario files")
    schema.set_defaults(command=_schema)
    return parser
