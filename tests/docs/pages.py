"""Pages of the documentation as programs: their fenced blocks, and how each of them is run.

A block is run by what its tag says. What differs is said in a comment right above it, which a reader does not see:

``<!-- prints -->``          a ``text`` block: what the ``python`` block before it prints
``<!-- exit 3 -->``          the last command of a ``console`` block ends with this code
``<!-- figures vary -->``    numbers and their units are not compared
``<!-- slow -->``            takes seconds: the whole page is left out of ``make test-fast``
``<!-- dry run: why -->``    ``make`` only has to know the target
``<!-- not run: why -->``    nothing is run; the reason is for whoever reads the source

A ``python`` or ``yaml`` block whose first line is a comment with a file name becomes that file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from elastic.scenario.models import Scenario

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<tag>[\w-]*)[ \t]*\n(?P<text>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"<!-- (?P<said>[^>]*?) -->\s*\Z")
_FILE = re.compile(r"# (?P<name>[\w./-]+\.(?:py|yaml))\n")
_FIGURE = re.compile(
    r" \(\d+:\d\d:\d\d\)|\b(?:\d+h\d\dm|\d+m\d\ds)\b|-?\d[\d,]*(?:\.\d+)?(?: ?(?:ms|s|[kMG]|B|[KMG]iB)\b)?|\bNone\b"
)
_COUNTED = re.compile(r"\b0 ([a-z]+)s\b")
COMMAND_LIMIT_S = 180


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        said: What the comment above it says, item by item.
    """

    page: Path
    line: int
    tag: str
    text: str
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def has(self, directive: str) -> bool:
        """Whether the comment above says so."""
        return any(said == directive or said.startswith(f"{directive}:") for said in self.said)

    @property
    def file(self) -> str | None:
        """The file that it is, if it is one."""
        match = _FILE.match(self.text) if self.tag in {"python", "yaml"} else None
        return match["name"] if match else None

    @property
    def exit_code(self) -> int:
        """What its last command has to end with."""
        return next((int(said.removeprefix("exit ")) for said in self.said if said.startswith("exit ")), 0)


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()])
        said = tuple(part.strip() for part in comment["said"].split(";")) if comment else ()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["tag"], match["text"], said))
    return found


def starts_processes(block: Block) -> bool:
    """Whether running it runs a job."""
    return not block.has("not run") and (
        (block.tag == "console" and "elastic run" in block.text)
        or (block.tag == "python" and block.file is None and ".run(" in block.text)
        or (block.tag == "console" and bool(re.search(r"^\$ python \S+\.py", block.text, re.MULTILINE)))
    )


@dataclass
class Reader:
    """Somebody who follows a page from top to bottom in an empty directory.

    Attributes:
        names: What the page's Python has defined so far.
        printed: By the last ``python`` block.
    """

    directory: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    printed: str = ""

    def follow(self, block: Block) -> None:
        """Do what the block says; raises an ``AssertionError`` where it is not true."""
        if block.has("not run"):
            return
        if block.file is not None:
            path = self.directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        how = getattr(self, f"_{block.tag}", None)
        assert how is not None, f"{block}: nobody runs blocks tagged {block.tag!r}; say why with <!-- not run: … -->"
        how(block)

    def _python(self, block: Block) -> None:
        code = compile("\n" * block.line + block.text, str(block.page), "exec")
        if block.file is not None:
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)  # noqa: S102 (our own documentation)
        self.printed = printed.getvalue()

    def _text(self, block: Block) -> None:
        assert block.has("prints"), f"{block}: write <!-- prints --> above what the python block before it prints"
        compare(block, block.text, self.printed)

    def _console(self, block: Block) -> None:
        commands = list(_commands(block.text))
        assert commands, f"{block}: no line begins with '$ '"
        for n, (command, expected) in enumerate(commands, 1):
            if block.has("dry run"):
                assert command.startswith("make"), f"{block}: only make can be asked what it would do"
                command = command.replace("make", f"make -n -C {ROOT}", 1)  # noqa: PLW2901
            code, output = self._run(command)
            wanted = block.exit_code if n == len(commands) else 0
            assert code == wanted, f"{block}: {command!r} ended with {code} instead of {wanted}:\n{output}"
            if expected.strip():
                compare(block, expected, output)

    def _run(self, command: str) -> tuple[int, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            ["bash", "-c", command],  # noqa: S607
            cwd=self.directory,
            env=os.environ | {"PATH": path, "PYTHONPATH": python_path, "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
        )
        return done.returncode, done.stdout

    def _yaml(self, block: Block) -> None:
        """A whole scenario, or a part of one."""
        part = yaml.safe_load(block.text)
        Scenario.model_validate({"name": "part", "job": "job.py", **part})

    def _json(self, block: Block) -> None:
        json.loads(block.text)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block; a command goes on in the next line after a backslash."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *rest = re.split(r"(?<!\\)\n", part, maxsplit=1)
        yield command.replace("\\\n", " "), "".join(rest)


def compare(block: Block, expected: str, actual: str) -> None:
    """Lines of ``expected`` are those of ``actual``; a line of three dots stands for any number of lines."""
    vary = block.has("figures vary")
    wanted, found = _lines(expected, vary=vary), _lines(actual, vary=vary)
    assert _matches(wanted, found), f"{block}: this was printed:\n{actual}\ninstead of:\n{expected}"


def _lines(text: str, *, vary: bool) -> list[str]:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return [_without_figures(line) for line in lines] if vary else lines


def _without_figures(line: str) -> str:
    """Every figure is 0, and what is counted is in the singular: 1 record and 96 records are one line.

    What pytest adds to the seconds of a run that took minutes is left out.
    """
    figures = _FIGURE.sub(lambda found: "" if found[0].endswith(")") else "0", line)
    return " ".join(_COUNTED.sub(r"0 \1", figures).split())


def _matches(wanted: list[str], found: list[str]) -> bool:
    if not wanted:
        return not found
    if wanted[0].strip() == "...":
        return any(_matches(wanted[1:], found[i:]) for i in range(len(found) + 1))
    return bool(found) and wanted[0] == found[0] and _matches(wanted[1:], found[1:])
