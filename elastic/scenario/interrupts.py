"""Ctrl-C and SIGTERM as something to look at between two steps, instead of an exception anywhere in them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the requests to stop that have come since it was entered; on exit the handlers are as before.

    Within ``raising`` a request raises ``KeyboardInterrupt`` instead, whichever signal it came by: for user code that
    looks at no count.

    Outside of the main thread Python delivers no signals, and the count stays zero.

    Args:
        wake: Is called with each: whoever waits need not look at the count in between.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._wake = wake
        self._raising = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # nohup ignores SIGHUP on purpose; SIGINT is ignored in any script's background job, which still is to end
            heard = [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
            self._before = {s: signal.signal(s, self._on_signal) for s in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """A request inside the block ends it with ``KeyboardInterrupt``; one from before it too."""
        if self.count:
            raise KeyboardInterrupt
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._wake()
        if self._raising:
            raise KeyboardInterrupt
