"""Rows of broadcast streams: every instance of a user's operator gets all of them, and keeps what comes of them.

What an instance keeps is the same in all of them at every tick, since all get the same rows in the same order: those of
a tick before any of its rows with keys. So it belongs to no key, is part of every checkpoint, is copied when that is
cut, and any one of the copies will do when checkpoints are joined. Nothing is emitted for a broadcast row: every
instance would emit it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn

from elastic.batch import rows
from elastic.errors import UserError
from elastic.operators.base import (
    BroadcastContext,
    Context,
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
)
from elastic.operators.failure import kind_of, user_error
from elastic.pickling import dumps, loads
from elastic.state.processing import StateTable

SHARED = "what process_broadcast shares"
"""Stands among the names of declared states, which have no spaces."""


class BroadcastProcessor(Processor):
    """One instance of an operator that has a broadcast input, around the processor of its rows with keys.

    Args:
        operator: The copy that the other processor calls.
        context: Of the instance.
        keyed: Processes the rows with keys.
        shown: Shows them what is shared.
    """

    def __init__(self, operator: Operator, context: ProcessorContext, keyed: Processor, shown: Context) -> None:
        self._operator, self._context, self._keyed, self._shown = operator, context, keyed, shown
        self._ctx = _TickContext(context)
        self._shared: dict[Any, Any] = {}
        self._kept: bytes | None = dumps(self._shared)  # None: there were rows since
        self._show()

    def _show(self) -> None:
        self._shown.shared = MappingProxyType(self._shared)

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Call the user's code on the broadcast rows of the tick, then on the others."""
        shared = [(number, batch) for number, batch in tick.slices if number in self._context.broadcast]
        if shared:
            self._share(replace(tick, slices=shared))
            tick = replace(tick, slices=[s for s in tick.slices if s[0] not in self._context.broadcast])
        return self._keyed.process(tick)

    def _share(self, tick: TickInput) -> None:
        merged = tick.merged()
        if merged is None or merged[0].values is None:
            return
        batch, streams = merged
        self._ctx.enter(tick.tick)
        self._kept = None
        handle: Callable[..., Any] = self._operator.process_broadcast
        for value, number in zip(rows(batch.values), streams.tolist(), strict=True):
            self._ctx.input = number
            try:
                result: Any = handle(value, self._shared, self._ctx)
                if result is not None:
                    _refuse(result)
            except Exception as error:
                raise user_error(self._context.operator, tick.tick, value, error) from error

    def due_after(self, tick: int) -> int | None:
        """What the rows with keys are waited for."""
        return self._keyed.due_after(tick)

    def delta(self) -> StateTable:
        """Of the keys."""
        return self._keyed.delta()

    def full(self) -> StateTable:
        """Of the keys."""
        return self._keyed.full()

    def clean(self) -> None:
        """Of the keys."""
        self._keyed.clean()

    def restore(self, table: StateTable) -> None:
        """Of the keys."""
        self._keyed.restore(table)

    def common(self) -> Any:
        """What is shared, serialised, beside what the other processor has in common.

        Raises:
            UserError: Something that is shared cannot be serialised.
        """
        if self._kept is None:
            try:
                self._kept = dumps(self._shared)
            except UserError as error:
                operator = self._context.operator
                raise UserError(f"operator {operator!r} shares what cannot leave its process: {error}") from error
        return {**(self._keyed.common() or {}), SHARED: self._kept}

    def restore_common(self, common: Any) -> None:
        """Take over what is shared; nothing from an operator that had no broadcast input yet."""
        of_keyed = dict(common)
        kept = of_keyed.pop(SHARED, None)
        if kept is not None:
            self._kept, self._shared = kept, loads(kept)
            self._show()
        if of_keyed:
            self._keyed.restore_common(of_keyed)

    def __len__(self) -> int:
        return len(self._keyed)


class _TickContext(BroadcastContext):
    def __init__(self, context: ProcessorContext) -> None:
        self._context = context

    def enter(self, tick: int) -> None:
        """Move on to a tick."""
        self.tick, self.now = tick, self._context.now(tick)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"ctx.{name} is for process: process_broadcast has no key, and is called in every instance; keep what it "
            "finds in shared, and use it in process"
        )


def _refuse(result: Any) -> NoReturn:
    raise TypeError(
        f"process_broadcast returned {kind_of(result)}, and must return None: every instance calls it, and "
        "would emit it; keep what it finds in shared, and emit in process"
    )
