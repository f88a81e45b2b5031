"""What sinks print: rows that are committed, on the command's own stdout, since a worker's would appear twice."""

from __future__ import annotations

import sys
from pathlib import Path

from elastic.plan import Plan
from elastic.scenario.verify import context_of, sinks_of


class Printer:
    """Prints what the sinks of one run have to show, as it is committed."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        found = (sink.display(context_of(plan, name, directory)) for name, sink in sinks_of(plan).items())
        self._displays = [display for display in found if display is not None]

    def print(self) -> None:
        """Every line that was committed so far is on stdout, once."""
        for display in self._displays:
            while lines := display():  # asked again, it takes note that they were shown
                sys.stdout.write("".join(f"{line}\n" for line in lines))
                sys.stdout.flush()
