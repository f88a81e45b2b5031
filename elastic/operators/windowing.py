"""Windows in the query: which they are, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from elastic.operators.base import Processor, ProcessorContext
from elastic.operators.fixed_windows import FixedProcessor
from elastic.operators.intake import Taking
from elastic.operators.sessions import SessionProcessor
from elastic.operators.window_results import LATE, Pairing
from elastic.operators.windowed import Aggregation, Timing
from elastic.windows import FixedWindows, WindowSpec


@dataclass(frozen=True, slots=True)
class Windowing:
    """Windows of a keyed stream; ``make`` gives the processor of one instance."""

    windows: WindowSpec
    aggregation: Aggregation
    timing: Timing

    def taking_rows(self, taking: Taking) -> Windowing:
        """The same for rows that come whole."""
        return replace(self, aggregation=replace(self.aggregation, taking=taking))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its outputs beside the main one: rows that came too late."""
        return (LATE,)

    @property
    def functions(self) -> tuple[Any, ...]:
        """Functions that the operator calls, the user's among them."""
        function = self.aggregation.function
        own = function.function if isinstance(function, Pairing) else function
        return (own, *self.aggregation.taking.functions)

    def make(self, context: ProcessorContext) -> Processor:
        """The processor of one instance, without any row."""
        if isinstance(self.windows, FixedWindows):
            return FixedProcessor(self.windows, self.aggregation, self.timing, context)
        return SessionProcessor(self.windows, self.aggregation, self.timing, context)
