"""Patterns find what Python's ``glob`` finds, and folders that are left out are not looked into."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors import globbing
from elastic.connectors.files import FilePatterns
from elastic.connectors.globbing import matches

names = st.sampled_from(["a", "b", "ab", ".h", "c.py", "[x]"])
files = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=12)
patterns = st.lists(
    st.sampled_from(["**", "*", "a", "a*", "?", "*.py", ".*", "[ab]", "[!a]", "b", "[[]x]"]), min_size=1, max_size=4
).map("/".join)


def made(directory: str, paths: list[str]) -> None:
    """The files, as far as no name is a file and a folder at once."""
    for path in paths:
        file = Path(directory, path)
        if not file.exists() and not any(parent.is_file() for parent in file.parents):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


@given(files, patterns)
def test_the_same_files_are_found_as_by_pythons_glob(paths: list[str], pattern: str) -> None:
    with TemporaryDirectory() as directory:
        made(directory, paths)
        found = matches(f"{directory}/{pattern}", lambda _: False)
        expected = glob.glob(f"{directory}/{pattern}", recursive=True)  # noqa: PTH207

        # "a/**" gives "a/" even where a is a file.
        assert {p for p in found if Path(p).is_file()} == {
            p for p in expected if Path(p).is_file() and not p.endswith("/")
        }


@given(files, st.sampled_from(["/a/", "a", "/b/*", "*/a/*", "*b*", ".py", "*.py"]))
def test_what_is_excluded_is_the_same_whether_it_is_looked_at_or_not(paths: list[str], exclude: str) -> None:
    with TemporaryDirectory() as directory:
        made(directory, [f"top/{path}" for path in paths])
        wanted = FilePatterns("files", (f"{directory}/top/**/*",), (exclude,))
        every = FilePatterns("files", wanted.patterns, ())

        assert list(wanted.look()) == [path for path in every.look() if not wanted._excluded(path)]


def test_a_folder_that_is_left_out_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(str(tmp_path), ["src/a.py", "src/node_modules/x/y.py", "node_modules/z.py"])
    seen = list[str]()
    entries = globbing._entries
    monkeypatch.setattr(globbing, "_entries", lambda folder: seen.append(folder) or entries(folder))  # type: ignore[func-returns-value]

    found = FilePatterns("files", (f"{tmp_path}/**/*.py",), ("/node_modules/",)).find()

    assert found == [f"{tmp_path}/src/a.py"]
    assert not [folder for folder in seen if "node_modules" in folder]


def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    made(str(tmp_path), ["top/inside/a.txt"])
    (tmp_path / "top" / "inside" / "up").symlink_to(tmp_path / "top")
    (tmp_path / "beside").symlink_to(tmp_path / "top" / "inside")

    found = {os.path.relpath(p, tmp_path) for p in matches(f"{tmp_path}/**/*.txt", lambda _: False)}

    assert "top/inside/a.txt" in found
    assert "beside/a.txt" in found
    assert len(found) <= 4
