"""``python -m elastic.testing --seeds N``: break simulated jobs until one goes wrong."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

from elastic.testing.simulator import simulate
from elastic.testing.trials import random_trial
from elastic.testing.verdict import SimulationResult


def run_seed(seed: int) -> SimulationResult:
    """The simulation that a seed stands for, job included."""
    trial = random_trial(seed)
    return simulate(trial.query, seed, **trial.how)


def wrong_in(seed: int) -> str | None:
    """What goes wrong with a seed, with the command that replays it and the story of the operator concerned.

    None if nothing does.
    """
    result = run_seed(seed)
    if result.wrong is None:
        return None
    told = "\n    ".join(result.story_of_what_is_wrong)
    return f"seed {seed}: {result.wrong}\n  replay: python -m elastic.testing --seed {seed}\n  story:\n    {told}"


def say(text: str) -> None:
    """One or more lines of output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the seeds that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m elastic.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its story")
    parser.add_argument("--jobs", type=int, default=4, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        result = run_seed(options.seed)
        say("\n".join(result.story))
        say(result.wrong or f"seed {options.seed}: {'excused: ' + str(result.error) if result.excused else 'right'}")
        return int(result.wrong is not None)
    wrong = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        seeds = range(options.first, options.first + options.seeds)
        for text in pool.map(wrong_in, seeds, chunksize=4):
            if text is not None:
                wrong += 1
                say(text)
    say(f"{options.seeds} seeds, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
