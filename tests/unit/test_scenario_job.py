"""From the name of a job to its query, and what is said when that does not work."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import elastic
from elastic.errors import UserError
from elastic.scenario.job import filled, load_function, load_query
from elastic.scenario.mistakes import FieldError

JOB = """\
from tests.unit.scenario_fakes import count_query
query = count_query()
def made(rate, size=1): return count_query(f"made-{rate}-{size}")
def forgetful(): count_query()
def loose(**options): return count_query("-".join(options))
def broken(): return {}["gone"]
def careful(rate):
    from elastic.units import parse_rate
    parse_rate(rate)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a job in it; modules and the search path are as before afterwards."""
    (tmp_path / "counting_job.py").write_text(JOB, encoding="utf-8")
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_query_is_found_by_file_and_name(folder: Path) -> None:
    assert load_query("counting_job.py:query", folder, {}).name == "counting"
    assert load_query("counting_job.py", folder, {}).name == "counting"
    assert load_query(f"{folder}/counting_job.py", Path("/"), {}).name == "counting"


def test_a_function_is_called_with_the_parameters(folder: Path) -> None:
    assert load_query("counting_job.py:made", folder, {"rate": "3"}).name == "made-3-1"
    assert load_query("counting_job.py:loose", folder, {"a": 1, "b": 2}).name == "a-b"


def test_a_query_is_found_by_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert load_query("counting_job:query", Path("/"), {}).name == "counting"


def test_modules_beside_the_job_can_be_imported(folder: Path) -> None:
    (folder / "beside_the_job.py").write_text("NAME = 'neighbour'\n")
    (folder / "with_import.py").write_text(
        "from beside_the_job import NAME\n"
        "from tests.unit.scenario_fakes import count_query\n\nquery = count_query(NAME)\n"
    )

    assert load_query("with_import.py", folder, {}).name == "neighbour"


def test_a_job_whose_name_is_taken_is_loaded_all_the_same(folder: Path) -> None:
    (folder / "json.py").write_text(JOB)

    assert load_query("json.py:query", folder, {}).name == "counting"
    assert sys.modules["json"].__file__ != str(folder / "json.py")


@pytest.mark.parametrize(
    ("target", "parameters", "problem"),
    [
        ("countingjob.py", {}, r"^job: there is no file .*; did you mean counting_job\.py\?"),
        ("counting_job.py:qery", {}, r"^job: counting_job\.py has no qery; did you mean query\? It has query"),
        ("counting_job.py:", {}, r"names nothing; write file\.py:query"),
        (".", {}, r'^job: "\." is no module; write file\.py:query'),
        ("..:query", {}, r'^job: "\.\.:query" is no module; write file\.py:query'),
        ("no_such_module:query", {}, r"^job: there is no module no_such_module"),
        ("counting_job.py:number", {}, r"is an int; expected a Query, or a function that returns one"),
        ("counting_job.py:forgetful", {}, r"returned None; expected a Query; did you forget to return it\?"),
        ("counting_job.py:made", {"rat": 1}, r"^parameters\.rat: there is no such parameter; did you mean rate\? "),
        ("counting_job.py:made", {}, r"^parameters\.rate: is missing; counting_job\.py:made needs it"),
        ("counting_job.py:query", {"rate": 1}, r"^parameters\.rate: .* takes no parameters; make it a function"),
        ("counting_job.py:careful", {"rate": "4MB/s"}, r'^parameters\.rate: "4MB/s" is not a rate; write 4MiB/s$'),
    ],
)
def test_a_mistake_names_the_field_and_what_to_write(
    folder: Path, target: str, parameters: dict[str, object], problem: str
) -> None:
    with pytest.raises(FieldError, match=problem):
        load_query(target, folder, parameters)


def test_what_the_job_raises_is_shown_with_its_own_lines_only(folder: Path) -> None:
    with pytest.raises(FieldError) as caught:
        load_query("counting_job.py:broken", folder, {})

    text = str(caught.value)
    assert text.endswith("KeyError: 'gone'")
    assert re.findall(r'File "([^"]+)"', text) == [str(folder / "counting_job.py")]


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("sources.from_list([1], rate='fast')", 4, '"fast" is not a rate; write '),
        ("query.source(sources.from_list([1])).flatmap(str)", 4, "a Stream has no flatmap; did you mean flat_map?"),
        ("query.source(sources.from_list([1])).key_by().cuont()", 4, "a KeyedStream has no cuont; did you mean count?"),
        ("query.run()", 4, "run() runs whenever this file is imported, which every process of the job does"),
        ("def main():\n    query.run()\nmain()", 5, "run() runs whenever this file is imported"),
        ("import sys; sys.exit('enough')", 4, "SystemExit: enough"),
    ],
)
def test_a_mistake_at_the_top_of_a_job_is_told_with_its_line_and_none_of_ours(
    folder: Path, code: str, line: int, said: str
) -> None:
    (folder / "slipping.py").write_text(f"from elastic import Query, sources\n\nquery = Query('x')\n{code}\n")

    with pytest.raises(UserError) as caught:
        load_query("slipping.py", folder, {})

    text = str(caught.value)
    assert said in text
    assert f"slipping.py:{line}: " in text or f'slipping.py", line {line}, in' in text
    assert str(Path(elastic.__file__).parent) not in text


def test_a_syntax_error_is_shown_where_it_is(folder: Path) -> None:
    (folder / "slip.py").write_text("query = (\n")

    with pytest.raises(FieldError, match=r"slip\.py\", line 1(.|\n)*SyntaxError: '\(' was never closed"):
        load_query("slip.py", folder, {})


def test_a_check_must_be_a_function(folder: Path) -> None:
    assert load_function("counting_job.py:made", folder, "check").__name__ == "made"
    with pytest.raises(FieldError, match=r"^check: .* is an int; expected a function"):
        load_function("counting_job.py:number", folder, "check")


def test_placeholders_are_replaced_at_any_depth() -> None:
    given = {"paths": ["{stdlib}/*.py", "{here}/x"], "out": {"db": "{job_dir}/c.db"}, "braces": "{{x}}", "n": 3}

    assert filled(given, Path("/scenario"), Path("/job")) == {
        "paths": [f"{sysconfig.get_path('stdlib')}/*.py", "/scenario/x"],
        "out": {"db": "/job/c.db"},
        "braces": "{x}",
        "n": 3,
    }


def test_an_unknown_placeholder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FieldError, match=r"^parameters\.p\[0\]: \{stdlb\} stands for nothing; did you mean stdlib\?"):
        filled({"p": ["{stdlb}/x"]}, Path("/"), Path("/"))


def test_a_mistake_in_a_file_with_a_blank_in_its_name_is_told_with_its_line_once(folder: Path) -> None:
    (folder / "my job.py").write_text("from elastic import Query\nquery = Query('my job')\n")

    with pytest.raises(UserError) as caught:
        load_query("my job.py", folder, {})

    assert str(caught.value).count("my job.py:2: ") == 1
