"""``python -m benchmarks``: measure, print a table, write ``benchmarks/results/latest.json``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.result import FULL, QUICK, Measurement, Row, table, write
from benchmarks.rows import (
    checkpoints_on_off,
    coordinator_gap,
    dstream_grep,
    dstream_interval,
    dstream_kill,
    dstream_memory,
    dstream_sliding,
    dstream_state,
    dstream_window_length,
    dstream_wordcount,
    grep,
    idle_cpu,
    keyed_sum_udf,
    large_state,
    latency_half_rate,
    parallel_recovery,
    record_files,
    recovery_kill,
    scaling_gap,
    scaling_speedup,
    slow_sink_memory,
    stalled_sink_memory,
    startup,
    tick_cost,
    window_count,
    wordcount,
)
from elastic.errors import UserError

MEASUREMENTS: Sequence[Measurement] = tuple(
    module.MEASUREMENT
    for module in (
        wordcount, grep, record_files, keyed_sum_udf, checkpoints_on_off, latency_half_rate, idle_cpu, recovery_kill,
        startup, slow_sink_memory, stalled_sink_memory, large_state, scaling_gap, scaling_speedup, tick_cost,
        coordinator_gap, parallel_recovery, window_count, dstream_wordcount, dstream_grep, dstream_sliding,
        dstream_window_length, dstream_interval, dstream_kill, dstream_state, dstream_memory,
    )
)  # fmt: skip
LONG: Mapping[str, str] = {
    "record_files": "two formats, each against a reader of its own",
    "stalled_sink_memory": "the stall is what is measured",
    "large_state": "five million keys have to come first",
    "scaling_speedup": "four kinds of run, in each of which the start must not count",
    "tick_cost": "four jobs, each of which has to settle",
    "parallel_recovery": "two million keys have to come first, twice",
    "dstream_wordcount": "intervals of a second, of which there must be some",
    "dstream_grep": "the same",
    "dstream_sliding": "a window has to fill",
    "dstream_window_length": "two windows have to fill",
    "dstream_interval": "several lengths, with many intervals of each",
    "dstream_kill": "what is normal has to be known first",
    "dstream_state": "a million keys have to come first",
    "dstream_memory": "thousands of intervals",
}
"""What a quick run leaves to the full one, and why it cannot be short. Asked for by name, it is measured in short."""

LATEST = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; 1 if a measurement could not be made, whatever the others gave."""
    options = _parser().parse_args(arguments)
    wanted = options.only or [m.name for m in MEASUREMENTS if not (options.quick and m.name in LONG)]
    chosen = [m for m in MEASUREMENTS if m.name in wanted]
    effort = QUICK if options.quick else FULL
    rows: list[Row] = []
    failed = False
    for measurement in chosen:
        print(f"{measurement.name}: {measurement.what} …", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            rows += measurement.run(effort)
        except (UserError, RuntimeError) as error:
            failed = True
            print(f"not measured: {error}", file=sys.stderr)
        else:
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    print(table(rows))
    if options.quick and not options.only:
        print("\nLeft to the full run:", *(f"  {name}: {why}" for name, why in LONG.items()), sep="\n")
    write(options.output, rows, keep=bool(options.only))
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows and shorter runs, in under two minutes altogether"
    )
    parser.add_argument("--only", type=_names, default=(), metavar="NAME,…", help=f"of {', '.join(_known())}")
    parser.add_argument("--output", type=Path, default=LATEST, help="the JSON file (default: %(default)s)")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(_known()):
        raise argparse.ArgumentTypeError(
            f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(_known())}"
        )
    return names


def _known() -> list[str]:
    return [m.name for m in MEASUREMENTS]


if __name__ == "__main__":
    sys.exit(main())
