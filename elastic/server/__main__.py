"""``python -m elastic.server ADDRESS COMMAND JOB``: started by the command, never by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import cloudpickle

from elastic.server.shell import Server


def main(address: str, command: str, job: str) -> None:
    """Coordinate one job until it has ended."""
    plan, setup, workers, spares = cloudpickle.loads(Path(job).read_bytes())
    Server(address, command, plan, setup, workers, spares).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
