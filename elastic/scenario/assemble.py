"""From a scenario file, or a job alone, to a ``Run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic.cluster.remote import JOBS
from elastic.plan import Settings
from elastic.scenario.job import Runs, filled, load_function, load_query
from elastic.scenario.load import LoadedScenario
from elastic.scenario.runner import Run


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the scenario, or beside the job; None leaves it as it is."""

    workers: int | None = None
    spares: int | None = None
    directory: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    verify: bool = False
    resume: bool = False


def run_of_scenario(loaded: LoadedScenario, overrides: Overrides = Overrides()) -> Run:
    """What the scenario says, its job and functions loaded.

    Raises:
        FieldError: A field names something that is not there, or does not fit.
        UserError: The job's code built a query with a mistake.
    """
    scenario, base = loaded.scenario, loaded.directory
    directory = job_directory(scenario.name, overrides.directory)
    parameters = filled({**scenario.parameters, **overrides.parameters}, base, directory)
    query = load_query(scenario.job, base, parameters)
    return Run(
        name=scenario.name,
        query=query,
        directory=directory,
        model=_model(query, scenario.model),
        workers=scenario.cluster.workers if overrides.workers is None else overrides.workers,
        spares=scenario.cluster.spares if overrides.spares is None else overrides.spares,
        settings=scenario.elastic.settings(scenario.cluster.memory),
        dstream=scenario.dstream,
        parameters=parameters,
        faults=scenario.faults,
        expect=scenario.expect,
        check=None if scenario.check is None else load_function(scenario.check, base, "check"),
        show=None if scenario.show is None else load_function(scenario.show, base, "show"),
        verify=overrides.verify,
        resume=overrides.resume,
    )


def run_of_job(target: str, overrides: Overrides = Overrides()) -> Run:
    """The job alone, on the default cluster, with nothing broken and nothing expected.

    Raises:
        FieldError: The target names nothing, or its parameters do not fit.
        UserError: The job's code built a query with a mistake.
    """
    here = Path.cwd()
    stem = Path(target.rpartition(":")[0] or target).stem
    parameters = filled(overrides.parameters, here, job_directory(stem, overrides.directory))
    query = load_query(target, here, parameters)
    return run_of_query(query, overrides, parameters=parameters)


def run_of_query(
    query: Runs,
    overrides: Overrides,
    *,
    settings: Settings | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Run:
    """A query alone, as it is run from a script."""
    return Run(
        name=query.name,
        query=query,
        directory=job_directory(query.name, overrides.directory),
        model=_model(query, "elastic"),
        workers=4 if overrides.workers is None else overrides.workers,
        spares=1 if overrides.spares is None else overrides.spares,
        settings=settings or Settings(),
        parameters=parameters or {},
        verify=overrides.verify,
        resume=overrides.resume,
    )


def _model(query: Runs, asked: str) -> str:
    """The execution model: a query runs under any, a program that was written for one says which."""
    return str(getattr(query, "model", asked))


def job_directory(name: str, given: Path | None) -> Path:
    """Absolute path of the job directory: the given one, or ``.elastic/NAME``."""
    return (JOBS / name if given is None else given).absolute()
