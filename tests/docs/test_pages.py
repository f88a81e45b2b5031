"""Every block of the documentation is run, in the order in which a reader meets it, and prints what the page says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, Reader, blocks_of, starts_processes


def _cases(*, jobs: bool) -> Sequence[object]:
    """The pages with blocks that start processes, or those without, marked by what their blocks cost."""
    cases = []
    for page in PAGES:
        blocks = blocks_of(page)
        if any(map(starts_processes, blocks)) != jobs:
            continue
        marks = [pytest.mark.timeout(480), *([pytest.mark.slow] if any(b.has("slow") for b in blocks) else [])]
        cases.append(pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks))
    return cases


@pytest.mark.parametrize("page", _cases(jobs=False))
def test_a_page_is_true_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _follow(page, tmp_path, monkeypatch)


@pytest.mark.cluster
@pytest.mark.usefixtures("nursery")
@pytest.mark.parametrize("page", _cases(jobs=True))
def test_a_page_whose_jobs_run_is_true_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _follow(page, tmp_path, monkeypatch)


def _follow(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    reader = Reader(tmp_path)

    known = set(sys.modules)
    try:
        for block in blocks_of(page):
            reader.follow(block)
    finally:  # another page has other modules of the same names
        for name in set(sys.modules) - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{tmp_path}"):
                del sys.modules[name]


def _block(tag: str, text: str, *said: str) -> Block:
    return Block(ROOT / "README.md", 1, tag, text, said)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (_block("", "what is this?\n"), "nobody runs"),
        (_block("rust", "fn main() {}\n"), "nobody runs"),
        (_block("text", "loose\n"), "prints"),
        (_block("python", "assert 1 == 2, 'no more'\n"), "no more"),
        (_block("console", "elastic run\n"), "no line begins"),
        (_block("console", "$ exit 3\n"), "ended with 3 instead of 0"),
        (_block("console", "$ true\n", "exit 3"), "ended with 0 instead of 3"),
        (_block("console", "$ echo one\ntwo\n"), "this was printed"),
        (_block("console", "$ make no-such-target\n", "dry run: …"), "ended with 2"),
    ],
)
def test_a_block_that_is_not_true_is_found(block: Block, problem: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=problem):
        Reader(tmp_path).follow(block)


@pytest.mark.parametrize(
    "block",
    [
        _block("console", "$ echo one; echo two; echo three\none\n...\nthree\n"),
        _block("console", "$ echo took 12.5ms for 3 records\ntook 9s for 1,000 records\n", "figures vary"),
        _block("console", "$ echo took 12.5ms for 3 records\ntook 2m05s for 1 record\n", "figures vary"),
        _block("console", "$ echo '2 passed in 63.20s (0:01:03)'\n2 passed in 0.5s\n", "figures vary"),
        _block("console", "$ echo a \\\n  b\na b\n"),
        _block("yaml", "faults:\n  - {at: 3s, kill: {worker: 1}}\n"),
        _block("", "anything\n", "not run: a picture"),
    ],
)
def test_a_block_that_is_true_passes(block: Block, tmp_path: Path) -> None:
    Reader(tmp_path).follow(block)


def test_what_a_python_block_prints_is_held_against_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(_block("python", "print(6 * 7)\n"))

    reader.follow(_block("text", "42\n", "prints"))
    with pytest.raises(AssertionError, match="this was printed"):
        reader.follow(_block("text", "43\n", "prints"))


def test_names_of_one_block_are_known_in_the_next(tmp_path: Path) -> None:
    reader = Reader(tmp_path)

    reader.follow(_block("python", "x = 1\n"))
    reader.follow(_block("python", "assert x == 1\n"))
