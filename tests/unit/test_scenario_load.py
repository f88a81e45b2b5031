"""Scenario files: what is accepted, and how a mistake is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from elastic.errors import ScenarioError
from elastic.plan import Settings
from elastic.scenario.load import load_scenario
from elastic.scenario.models import Scenario, json_schema

WHOLE = """\
name: word-count-kill
job: jobs/word_count.py:query
parameters: {paths: "{stdlib}/**/*.py", rate: 4MiB/s}
model: elastic
cluster: {workers: 3, spares: 2, memory: 256MiB}
elastic: {tick: 20ms, checkpoint: 2s, key_groups: 128, heartbeat: 500ms, nondeterminism: warn, seed: 7}
faults:
  - {at: 3s, kill: {owner_of: count, instance: 0}}
  - {after: 200k records, pause: {worker: 2}}
expect: {result: verified, lost: 0, duplicated: 0, recovery: 5s, throughput: 1MiB/s}
"""


def load(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path).scenario


def problems(tmp_path: Path, text: str) -> list[str]:
    """The lines of the error, without the path of the file."""
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


def test_policies_for_records_that_fail_are_settings(tmp_path: Path) -> None:
    text = "name: s\njob: j.py\nelastic: {{on_error: {{map(parse): {policy}}}}}\n"

    assert load(tmp_path, text.format(policy="skip")).elastic.settings(1).on_error == {"map(parse)": "skip"}
    (problem,) = problems(tmp_path, text.format(policy="ignore"))
    assert problem.startswith("s.yaml:3: elastic.on_error.map(parse): ")
    assert "skip" in problem


def test_a_scenario_is_read_with_every_value_in_its_unit(tmp_path: Path) -> None:
    scenario = load(tmp_path, WHOLE)

    assert scenario.elastic.settings(scenario.cluster.memory) == Settings(
        tick_ms=20,
        checkpoint_ms=2000,
        key_groups=128,
        memory_bytes=256 << 20,
        heartbeat_ms=500,
        nondeterminism="warn",
        seed=7,
        auto_tick=False,
    )
    assert [str(f) for f in scenario.faults] == [
        "kill the owner of count#0 at 3s",
        "pause worker 2 after 200,000 records",
    ]
    assert scenario.expect.recovery == 5.0
    assert scenario.expect.throughput == (1 << 20, "bytes")


def test_the_defaults_are_those_of_the_runtime(tmp_path: Path) -> None:
    scenario = load(tmp_path, "name: x\njob: x.py\n")

    assert scenario.elastic.settings(scenario.cluster.memory) == Settings()


@pytest.mark.parametrize(
    ("elastic", "settings"),
    [("{tick: 10ms}", Settings(auto_tick=False)), ("{checkpoint: off}", Settings(checkpoint_ms=0))],
)
def test_words_stand_for_settings_that_are_no_numbers(tmp_path: Path, elastic: str, settings: Settings) -> None:
    scenario = load(tmp_path, f"name: x\njob: x.py\nelastic: {elastic}\n")

    assert scenario.elastic.settings(settings.memory_bytes) == settings


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('cluster: {memory: "64MB"}', 'cluster.memory: "64MB" is not a size; write 64MiB'),
        ("cluster: {wrokers: 4}", "cluster.wrokers: there is no such field; did you mean workers? "),
        ('cluster: {workers: "4"}', 'cluster.workers: "4" is not a whole number; write 4, without quotes'),
        ("cluster: {workers: 0}", "cluster.workers: 0 is too small; at least 1"),
        ("cluster: {workers: 999}", "cluster.workers: 999 is too large; at most 256"),
        ("cluster: 4", "cluster: 4 is no section; its fields are workers, spares, memory"),
        ("cluster:", "cluster: is empty; give it a value or leave it out"),
        ("elastic: {tick: 10}", "elastic.tick: 10 is not a duration; write 10s"),
        ("elastic: {nondeterminism: wran}", 'elastic.nondeterminism: "wran" is not known; did you mean warn? '),
        ("faults: {at: 3s}", 'faults: {"at": "3s"} is no list; write its items as - item'),
        ("faults: [{at: 3s}]", "faults[0]: needs one thing to do; write kill, pause, resume, scale, drain or join"),
        ("faults: [{kill: {worker: 1}}]", "faults[0]: needs one time; write at: 3s, or after: 200k records"),
        ("faults: [{at: 3s, kill: {}}]", "faults[0].kill: names no worker; write {owner_of: count, instance: 0}"),
        ("faults: [{at: 3s, kil: {worker: 1}}]", "faults[0].kil: there is no such field; did you mean kill? "),
        ("faults: [{after: 1K, kill: {worker: 1}}]", 'faults[0].after: "1K" is not a count; write 1k'),
        ("expect: {result: ok}", 'expect.result: "ok" is not known. Allowed: verified'),
        ("expect: {throughput: 4MB/s}", 'expect.throughput: "4MB/s" is not a rate; write 4MiB/s'),
        ("name: y", "name: stands here twice, first in line 1"),
        ("expact: {}", "expact: there is no such field; did you mean expect? "),
        ("wokers: 3", "wokers: there is no such field; did you mean workers in the section cluster? "),
        ("checkpoint: 2s", "checkpoint: there is no such field; did you mean checkpoint in the section elastic? "),
        ("7: 8", "the scenario: the field name 7 is not text"),
        ("cluster: [1", "this is not YAML: "),
    ],
)
def test_a_mistake_is_named_by_file_line_and_field(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"name: x\njob: x.py\n{line}\n")

    assert re.match(r"s\.yaml:[34]: ", found)
    assert found[len("s.yaml:3: ") :].startswith(problem)


def test_all_mistakes_are_named_at_once_in_file_order(tmp_path: Path) -> None:
    found = problems(tmp_path, "nam: x\njob: 3\ncluster:\n  workers: 4\n  memory: 1\n")

    assert [line.split(" ")[:2] for line in found] == [
        ["s.yaml:1:", "name:"],
        ["s.yaml:1:", "nam:"],
        ["s.yaml:2:", "job:"],
        ["s.yaml:5:", "cluster.memory:"],
    ]


def test_a_missing_file_suggests_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "word_count.yaml").touch()

    with pytest.raises(ScenarioError, match=r"there is no such file; did you mean word_count\.yaml\?"):
        load_scenario(tmp_path / "wordcount.yaml")


@pytest.mark.parametrize(("content", "problem"), [(b"\xff", "is not UTF-8"), (b"", "a scenario is a mapping")])
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)

    with pytest.raises(ScenarioError, match=problem):
        load_scenario(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is a directory; name a scenario file in it"):
        load_scenario(tmp_path)


def test_the_json_schema_describes_every_field_and_shows_defaults_as_written() -> None:
    schema = json_schema()

    fields = [(name, f) for part in (schema, *schema["$defs"].values()) for name, f in part["properties"].items()]
    assert [n for n, f in fields if "description" not in f and "$ref" not in f] == []
    assert schema["$defs"]["Cluster"]["properties"]["memory"]["default"] == "512MiB"
    assert schema["$defs"]["Elastic"]["properties"]["tick"]["default"] == "auto"
    assert json.loads(json.dumps(schema)) == schema
