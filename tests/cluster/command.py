"""The command as a process of its own, in a directory of its own, with jobs in a script and a module beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

JOB = """
import re
from elastic import Operator, Query, sinks, sources
import helper

class Number(Operator):
    def process(self, key, value, state, ctx):
        state.set((state.get() or 0) + 1)
        yield key, state.get()

class Stuck(Operator):
    def process(self, key, value, state, ctx):
        while value % 1000 > 200:
            pass
        yield key, value

class HoldsTheInterpreter(Operator):
    def process(self, key, value, state, ctx):
        if value % 1000 > 200:
            re.match(r"(a+)+$", "a" * 60 + "b")
        yield key, value

def endless():
    query = Query("endless")
    records = query.source(sources.generator(keys=100, rate="2k/s"))
    records.key_by(helper.key).apply(Number()).sink(sinks.json_lines("out", commit="100ms"))
    records.key_by(helper.key).count(emit="tick").sink(sinks.sqlite("counts.db", table="counts", upsert=True))
    return query

def busy(operator):
    query = Query("busy")
    numbers = query.source(sources.from_list(list(range(100000)), rate="1k/s"))
    numbers.key_by(lambda n: n % 8).apply(operator).sink(sinks.json_lines("out", commit="100ms"))
    return query

def stuck():
    return busy(Stuck())

def holding():
    return busy(HoldsTheInterpreter())

class Checked(Number):
    def process(self, key, value, state, ctx):
        helper.check(value)
        yield from super().process(key, value, state, ctx)

def bounded(operator: str = "number", records: int = 3000, rate: str = "3k/s"):
    query = Query("bounded")
    numbers = query.source(sources.from_list(list(range(records)), rate=rate)).key_by(lambda n: n % 8)
    made = numbers.count(name="number") if operator == "count" else numbers.apply(Checked(), name="number")
    made.sink(sinks.json_lines("out", commit="100ms"))
    return query

def failing():
    query = Query("failing")
    query.source(sources.from_list([1, 2, 0, 4])).map(helper.invert).sink(sinks.stdout())
    return query

def repeated(times: int = 1):
    query = Query("repeated")
    query.source(sources.from_list(["a", "b", "a"] * times)).key_by().count(emit="end").sink(sinks.stdout())
    return query

query = repeated()
"""

HELPER = """
def key(record):
    return record["key"]

def invert(number):
    return 1 / number

def check(number):
    pass
"""


SLOWLY = "--set", "rate=200/s"
"""The job ``bounded`` lasts a quarter of a minute: it is not over before something has happened to it."""


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """``elastic run`` as a terminal starts it: the leader of a process group, its two streams one."""
    return subprocess.Popen(
        [sys.executable, "-m", "elastic", "run", *arguments],
        cwd=place, env={**os.environ, "TMPDIR": str(place / "tmp"), "ELASTIC_TEST": str(place)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def our_processes(place: Path) -> list[psutil.Process]:
    """Every process that descends from a command that was started in the place."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ELASTIC_TEST") == str(place) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def left_over(place: Path) -> list[Path]:
    """Sockets, and files that should have been renamed or removed."""
    return [*(place / "tmp").iterdir(), *(place / "out").rglob("*.tmp"), *place.rglob("*.pickle")]


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 60.0) -> float:
    """Return how long it took for the condition to hold, seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"{what} did not happen within {deadline_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def has_committed(place: Path) -> bool:
    """Whether the sink has put parts in place."""
    return any((place / "out").glob("*.jsonl"))
