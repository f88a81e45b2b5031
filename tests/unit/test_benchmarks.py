"""The pure parts of the benchmarks: input, blocks, kernels of the limit, and how a figure is judged and written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import data, expected, result
from benchmarks.kernels import KeyedJob, RunningSum, WordCount, lines_with
from benchmarks.limit import Input
from elastic.batch import Pairs, rows

LINES = 400


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return data.text_file(LINES, distinct=3000, directory=tmp_path)


def aggregated(job: KeyedJob, source: Input, parts: int) -> dict[str, int]:
    for part in range(parts):
        for block in source.blocks(part, parts):
            job.aggregate([job.batch(block)])
    return job.result()


def test_every_line_of_the_text_has_100_bytes_and_single_spaces(text: Path) -> None:
    lines = text.read_bytes().split(b"\n")

    assert len(lines) == LINES + 1
    assert {len(line) for line in lines[:-1]} == {data.LINE_BYTES - 1}
    assert all(line.split(b" ") == line.split() for line in lines[:-1])


def test_the_text_is_the_same_wherever_it_is_made(text: Path, tmp_path: Path) -> None:
    again = data.text_file(LINES, distinct=3000, directory=tmp_path / "other")

    assert again.read_bytes() == text.read_bytes()


def test_a_file_that_is_there_is_not_made_again(text: Path, tmp_path: Path) -> None:
    text.write_text("kept")

    assert data.text_file(LINES, distinct=3000, directory=tmp_path).read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == [text.name]


def test_the_words_are_all_different_and_the_most_frequent_one_leads(text: Path) -> None:
    words = data.vocabulary(3000)
    counts = Counter(text.read_text().split())

    assert len({words.text(rank) for rank in range(3000)}) == 3000
    assert counts.most_common(1)[0][0] == words.text(0)


def test_keyed_lines_have_a_key_of_six_characters_and_a_number(tmp_path: Path) -> None:
    lines = data.keyed_file(1000, keys=50, directory=tmp_path).read_text().splitlines()

    assert len(lines) == 1000
    assert all(line[0] == "k" and line[6] == "," and 0 <= int(line[7:]) < 1000 for line in lines)
    assert len({line[:6] for line in lines}) == 50


@pytest.mark.parametrize("parts", [1, 3, 4])
@pytest.mark.parametrize("block_bytes", [150, 1000, 1 << 20])
def test_the_parts_of_the_input_are_all_lines_once_per_repetition(text: Path, parts: int, block_bytes: int) -> None:
    source = Input(text, 2, block_bytes)

    blocks = [block for part in range(parts) for block in source.blocks(part, parts)]

    assert all(block.endswith(b"\n") for block in blocks)
    assert Counter(b"".join(blocks).splitlines()) == Counter(text.read_bytes().splitlines() * 2)


def test_the_limit_of_word_count_counts_what_plain_python_counts(text: Path) -> None:
    found = aggregated(WordCount(), Input(text, 3, 5000), 2)

    assert expected.difference(found, expected.word_counts(text), times=3) is None


def test_the_limit_of_the_running_sum_sums_what_plain_python_sums(tmp_path: Path) -> None:
    path = data.keyed_file(5000, keys=300, directory=tmp_path)
    job = RunningSum(lambda line: (line[:6], int(line[7:])), lambda total, value: total + value)

    found = aggregated(job, Input(path, 2, 4000), 3)

    assert expected.difference(found, expected.key_sums(path), times=2) is None


def test_only_changed_keys_are_emitted_again() -> None:
    job = WordCount()
    job.aggregate([job.batch(b"a b\n")])
    job.emitted()
    job.aggregate([job.batch(b"b c b\n")])

    emitted = job.emitted()

    assert isinstance(emitted, Pairs)
    assert sorted(rows(emitted)) == [("b", 3), ("c", 1)]


def test_matching_lines_are_those_that_plain_python_finds(text: Path) -> None:
    word = data.vocabulary(3000).text(100)

    found = lines_with(word)(text.read_bytes())

    assert found == [line for line in text.read_text().splitlines() if word in line]
    assert len(found) == expected.matching_lines(text, word)


def test_a_difference_names_the_first_key_that_is_wrong() -> None:
    problem = expected.difference({"a": 4, "b": 1, "x": 1}, {"a": 2, "b": 2}, times=2)

    assert problem == "'b' came out as 1, expected 4"


def test_figures_are_judged_by_ratio_or_by_value_when_there_are_cores_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "usable_cores", lambda: 4)

    assert result.ratio_row("a", 7.1, "u", 10.0, at_least=0.7).met is True
    assert result.ratio_row("a", 6.9, "u", 10.0, at_least=0.7).met is False
    assert result.limit_row("b", 20.0, "ms", at_most=20).met is True
    assert result.limit_row("b", 20.1, "ms", at_most=20).met is False


def test_targets_are_not_judged_on_fewer_cores_than_they_are_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "usable_cores", lambda: 2)

    assert result.ratio_row("a", 1.0, "u", 10.0, at_least=0.7).met is None


def test_a_quick_run_leaves_out_long_rows_that_there_are() -> None:
    known = [measurement.name for measurement in bench.MEASUREMENTS]

    assert set(bench.LONG) < set(known)
    assert {"wordcount", "grep", "keyed_sum_udf", "checkpoints_on_off", "latency_half_rate", "idle_cpu"} < {*known} - {
        *bench.LONG
    }


def test_the_results_file_has_the_host_and_the_fields_of_every_row(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    result.write(path, [result.limit_row("b", 20.0, "ms", at_most=20)])

    written = json.loads(path.read_text())

    assert set(written) == {"host", "rows"}
    assert [set(row) for row in written["rows"]] == [{"name", "value", "unit", "reference", "ratio", "target", "met"}]
    assert [p.name for p in path.parent.iterdir()] == ["latest.json"]


def test_medians_are_taken_over_rounds_in_which_reference_and_value_take_turns() -> None:
    calls: list[str] = []
    values, references = iter([3.0, 1.0, 2.0]), iter([30.0, 10.0, 20.0])

    def value() -> float:
        calls.append("value")
        return next(values)

    def reference() -> float:
        calls.append("reference")
        return next(references)

    assert result.in_turns(3, value, reference) == (2.0, 20.0)
    assert calls == ["reference", "value"] * 3
