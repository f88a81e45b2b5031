"""Scenario files: YAML to a checked ``Scenario``, with every mistake named by file, line and field, all at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from elastic.callables import did_you_mean
from elastic.errors import QueryError, ScenarioError, SinkError, SourceError
from elastic.scenario.mistakes import FieldError, Location, dotted
from elastic.scenario.models import Scenario
from elastic.scenario.wording import problem


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain values, with the line on which each of them begins."""

    path: Path
    data: Any
    lines: Mapping[Location, int]

    def error(self, location: Location, problem: str) -> str:
        """``file:line: field: problem``; a field that is not in the file gets the line of the section it belongs to."""
        known = location
        while known and known not in self.lines:
            known = known[:-1]
        field = f"{dotted(location)}: " if location else ""
        return f"{self.path}:{self.lines.get(known, 1)}: {field}{problem}"


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A checked scenario, and the document it was read from, for mistakes that only show later."""

    scenario: Scenario
    document: Document

    @property
    def directory(self) -> Path:
        """The folder of the file, which its paths are relative to."""
        return self.document.path.resolve().parent

    def error(self, location: Location, problem: str) -> ScenarioError:
        """The error to raise for a value of this file."""
        return ScenarioError(self.document.error(location, problem))

    @contextmanager
    def naming_lines(self) -> Iterator[None]:
        """A mistake that shows inside the block leaves it as one that names this file, the line and the field."""
        try:
            yield
        except FieldError as error:
            raise self.error(error.location, error.problem) from None
        except (QueryError, SourceError, SinkError) as error:
            raise self.error(("job",), str(error)) from None


def load_scenario(path: Path) -> LoadedScenario:
    """The scenario in a YAML file.

    Raises:
        ScenarioError: The file cannot be read, is no YAML, or has mistakes: one line for each of them, in file order.
    """
    document = load_document(path)
    if not isinstance(document.data, dict):
        raise ScenarioError(document.error((), "a scenario is a mapping; it begins with name: and job:"))
    try:
        return LoadedScenario(Scenario.model_validate(document.data), document)
    except ValidationError as error:
        raise ScenarioError("\n".join(_problems(document, error.errors(include_url=False)))) from None


def load_document(path: Path) -> Document:
    """The file's values and their lines.

    Raises:
        ScenarioError: It cannot be read or is not one YAML document, or a key stands twice in one mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScenarioError(f"{path}: there is no such file{did_you_mean(path.name, _neighbours(path))}") from None
    except IsADirectoryError:
        raise ScenarioError(f"{path}: is a directory; name a scenario file in it") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is not UTF-8 (byte {error.start}); a scenario is a text file") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from None
    lines: dict[Location, int] = {(): 1}
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        data = None if node is None else _construct(loader, node, (), lines, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ScenarioError(f"{path}:{line}: this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: this is not YAML: {error}") from None
    finally:
        loader.dispose()
    return Document(path, data, lines)


def _construct(loader: yaml.SafeLoader, node: yaml.Node, at: Location, lines: dict[Location, int], path: Path) -> Any:
    """The node's value; lines of everything inside it go to ``lines``."""
    if isinstance(node, yaml.SequenceNode):
        items = []
        for i, item in enumerate(node.value):
            lines[*at, i] = item.start_mark.line + 1
            items.append(_construct(loader, item, (*at, i), lines, path))
        return items
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    loader.flatten_mapping(node)
    values: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ScenarioError(f"{path}:{line}: {dotted(at) or 'the scenario'}: the field name {key!r} is not text")
        if key in values:
            first = lines[*at, key]
            raise ScenarioError(f"{path}:{line}: {dotted((*at, key))}: stands here twice, first in line {first}")
        lines[*at, key] = line
        values[key] = _construct(loader, value_node, (*at, key), lines, path)
    return values


def _neighbours(path: Path) -> list[str]:
    """Names of the scenario files in the folder where one was looked for."""
    try:
        return [p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"}]
    except OSError:
        return []


def _problems(document: Document, errors: Sequence[ErrorDetails]) -> list[str]:
    """One line for each mistake, in file order; several reports about one value are one mistake."""
    found: dict[Location, tuple[int, str]] = {}
    for error in errors:
        location: Location = error["loc"]
        if error["type"] != "missing":
            while location not in document.lines:  # a branch of a union adds its own name to the location
                location = location[:-1]
        text = document.error(location, problem(error, location))
        line = document.lines.get(location, document.lines.get(location[:-1], 1))
        found.setdefault(location, (line, text))
    return [text for _, text in sorted(found.values(), key=lambda f: f[0])]
