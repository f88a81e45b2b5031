"""Imports point down the list of floors and never up; the pure floors do no I/O; a file on no floor fails too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: From the ground up: a room uses only itself and what stands above it in this list. The longest prefix wins.
FLOORS = [
    "elastic.ours",
    "elastic.errors",
    "elastic.surface",
    "elastic.units",
    "elastic.windows",
    "elastic.hashing",
    "elastic.keys",
    "elastic.batch",
    "elastic.pickling",
    "elastic.fingerprint",
    "elastic.text",
    "elastic.functions",
    "elastic.report",
    "elastic.connectors.base",  # the contracts of sources and sinks; those that keep them come later
    "elastic.policies",
    "elastic.plan",
    "elastic.state.processing",
    "elastic.state.folding",
    "elastic.state.spill",
    "elastic.state.checkpoint",
    "elastic.operators",
    "elastic.callables",
    "elastic.arguments",
    "elastic.graph",
    "elastic.nodes",
    "elastic.streams",
    "elastic.query",
    "elastic.protocol",  # its messages carry checkpoints
    "elastic.state",  # buffers and routes speak the protocol
    "elastic.instance",
    "elastic.coordinator",
    "elastic.wire",
    "elastic.connectors",
    "elastic.worker",
    "elastic.server",
    "elastic.cluster",
    "elastic.testing",
    "elastic.scenario",
    "elastic.dashboard",
    "elastic.commands",
    "elastic.cli",
    "elastic.__main__",
    "dstream.plan",
    "dstream.versions",
    "dstream.logic",
    "dstream.operators",
    "dstream.blocks",
    "dstream.protocol",
    "dstream.pairs",
    "dstream.flow",
    "dstream.datasets",
    "dstream.merges",
    "dstream.state",
    "dstream.sliding",
    "dstream.queued",
    "dstream.refreshed",
    "dstream.hand_over",
    "dstream.printing",
    "dstream.outages",
    "dstream.reading",
    "dstream.local",
    "dstream.graph",
    "dstream.streams",
    "dstream.transforms",
    "dstream.stream",
    "dstream.rdd",
    "dstream.recordings",
    "dstream.listeners",
    "dstream.news",
    "dstream.outputs",
    "dstream.inputs",
    "dstream.scheduler",
    "dstream.worker",
    "dstream.worker.state_files",
    "dstream.worker.shell",
    "dstream.interval_file",
    "dstream.job",
    "dstream.kept",
    "dstream.model",
    "dstream.history",
    "dstream.calling",
    "dstream.attended",
    "dstream.running",
    "dstream.context",
    "dstream.testing",
    "dstream",
]

#: The front door hands out names from every floor, on first use; so nothing inside may come in through it.
DOOR = "elastic"

#: No I/O, no clock, no randomness, no threads: what makes the simulator possible.
PURE = {
    "elastic.ours",
    "elastic.errors",
    "elastic.units",
    "elastic.windows",
    "elastic.hashing",
    "elastic.keys",
    "elastic.batch",
    "elastic.pickling",
    "elastic.fingerprint",
    "elastic.text",
    "elastic.functions",
    "elastic.state.processing",
    "elastic.state.spill",
    "elastic.state.checkpoint",
    "elastic.state",
    "elastic.operators",
    "elastic.policies",
    "elastic.plan",
    "elastic.protocol",
    "elastic.instance",
    "elastic.coordinator",
    "dstream.plan",
    "dstream.versions",
    "dstream.logic",
    "dstream.operators",
    "dstream.blocks",
    "dstream.protocol",
    "dstream.pairs",
    "dstream.flow",
    "dstream.datasets",
    "dstream.merges",
    "dstream.state",
    "dstream.sliding",
    "dstream.outages",
    "dstream.reading",
    "dstream.scheduler",
    "dstream.worker",
}
# fmt: off
IMPURE_MODULES = {
    "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "psutil", "queue", "random",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
    "threading", "time", "uuid", "zmq",
}
# fmt: on
IMPURE_CALLS = {"open", "print", "input"}

#: Impure names that a pure floor may use after all.
EXCEPTIONS = {
    ("elastic.pickling", "io"): "io.BytesIO is memory, not a file",
    ("elastic.operators", "random"): "random.Random is ctx.random, seeded from job, tick and key group",
}

#: Imports inside functions: (file, module) and why it is not at the top.
INSIDE_FUNCTIONS = {
    (
        "elastic.dashboard.launch",
        "elastic.dashboard.live",
    ): "rich is slow to load, and a run without a terminal shows lines",
    ("elastic.dashboard.launch", "elastic.dashboard.summary"): "the same; and the job need not wait for it",
    ("elastic.scenario.runner", "elastic.cluster.job"): "validate and schema start no processes, and need no sockets",
    ("elastic.scenario.verify", "elastic.testing.reference"): "only a run that is verified loads the simulator",
}


@dataclass(frozen=True)
class Import:
    """One import statement's module."""

    module: str
    line: int
    inside: bool  # a function

    def __str__(self) -> str:
        return f"line {self.line} imports {self.module}"


def imports(tree: ast.AST, known: set[str], *, inside: bool = False) -> Iterator[Import]:
    """Every module that is imported in a tree; ``from package import module`` names the module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name of the module, not a relative one"
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield Import(member if member in known else str(node.module), node.lineno, inside)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(node, known, inside=inside or function)


def floor(module: str) -> str | None:
    """The floor that a module belongs to: the longest prefix of it in the list."""
    fitting = [room for room in FLOORS if module == room or module.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def excepted(room: str) -> set[str]:
    """The impure modules that a pure floor may use after all."""
    return {name for owner, name in EXCEPTIONS if owner == room}


def problems(module: str, source: str, known: set[str]) -> list[str]:
    """What a module's source breaks; empty if nothing."""
    room = floor(module)
    if room is None:
        return [f"{module} is on no floor: add its room to FLOORS, above all that it uses"]
    tree = ast.parse(source)
    found = []
    for used in imports(tree, known):
        target = floor(used.module)
        if used.module == DOOR:
            found.append(f"{used}, the front door; import from the room itself")
        elif target and FLOORS.index(target) > FLOORS.index(room):
            found.append(f"{used}, which stands above {room}")
        elif room in PURE and used.module.partition(".")[0] in IMPURE_MODULES - excepted(room):
            found.append(f"{used}, and {room} is pure: hand in what it gives as an argument")
        if used.inside and (module, used.module) not in INSIDE_FUNCTIONS:
            found.append(f"{used} inside a function: move it up, or list it in INSIDE_FUNCTIONS with the reason")
    if room in PURE:
        found += [
            f"line {node.lineno} calls {node.func.id}(), and {room} is pure"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
        ]
    return found


def module_name(path: Path) -> str:
    """The dotted name of a file under the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(p): p for top in ("elastic", "dstream") for p in sorted((ROOT / top).rglob("*.py"))}
KNOWN = {*FILES, f"{DOOR}.__version__"}  # the one name that the door itself holds


@pytest.mark.parametrize("module", [name for name in FILES if name != DOOR])
def test_a_module_uses_only_what_stands_below_it(module: str) -> None:
    assert problems(module, FILES[module].read_text(encoding="utf-8"), KNOWN) == []


def test_the_front_door_imports_nothing_of_ours_before_it_is_asked() -> None:
    """``import elastic`` stays quick: names are found on first use, and only type checkers see them all."""
    tree = ast.parse(FILES[DOOR].read_text(encoding="utf-8"))

    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert not [i for node in top for i in imports(ast.Module([node], []), KNOWN) if floor(i.module)]


def test_every_exception_is_still_needed() -> None:
    """A reason without its case would mislead the next reader."""
    used = {
        (module, i.module, i.inside)
        for module, path in FILES.items()
        for i in imports(ast.parse(path.read_text(encoding="utf-8")), KNOWN)
    }

    assert set(INSIDE_FUNCTIONS) <= {(module, name) for module, name, inside in used if inside}
    assert set(EXCEPTIONS) <= {(str(floor(module)), name.partition(".")[0]) for module, name, _ in used}


def test_the_architecture_lists_the_rooms_of_elastic_in_this_order() -> None:
    """A room that the page names exists, and stands after all that it may use."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `elastic.")]

    rooms = [room.strip("`") for row in rows for room in row.removeprefix("| ").split()]

    assert sorted(rooms, key=FLOORS.index) == rooms


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("elastic.batch", "from elastic import worker", "above"),
        ("elastic.batch", "from elastic.worker import host", "above"),
        ("elastic.plan", "from elastic.connectors.files import TextFiles", "above"),
        ("elastic.cli", "import dstream.stream", "above"),
        ("elastic.cli", "from elastic import Query", "front door"),
        ("elastic.instance", "import time", "pure"),
        ("elastic.coordinator.detector", "from os import path", "pure"),
        ("elastic.state.buffer", "def spill(p):\n    return open(p)", "pure"),
        ("elastic.cli", "def main():\n    import rich", "inside a function"),
        ("elastic.helpers", "", "no floor"),
    ],
)
def test_the_rule_sees_what_breaks_it(module: str, source: str, problem: str) -> None:
    (found,) = problems(module, source, {"elastic.worker", "elastic.worker.host"})

    assert problem in found


def test_the_rule_lets_pass_what_keeps_it() -> None:
    source = "import numpy\nfrom elastic.connectors.base import Source\nfrom elastic.batch import Batch"

    assert problems("elastic.plan", source, {"elastic.batch"}) == []
