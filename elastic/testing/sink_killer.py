"""Kills writers of the sinks in a file, each in the middle of something else, and says how their successors fared.

A program of its own, since it forks: the processes that run tests have threads.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import cloudpickle

from elastic.testing.contract import Broken
from elastic.testing.sink_trial import ALL, SinkTrial, Ticks

PARTS = ((1, 90), (91, 210), (211, 260))
LAST = PARTS[-1][1]
EFFECTS = {
    "close", "commit", "execute", "executemany", "executescript", "flush", "fsync", "link", "lseek", "mkdir", "open",
    "pwrite", "rename", "replace", "rmdir", "send", "sendall", "sendto", "truncate", "unlink", "write", "writelines",
}  # fmt: skip
"""Calls into the operating system or a database, by name; a writer is killed before one of them, or after it."""


def write(trial: SinkTrial, parts: Sequence[Ticks]) -> None:
    """The life of a writer."""
    with closing(trial.open()) as writer:
        for (_, last), part in zip(PARTS, parts, strict=True):
            writer.commit(part, last, final=last == LAST)


def write_until(trial: SinkTrial, calls: int) -> int:
    """A child process writes until it is killed beside its n-th effect; returns how many it had if it was not."""
    receive, send = os.pipe()
    parts = [trial.stream(first, last) for first, last in PARTS]
    if (child := os.fork()) == 0:
        made = 0

        def count(_frame: object, event: str, called: object) -> None:
            nonlocal made
            if event in ("c_call", "c_return") and getattr(called, "__name__", "") in EFFECTS:
                made += 1
                if made == calls:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        write(trial, parts)
        sys.setprofile(None)
        os.write(send, str(made).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(send)
    with os.fdopen(receive) as answer:
        return int(answer.read() or 0)


def verdict(trial: SinkTrial, killed_after: int, in_all: int) -> str:
    """``exact``, or what is wrong once a successor has done the rest."""
    try:
        with closing(trial.open(ALL, 2)) as writer:
            writer.commit(trial.replayed(writer, 1, LAST), LAST, final=True)
        trial.sink.finish(trial.context)
        trial.demand_exact(trial.stream(1, LAST))
    except Broken as broken:
        return f"killed after {killed_after} of {in_all} calls: {broken}"
    return "exact" if in_all else "a writer that was left alone did not get to its end"


def main(path: str) -> None:
    """Print the verdict on each sink, a line for each."""
    search, dumped = pickle.loads(Path(path).read_bytes())  # noqa: S301 (written by the process that started this one)
    sys.path[:] = search
    trials: list[SinkTrial] = cloudpickle.loads(dumped)
    in_all = 0
    for number, trial in enumerate(trials):
        trial.sink.prepare(trial.context)
        killed_after = in_all * number // len(trials)  # the first is left alone, and counts
        in_all = write_until(trial, killed_after) or in_all
        sys.stdout.write(verdict(trial, killed_after, in_all).replace("\n", " ") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
