"""``elastic run``, ``validate`` and ``schema``: what is done with a scenario or a job that does not run yet."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from elastic.commands.arguments import BAD_USAGE, DONE, Commands, fail, number, parameter
from elastic.dashboard.launch import launch
from elastic.errors import UserError
from elastic.scenario.assemble import Overrides, run_of_job, run_of_scenario
from elastic.scenario.load import load_scenario
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import json_schema
from elastic.scenario.runner import Run, prepare, warnings

TARGET = "SCENARIO.yaml|JOB.py[:NAME]"


def add_run(commands: Commands) -> None:
    """``elastic run``."""
    parser = commands.add_parser(
        "run", help="run a scenario or a job", description="Run a scenario or a job to its end."
    )
    parser.set_defaults(command=_run)
    add = parser.add_argument
    add("target", metavar=TARGET, help="what to run; NAME is query if left out")
    add("--json", metavar="FILE", type=Path, help="write the report to FILE, as one JSON object")
    add("--workers", metavar="N", type=number(1), help="worker processes that share the work (4)")
    add("--spares", metavar="N", type=number(0), help="worker processes that stand by (1)")
    add("--set", metavar="NAME=VALUE", type=parameter, action="append", default=[], help="a parameter of the job")
    add("--directory", metavar="DIR", type=Path, help="the job directory (.elastic/NAME)")
    add("--resume", action="store_true", help="go on with the job that was stopped or killed in the job directory")
    add("--verify", action="store_true", help="hold the result against a clean run over the same input")
    add("--plain", dest="display", action="store_const", const="lines", default="auto", help="no screen")
    add("--quiet", dest="display", action="store_const", const="none", help="no progress and no summary")


def add_validate(commands: Commands) -> None:
    """``elastic validate``."""
    parser = commands.add_parser(
        "validate",
        help="check scenarios or jobs without running them",
        description="Check scenarios or jobs without running them: every field, the query, its functions, its input.",
    )
    parser.set_defaults(command=_validate)
    parser.add_argument("targets", metavar=TARGET, nargs="+", help="what to check; NAME is query if left out")


def add_schema(commands: Commands) -> None:
    """``elastic schema``."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON schema of scenario files",
        description="Print the JSON schema of scenario files, with which an editor completes and checks them.",
    )
    parser.set_defaults(command=_schema)


def _run(options: argparse.Namespace) -> int:
    target = options.json
    if target is not None and not target.absolute().parent.is_dir():
        raise UserError(f"--json {target}: there is no directory {target.absolute().parent}")
    overrides = Overrides(
        options.workers, options.spares, options.directory, dict(options.set), options.verify, options.resume
    )
    with _assembled(options.target, overrides) as run:
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
    return fail("\n".join(found), BAD_USAGE) if found else DONE


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return DONE


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
