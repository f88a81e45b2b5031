"""``import elastic`` is quick, and every public name is there when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import elastic


@pytest.mark.parametrize("name", elastic.__all__)
def test_a_public_name_is_found_and_listed(name: str) -> None:
    assert getattr(elastic, name) is getattr(elastic, name)
    assert name in dir(elastic)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'elastic' has no attribute 'Qeury'"):
        elastic.Qeury  # noqa: B018


def test_importing_the_package_alone_loads_none_of_its_libraries() -> None:
    heavy = {"numpy", "pyarrow", "zmq", "pydantic", "rich", "psutil"}
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, elastic; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not heavy & set(loaded)


def test_the_version_is_a_number_that_pip_understands() -> None:
    assert all(part.isdigit() for part in elastic.__version__.split("."))
