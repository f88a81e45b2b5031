"""Kills writers of the sinks in a file, each in the middle of something else, and says how their successors fared.

A program of its own, since it forks: the processes that run tests have threads.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import closing
from pathlib import Path

from elastic.connectors.base import Sink, SinkContext
from tests.unit.sink_contract import ALL, replayed, stream

LAST = 260
EFFECTS = {"close", "execute", "executemany", "flush", "fsync", "lseek", "open", "rename", "unlink", "write"}
PARTS = [(stream(1, 90), 90), (stream(91, 210), 210), (stream(211, LAST), LAST)]


def write(sink: Sink, context: SinkContext) -> None:
    """The life of a writer."""
    with closing(sink.open(context, ALL, 1)) as writer:
        for ticks, through in PARTS:
            writer.commit(ticks, through, final=through == LAST)


def write_until(sink: Sink, context: SinkContext, calls: int) -> int:
    """A child process writes until it is killed beside its n-th effect; returns how many it had if it was not."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        made = 0

        def count(_frame: object, event: str, called: object) -> None:
            nonlocal made
            if event in ("c_call", "c_return") and getattr(called, "__name__", "") in EFFECTS:  # before it, and after
                made += 1
                if made == calls:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        write(sink, context)
        sys.setprofile(None)
        os.write(send, str(made).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(send)
    with os.fdopen(receive) as answer:
        return int(answer.read() or 0)


def main(path: str) -> None:
    """Print ``exact``, or what is wrong, for each sink."""
    made: list[tuple[Sink, SinkContext]] = pickle.loads(Path(path).read_bytes())
    in_all = 0
    for number, (sink, context) in enumerate(made):
        sink.prepare(context)
        killed_after = in_all * number // len(made)  # the first is left alone, and counts
        in_all = write_until(sink, context, killed_after) or in_all
        with closing(sink.open(context, ALL, 2)) as writer:
            writer.commit(replayed(writer, 1, LAST), LAST, final=True)
        sink.finish(context)
        expected = sink.expected([rows for _, rows in stream(1, LAST)])
        wrong = sink.compare(expected, sink.contents(context))
        verdict = "exact" if wrong == (0, 0) and in_all else f"killed after {killed_after} of {in_all}: {wrong}"
        sys.stdout.write(f"{verdict}\n")


if __name__ == "__main__":
    main(sys.argv[1])
