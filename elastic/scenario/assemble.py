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
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import ELASTIC_ALONE, Scenario
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
        FieldError: A field names something that is not there, does not fit, or has no meaning for this job.
        UserError: The job's code built a query with a mistake.
    """
    scenario, base = loaded.scenario, loaded.directory
    directory = job_directory(scenario.name, overrides.directory)
    parameters = filled({**scenario.parameters, **overrides.parameters}, base, directory)
    query = load_query(scenario.job, base, parameters)
    model = _model(query, scenario.model)
    check_sections(scenario, model, has_settings=hasattr(query, "model"))
    return Run(
        name=scenario.name,
        query=query,
        directory=directory,
        model=model,
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


def check_sections(scenario: Scenario, model: str, *, has_settings: bool) -> None:
    """Return if all settings of a scenario have a meaning.

    Args:
        scenario: What was written.
        model: The execution model that its job runs under.
        has_settings: The job is a program that was written for the model, with settings of its own.

    Raises:
        FieldError: One has none.
    """
    cluster, elastic, dstream = scenario.cluster, scenario.elastic, scenario.dstream
    given = {"elastic": sorted(elastic.model_fields_set), "dstream": sorted(dstream.model_fields_set)}
    if has_settings:
        given["cluster"] = sorted(cluster.model_fields_set & {"memory"})
        for section, names in given.items():
            for name in names:
                raise FieldError(
                    (section, name), f"has no effect: the job is a program with settings of its own; set {name} there"
                )
    elif model == "elastic" and given["dstream"]:
        raise FieldError(("dstream",), "has no effect under model: elastic; write model: dstream, or leave it out")
    elif model != "elastic" and (idle := sorted(ELASTIC_ALONE & elastic.model_fields_set)):
        instead = "write dstream.checkpoint, a number of intervals" if idle[0] == "checkpoint" else "leave it out"
        raise FieldError(("elastic", idle[0]), f"has no effect under model: {model}; {instead}")


def _model(query: Runs, asked: str) -> str:
    """The execution model: a query runs under any, a program that was written for one says which."""
    return str(getattr(query, "model", asked))


def job_directory(name: str, given: Path | None) -> Path:
    """Absolute path of the job directory: the given one, or ``.elastic/NAME``."""
    return (JOBS / name if given is None else given).absolute()
