"""Mistakes in programs over DStreams are refused where they are written, with what to write instead."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dstream import StreamingContext
from elastic import sinks, sources
from elastic.errors import QueryError, SourceError, UserCodeError
from elastic.scenario.job import load_file

LOCK = threading.Lock()
interval: Any = 1


def stream() -> Any:
    return context().source(sources.from_list([("a", 1)]))


def context() -> Any:
    return StreamingContext("100ms", workers=2)


def started() -> tuple[Any, Any]:
    program = context()
    rows = program.source(sources.from_list([("a", 1)]))
    rows.pprint()
    program.graph.frozen = True
    return program, rows


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a window that is no whole number of intervals": (
        lambda: stream().window("250ms"),
        "window(length='250ms') is not a whole number of intervals of 100ms; write length='200ms', or change",
    ),
    "a slide that is none": (
        lambda: stream().reduce_by_key_and_window(max, "1s", "150ms"),
        "reduce_by_key_and_window(slide='150ms') is not a whole number of intervals of 100ms; write slide='200ms'",
    ),
    "a window over a window that slides less often": (
        lambda: stream().window("200ms", "200ms").count_by_window("300ms"),
        "count_by_window() over a stream that has rows every 200ms only; make length and slide multiples of that",
    ),
    "a join of streams that slide otherwise": (
        lambda: (s := stream()).join(s.window("200ms", "200ms")),
        "join() of streams with different slides; give their windows the same slide",
    ),
    "the errors of a source that diverts none": (
        lambda: stream().output("errors"),
        "'from_list' diverts nothing, so it has no output 'errors'; give the source errors='divert'",
    ),
    "a method by its name in Spark": (
        lambda: stream().reduceByKeyAndWindow(max, "1s"),
        "a DStream has no reduceByKeyAndWindow; here it is called reduce_by_key_and_window",
    ),
    "a method of Spark's that is called something else": (
        lambda: stream().mapWithState(max),
        "a DStream has no mapWithState; write track(initialize, update, timeout)",
    ),
    "a method of the context by its name in Spark": (
        lambda: context().socketTextStream("localhost", 9),
        "a StreamingContext has no socketTextStream; here it is called socket_text_stream",
    ),
    "a method that is misspelt": (
        lambda: stream().reduce_by_keys(max),
        "a DStream has no reduce_by_keys; did you mean reduce_by_key?",
    ),
    "a function that uses a stream": (
        lambda: (s := stream()).map(lambda row: (row, s.count())),
        "cannot be sent to the workers: it uses s = <DStream from_list>",
    ),
    "the errors of a step": (
        lambda: stream().map(str).output("errors"),
        "output('errors') of a step; call it on what context.source(…) gives",
    ),
    "a window without a unit": (
        lambda: stream().window(10),
        "window(length=10) is no duration; write one such as '30s'",
    ),
    "a union of different slides": (
        lambda: (s := stream()).window("200ms", "200ms").union(s),
        "union() of streams with different slides",
    ),
    "a function that cannot be shipped": (
        lambda: stream().map(lambda _: LOCK),
        "cannot be sent to the workers: it uses LOCK",
    ),
    "a function of other arguments": (
        lambda: stream().track(lambda key, event: event, lambda key, state: state),
        "is called with key, state and event, but",
    ),
    "streams of two contexts": (
        lambda: stream().join(stream()),
        "join() of streams of two contexts; build both from one",
    ),
    "a transform of three arguments": (
        lambda: stream().transform(lambda time, rdd, more: rdd),
        "calls its function with (rdd) or (time, rdd)",
    ),
    "a transform of several streams that wants them one by one": (
        lambda: (program := context()).transform([program.queue_stream([[1]])] * 2, lambda one, two, three: one),
        "calls its function with (rdds) or (time, rdds)",
    ),
    "a transform that asks for an interval's rows": (
        lambda: stream().transform(lambda time, rdd: rdd.take(3)),
        "an IntervalRDD has no take",
    ),
    "a transform that asks for the rows of data that is read anew": (
        lambda: (
            (program := context())
            .queue_stream([[1]])
            .transform(lambda rdd: rdd.map(program.text_file(__file__).collect().index))
        ),
        "a function of transform() has no rows of data that is read anew in every interval",
    ),
    "a transform that has state": (
        lambda: stream().transform(lambda time, rdd: rdd.running_reduce(max)),
        "an IntervalRDD has no running_reduce",
    ),
    "a transform whose function cannot be shipped": (
        lambda: stream().transform(lambda time, rdd: rdd if LOCK else None),
        "cannot be sent to the workers: it uses LOCK",
    ),
    "a transform that joins another stream": (
        lambda: (s := stream()).transform(lambda time, rdd: rdd.join(s)),
        "it uses s = <DStream from_list>",
    ),
    "a setting of the elastic model alone": (
        lambda: StreamingContext("100ms", recovery_parts=2),
        "StreamingContext(recovery_parts=…): it has no meaning for DStreams; leave it out",
    ),
    "a transform that returns nothing": (
        lambda: stream().transform(lambda rows: rows.pprint()),
        "transform() got None from its function; return an RDD",
    ),
    "a transform at a time that returns nothing": (
        lambda: stream().transform(lambda time, rdd: None),
        "got None from its function; return an RDD",
    ),
    "an initial state that is no pair": (
        lambda: stream().update_state_by_key(lambda values, state: state, [1]),
        "update_state_by_key(initial=…) takes (key, state) pairs, and there is 1",
    ),
    "no partitions": (lambda: stream().partition_by(0), "partition_by(0) takes how many partitions there are to be"),
    "no rows to print": (lambda: stream().pprint(0), "pprint(0) takes how many rows are to be printed"),
    "a slice of a stream that is not remembered": (
        lambda: stream().slice(0, 1),
        "call remember('5m') on it before start",
    ),
    "remembering for no time": (lambda: stream().remember(), "remember() for how long? Write remember('5m')"),
    "a queue of text": (lambda: context().queue_stream(["abc"]), "takes lists of rows, or RDDs, not 'abc'"),
    "a listener that is none": (lambda: context().add_listener(print), "takes a dstream.StreamingListener, not"),
    "an RDD united with a stream": (
        lambda: context().parallelize([("a", 1)]).union(stream()),
        "union() of an RDD takes an RDD, not <DStream from_list>",
    ),
    "an inverse function in the place of a length, as in Spark": (
        lambda: stream().reduce_by_key_and_window(max, min, "1s"),
        "write inverse=… for a function",
    ),
    "a step after the start": (
        lambda: started()[1].map(str),
        "map() comes after start(); build all of the program before",
    ),
    "a shuffle after the start": (lambda: started()[1].reduce_by_key(max), "reduce_by_key() comes after start()"),
    "an output after the start": (lambda: started()[1].pprint(3), "pprint() comes after start()"),
    "a source after the start": (lambda: started()[0].queue_stream([[1]]), "queue() comes after start()"),
    "a setting after the start": (lambda: started()[0].remember("1s"), "remember() comes after start()"),
    "a second start": (
        lambda: started()[0].start(batch=True),
        "was started before; a context runs once, make a new one",
    ),
    "waiting for what does not run": (lambda: context().await_termination("1s"), "await_termination() before start()"),
    "an interval of no whole ticks": (lambda: StreamingContext("15ms"), "is not a whole number of ticks of 10ms"),
    "an interval without a unit": (
        lambda: StreamingContext(interval),
        "StreamingContext(interval=1): 1 is not a duration",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_refused_at_the_users_line(what: str) -> None:
    mistake, text = MISTAKES[what]

    with pytest.raises((QueryError, AttributeError), match=re.escape(text)) as caught:
        mistake()

    assert re.match(r"tests/unit/test_stream_mistakes\.py:\d+: ", str(caught.value))


def test_a_program_that_calls_functions_here_is_not_run_by_the_command() -> None:
    program = context()
    program.source(sources.from_list([1])).foreach_rdd(print)

    with pytest.raises(QueryError, match=r"run it from a script, with context\.run"):
        program.plan(workers=2, settings=program.plan().settings)


def test_only_what_leads_to_an_output_is_computed() -> None:
    program = context()
    program.source(sources.text_files("nowhere/*")).map(str).count()
    program.source(sources.from_list([1]), name="used").save(sinks.discard(), name="out")

    assert set(program.plan().operators) == {"used", "out"}


def test_rows_that_are_no_pairs_are_shown() -> None:
    with pytest.raises(UserCodeError, match=r"reduce_by_key\(max\)(.|\n)*expected a \(key, value\) pair, got 7"):
        context().parallelize([("a", 1), 7]).reduce_by_key(max).collect()


def test_a_step_that_needs_pairs_and_calls_no_function_is_named_with_its_line() -> None:
    with pytest.raises(UserCodeError, match=r"'join\(\) at .*test_stream_mistakes\.py:\d+'(.|\n)*pair, got 7"):
        context().parallelize([7]).join(context().parallelize([("a", 1)])).collect()


def test_no_line_but_the_users_is_shown_where_a_function_of_whole_partitions_raises() -> None:
    with pytest.raises(UserCodeError) as caught:
        context().parallelize([1, 2]).map_partitions(lambda rows: [1 // (row - 2) for row in rows]).collect()

    files = re.findall(r'File "(.*)"', caught.value.trace)
    assert files
    assert {Path(file).name for file in files} == {"test_stream_mistakes.py"}


def test_a_function_that_raises_in_an_rdd_is_shown_with_the_users_line() -> None:
    with pytest.raises(UserCodeError, match=r"test_stream_mistakes\.py(.|\n)*ZeroDivisionError"):
        context().parallelize([1, 0]).map(lambda n: 1 // n).collect()


def test_an_rdd_of_files_that_are_not_there_says_where_it_looked() -> None:
    with pytest.raises(SourceError, match="no file matches 'nowhere/"):
        context().text_file("nowhere/*.txt").count()


@pytest.mark.parametrize("call", ["run", "start"])
def test_a_program_that_runs_whenever_its_file_is_imported_is_refused(tmp_path: Path, call: str) -> None:
    program = tmp_path / "unguarded_program.py"
    program.write_text(
        "from dstream import StreamingContext\nfrom elastic import sources\n"
        "context = StreamingContext('100ms')\ncontext.source(sources.from_list([1])).pprint()\n"
        f"context.{call}()\n"
    )

    with pytest.raises(QueryError, match=rf"unguarded_program\.py:5: {call}\(\) runs whenever this file is imported"):
        load_file(program)
