"""A user's own operator in the query: row by row, with timers or without, or in columns."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from elastic.operators.base import Operator, Processor, ProcessorContext
from elastic.operators.broadcast import BroadcastProcessor
from elastic.operators.custom import ColumnProcessor, RowProcessor
from elastic.operators.with_timers import TimerProcessor
from elastic.plan import OnError


@dataclass(frozen=True, slots=True)
class Apply:
    """A user's operator in the query; ``make`` gives the processor of one instance."""

    operator: Operator
    on_error: OnError = "fail"

    def make(self, context: ProcessorContext) -> Processor:
        """The processor of one instance, with its own copy of the operator and no state."""
        kind, operator = type(self.operator), deepcopy(self.operator)
        by_row = RowProcessor if kind.on_timer is Operator.on_timer else TimerProcessor
        by_columns = kind.process_columns is not Operator.process_columns
        keyed = (ColumnProcessor if by_columns else by_row)(operator, context, self.on_error)
        if kind.process_broadcast is Operator.process_broadcast:
            return keyed
        return BroadcastProcessor(operator, context, keyed, keyed.ctx)
