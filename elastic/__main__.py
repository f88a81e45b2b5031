"""The ``elastic`` command, and ``python -m elastic``: quiet from its first moment to its last.

Its imports take a while, and so does Python's own end. Ctrl-C then ends the process by the signal, without a traceback
through whatever was being imported; in between, ``elastic.cli`` says what happens.
"""

from __future__ import annotations

import signal
import sys

_of_python = signal.signal(signal.SIGINT, signal.SIG_DFL)

from elastic.cli import main  # noqa: E402 (only now is it quiet)


def command() -> int:
    """Run the command and return its exit code."""
    signal.signal(signal.SIGINT, _of_python)
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


if __name__ == "__main__":
    sys.exit(command())
