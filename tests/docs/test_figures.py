"""The figures of the performance page come from a file of results, and from nowhere else."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest

from tests.docs.pages import ROOT

RESULTS = {
    "host": {"cpu": "some cpu", "cores": 4},
    "rows": [
        {"name": "wordcount", "value": 24.4165, "unit": "M words/s", "reference": 29.6, "ratio": 0.8251, "target": 0.7,
         "met": True},
        {"name": "p99", "value": 1830.4, "unit": "ms", "reference": None, "ratio": None, "target": 20, "met": False},
        {"name": "idle", "value": 3, "unit": "% of a core", "reference": None, "ratio": None, "target": 5, "met": None},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_become_a_table_under_the_machine_that_gave_them(figures: ModuleType) -> None:
    lines = figures.table(RESULTS).splitlines()

    assert lines[0] == "Measured on: cpu some cpu, cores 4."
    assert "| wordcount | 24.4 | M words/s | 29.6 | 0.825 | 0.7 | yes |" in lines
    assert "| p99 | 1,830 | ms |  |  | 20 | **no** |" in lines
    assert "| idle | 3 | % of a core |  |  | 5 |  |" in lines


def test_filling_the_page_twice_changes_nothing_more(figures: ModuleType) -> None:
    page = figures.PAGE.read_text(encoding="utf-8")

    once = figures.filled(page, RESULTS)

    assert "| wordcount |" in once
    assert figures.filled(once, RESULTS) == once
    assert once.partition(figures.BEGIN)[0] == page.partition(figures.BEGIN)[0]
    assert once.partition(figures.END)[2] == page.partition(figures.END)[2]


def test_the_page_shows_the_results_that_are_recorded_or_none(figures: ModuleType) -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    if "No results have been recorded yet" in page:
        return

    assert figures.filled(page, json.loads(figures.RESULTS.read_text(encoding="utf-8"))) == page
