"""The reference lists what there is: names, arguments, fields, options, kinds of events. All of it, and no more."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

import elastic
from dstream import RDD, BatchInfo, DStream, OutputInfo, ReceiverInfo, StateStream, StreamingContext, StreamingListener
from elastic import (
    KeyedStream,
    ListState,
    Operator,
    Query,
    Stream,
    ValueState,
    WindowedStream,
    cli,
    errors,
    functions,
    sinks,
    sources,
    windows,
)
from elastic.dashboard.launch import run_query
from elastic.operators.base import ColumnState, Context
from elastic.report import EVENT_KINDS, Report
from elastic.scenario.models import Elastic, Scenario, json_schema
from elastic.streams import ConnectedStreams
from elastic.testing import check_sink, check_source
from elastic.testing.faults import FAULTS
from elastic.testing.simulator import simulate
from elastic.testing.verdict import SimulationResult
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def _text(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def _sections(page: str) -> dict[str, str]:
    """The text under each heading, by the code that the heading names; its own sub-headings are left out."""
    parts = re.split(r"^#{2,4} (.+)$", _text(page), flags=re.MULTILINE)
    return {
        name: text
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
        for name in re.findall(r"`([^`]+)`", title)
    }


def _table(text: str) -> dict[str, list[str]]:
    """Rows of the tables in a text, by the code in their first cell."""
    rows = {}
    for line in text.splitlines():
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if line.startswith("|") and (name := re.fullmatch(r"`([^`]+)`", cells[0])):
            assert name[1] not in rows, f"{name[1]} stands there twice"
            rows[name[1]] = cells[1:]
    return rows


def _public(module: Any) -> list[str]:
    """What a module defines itself, its own functions and classes, without an underscore."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
    ]


# -- the API -----------------------------------------------------------------------------------------------------------

KINDS = (
    *(Query, Stream, KeyedStream, ConnectedStreams, WindowedStream),
    *(Operator, ValueState, ListState, ColumnState, Context),
)
METHODS: dict[str, Any] = {
    f"{kind.__name__}.{name}": value
    for kind in KINDS
    for base in reversed(kind.__mro__[:-1])
    for name, value in vars(base).items()
    if inspect.isfunction(value) and not name.startswith("_") and (kind, name) != (WindowedStream, "output")
}
FUNCTIONS: dict[str, Any] = {
    f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
    for module in (sources, sinks, windows)
    for name in module.__all__
    if name.islower()
} | {name: getattr(functions, name) for name in _public(functions) if inspect.isfunction(getattr(functions, name))}


@pytest.mark.parametrize("name", [*METHODS, *FUNCTIONS])
def test_every_function_is_in_the_reference_with_its_arguments_and_defaults(name: str) -> None:
    section = _sections("api.md")[name]
    parameters = dict(inspect.signature((METHODS | FUNCTIONS)[name]).parameters)
    parameters.pop("self", None)
    if name == "Query.run":  # what the execution model takes stands there too
        parameters = {
            n: p for n, p in inspect.signature(run_query).parameters.items() if n not in {"query", "settings"}
        }
        parameters["model"] = inspect.signature(Query.run).parameters["model"]

    documented = _table(section)

    assert set(documented) == set(parameters)
    for parameter, (default, *_) in documented.items():
        real = parameters[parameter].default
        assert default == ("" if real is inspect.Parameter.empty else f"`{real!r}`".replace("'", '"')), parameter


def test_settings_of_a_run_are_those_of_a_scenario() -> None:
    assert all(f"`{name}" in _sections("api.md")["Query.run"] for name in Elastic.model_fields)


@pytest.mark.parametrize("name", [*elastic.__all__, *sources.__all__, *sinks.__all__, *_public(functions)])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"`(?:\w+\.)*{name}\b", _text("api.md"))


@pytest.mark.parametrize("name", _public(errors))
def test_every_error_is_in_the_reference(name: str) -> None:
    assert name in _table(_sections("api.md")["elastic.errors"])


def test_what_a_context_tells_is_in_the_reference() -> None:
    properties = {name for name, value in vars(Context).items() if isinstance(value, property)}
    told = {*inspect.get_annotations(Context), *properties}

    assert told == {n.removeprefix("ctx.") for n in _table(_sections("api.md")["Context"])}


def test_a_simulation_has_the_arguments_and_defaults_of_the_reference() -> None:
    documented = _table(_sections("testing.md")["simulate"])
    parameters = inspect.signature(simulate).parameters

    assert set(documented) == set(parameters)
    for name, (default, *_) in documented.items():
        real = parameters[name].default
        assert default == (
            "" if real is inspect.Parameter.empty else "`FAULTS`" if real is FAULTS else f"`{real!r}`"
        ), name


@pytest.mark.parametrize("check", [check_source, check_sink])
def test_a_check_has_the_arguments_and_defaults_of_the_reference(check: Any) -> None:
    documented = _table(_sections("testing.md")[check.__name__])
    parameters = inspect.signature(check).parameters

    assert set(documented) == set(parameters)
    for name, (default, *_) in documented.items():
        real = parameters[name].default
        said = "" if real is inspect.Parameter.empty else f"`{real!r}`".replace("'", '"')
        assert default == said, name


def test_the_result_of_a_simulation_has_the_fields_of_the_reference() -> None:
    told = {f.name for f in fields(SimulationResult)} | {
        name for name, value in vars(SimulationResult).items() if isinstance(value, property)
    }

    assert set(_table(_sections("testing.md")["SimulationResult"])) == told


def test_every_fault_of_a_simulation_is_in_the_reference() -> None:
    told = _table(_text("testing.md").partition("## What can fail")[2].partition("## ")[0])

    assert set(told) == set(FAULTS)


@pytest.mark.parametrize("kind", [StreamingContext, DStream, StateStream, RDD, StreamingListener])
def test_every_method_of_the_streaming_api_is_in_its_reference(kind: type) -> None:
    page = _text("dstream.md")
    own = {"context", "interval_ms", "key_groups", "model", "name"}  # what methods of streams look at
    names = {name for name in dir(kind) if not name.startswith("_") and inspect.isfunction(getattr(kind, name))}

    assert {name for name in names - own if not re.search(rf"`(?:[\w.]*\.)?{name}(?:\(|`)", page)} == set()


@pytest.mark.parametrize("kind", [BatchInfo, OutputInfo, ReceiverInfo])
def test_every_field_of_what_listeners_are_told_is_in_the_reference(kind: Any) -> None:
    assert {f.name for f in fields(kind)} <= set(re.findall(r"`(\w+)`", _text("dstream.md")))


# -- scenarios ---------------------------------------------------------------------------------------------------------


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """(dotted name, section, field) of everything that may be written in a scenario."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", model, name
        inner = _section_in(field.annotation)
        if inner is not None:
            yield from _fields(inner, "target." if inner.__name__ == "Target" else f"{prefix}{name}.")


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner))), None)


FIELDS = {name: (model, field) for name, model, field in _fields(Scenario)}


def test_the_reference_lists_exactly_the_fields_of_a_scenario() -> None:
    assert set(_table(_text("scenario.md"))) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_has_the_default_that_the_reference_says(name: str) -> None:
    model, field = FIELDS[name]
    schema = json_schema()
    section = schema if model is Scenario else schema["$defs"][model.__name__]
    default = section["properties"][field].get("default")
    required = model.model_fields[field].is_required()

    said = _table(_text("scenario.md"))[name][0]

    if required:
        assert said == "required"
    elif isinstance(default, str | int) and not isinstance(default, bool):
        assert said == f"`{default}`"
    else:
        assert said == ""


# -- the command -------------------------------------------------------------------------------------------------------


def _commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    parser = cli._parser()
    yield "elastic", parser
    (commands,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    yield from ((f"elastic {name}", sub) for name, sub in commands.choices.items())


@pytest.mark.parametrize(("command", "parser"), list(_commands()), ids=str)
def test_the_reference_lists_exactly_the_arguments_of_a_command(command: str, parser: argparse.ArgumentParser) -> None:
    wanted = set()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        name = action.option_strings[-1] if action.option_strings else str(action.metavar)
        wanted.add(f"{name} {action.metavar}" if action.option_strings and action.metavar else name)

    said = {name.replace("\\|", "|") for name in _table(_sections("cli.md")[command])}

    assert said == wanted


# -- the report --------------------------------------------------------------------------------------------------------


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of the report; those of a list's items after ``[].``."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = {"before": "from", "after": "to"}.get(field.name, field.name)
        yield f"{prefix}{name}"
        items = [t for t in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(t)]
        if items:
            yield from _paths(items[0], f"{prefix}{name}{'.' if is_dataclass(hints[field.name]) else '[].'}")


def test_the_reference_lists_exactly_the_fields_of_a_report() -> None:
    assert set(_table(_sections("report.md")["Report"])) == set(_paths(Report))


def test_the_reference_lists_exactly_the_kinds_of_events() -> None:
    said = {kind: cells[0].replace("`", "") for kind, cells in _table(_sections("report.md")["kind"]).items()}

    assert said == dict(EVENT_KINDS)


# -- pointers ----------------------------------------------------------------------------------------------------------

PAGES: list[Path] = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _anchors(page: Path) -> set[str]:
    """The anchors that headings of a page get where it is shown."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_name_of_the_code_that_a_page_mentions_exists(page: Path) -> None:
    named = set(re.findall(r"`(elastic(?:\.\w+)+)(?:\(\))?`", page.read_text(encoding="utf-8")))

    for name in named - set(FIELDS) - {"elastic.models"}:  # fields of scenarios, and a group of entry points
        _find(name)


def _find(name: str) -> object:
    found: Any = elastic
    parts = name.split(".")
    for n, part in enumerate(parts[1:], 2):
        found = getattr(found, part) if hasattr(found, part) else import_module(".".join(parts[:n]))
    return found


def test_every_make_target_is_in_the_readme() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert all(f"`make {target}" in (ROOT / "README.md").read_text(encoding="utf-8") for target in targets)


# -- words -------------------------------------------------------------------------------------------------------------

WORDS = (
    "operator", "query graph", "execution graph", "instance", "key group", "key interval", "tick", "τ",
    "closed through",
    "processing state", "buffer state", "routing state", "checkpoint", "backup holder", "input log", "interval",
    "RDD, lineage, partition, stage, task", "worker", "spare", "coordinator", "source", "sink", "edge", "chain",
    "subscription", "credit", "fingerprint", "generation", "version", "zombie", "reconfigure", "scenario", "lag",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_project_is_in_the_glossary(word: str) -> None:
    assert re.search(
        rf"^\*\*{re.escape(word)}\*\*", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_glossary_is_in_alphabetical_order() -> None:
    words = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert words == sorted(words, key=str.lower)


def test_every_word_of_the_glossary_says_where_it_lives_in_the_code() -> None:
    entries = re.split(r"^(?=\*\*)", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]

    without = [e.splitlines()[0] for e in entries if not re.search(r"`(elastic|dstream)[\w.]*`", e)]

    assert without == []


def test_a_file_of_the_code_that_a_page_names_is_there() -> None:
    """Most pages name what can be imported; a file that is named by its path must be there."""
    for page in PAGES:
        for path in re.findall(r"`((?:elastic|dstream|benchmarks)/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"
