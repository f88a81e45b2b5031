"""The clean run: the same input log, ticks included, in one process and without the runtime's distribution.

What it gives is what a job must leave in its sinks whatever failed on the way, since an operator's output for a tick is
a function of the input log alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from elastic.batch import Batch, Marks, concat
from elastic.connectors.base import Chunk, LogEntry, Reader, read_again
from elastic.connectors.input_log import read_log
from elastic.instance.ahead import Ahead, Held
from elastic.instance.source import diverted
from elastic.keys import KeyInterval
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.failure import Failures
from elastic.operators.stateless import Chain, Memo, chains
from elastic.plan import OperatorPlan, Plan


def reference_run(plan: Plan, log_directory: Path) -> dict[str, list[Batch]]:
    """What each sink gets of the logged input, tick after tick; sinks by name.

    Raises:
        SourceError: The input has gone or changed since it was logged.
        UserCodeError: User code raised.
    """
    if plan.clean_run is not None:
        return plan.clean_run(plan, log_directory)
    logs = {
        (name, n): read_log(log_directory, name, n)
        for name, operator in plan.operators.items()
        for n in range(len(operator.partitions))
    }
    run = ReferenceRun(plan)
    for ticks in run.replay(logs).values():
        ticks.sort(key=lambda item: item[0])
    return {name: [batch for _, batch in ticks] for name, ticks in run.sinks.items()}


Logs = Mapping[tuple[str, int], Sequence[LogEntry]]


class ReferenceRun:
    """One instance of every operator, over all key groups, driven tick by tick.

    Attributes:
        sinks: What each sink got: (tick, rows), ascending.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, settings = plan, plan.settings
        whole = KeyInterval(0, settings.key_groups)
        self._processors: dict[str, Processor] = {
            name: operator.logic(ProcessorContext.of(plan, name, whole))
            for name, operator in plan.operators.items()
            if operator.kind == "keyed"
        }
        self._chains: dict[int, Chain] = {}
        for name in plan.operators:
            self._chains |= chains(plan, name)
        self.sinks: dict[str, list[tuple[int, Batch]]] = {n: [] for n, o in plan.operators.items() if o.kind == "sink"}

    def replay(self, logs: Logs) -> dict[str, list[tuple[int, Batch]]]:
        """Process all that is logged, and what is due between; returns ``sinks``."""
        tau = 0
        for tick, sources, held, final in self._ticks(logs):
            while (due := self._due_after(tau, tick)) is not None:
                self._process(due, {}, {}, final=False)
                tau = due
            self._process(tick, sources, held, final=final)
            tau = tick
        return self.sinks

    def _ticks(self, logs: Logs) -> Iterator[tuple[int, dict[str, list[Output]], Held, bool]]:
        """Every tick with rows, the last of each run of empty ones, and the final one, with what the sources read."""
        readers: dict[tuple[str, int], Reader] = {}
        at: dict[int, list[tuple[tuple[str, int], LogEntry]]] = {}
        for source, entries in logs.items():
            readers[source] = self._plan.operators[source[0]].partitions[source[1]].open()
            for entry in entries:
                at.setdefault(entry.tick, []).append((source, entry))
        try:
            ahead = {name: self._ahead(name, readers) for name in {name for name, _ in readers}}
            for tick in sorted(at):
                read: dict[str, list[tuple[KeyInterval, Chunk]]] = {}
                held: dict[int, Marks] = {}
                for (name, n), entry in sorted(at[tick], key=lambda item: item[0]):
                    if entry.end != entry.start:
                        interval = self._plan.partition_interval(name, n)
                        chunks = read_again(readers[name, n], entry)
                        read.setdefault(name, []).extend((interval, chunk) for chunk in chunks)
                outputs = {name: self._read(name, tick, chunks) for name, chunks in read.items()}
                for name in read:
                    held |= ahead[name].held((self._group(name, n), e.start) for (of, n), e in at[tick] if of == name)
                yield tick, outputs, held, any(entry.final for _, entry in at[tick])
        finally:
            for reader in readers.values():
                reader.close()

    def _ahead(self, source: str, readers: Mapping[tuple[str, int], Reader]) -> Ahead:
        mine = ((self._group(source, n), reader) for (of, n), reader in readers.items() if of == source)
        return Ahead(self._plan, source, mine)

    def _group(self, source: str, partition: int) -> int:
        return self._plan.partition_interval(source, partition).low

    def _read(self, source: str, tick: int, read: Sequence[tuple[KeyInterval, Chunk]]) -> list[Output]:
        """What a source emits of the chunks of a tick."""
        found = diverted(source, tick, read, Failures(), divert=self._plan.operators[source].logic.errors == "divert")
        parts = [(interval, chunk.rows) for interval, chunk in read if len(chunk.rows)]
        if parts:
            groups = np.repeat(np.array([i.low for i, _ in parts], np.uint16), [len(rows) for _, rows in parts])
            found.append(Output(groups, concat([rows for _, rows in parts])))
        return found

    def _due_after(self, tau: int, before: int) -> int | None:
        """The first tick in (τ, before) at which some operator emits though no row comes."""
        due = [d for p in self._processors.values() if (d := p.due_after(tau)) is not None and d < before]
        return min(due, default=None)

    def _process(self, tick: int, sources: Mapping[str, Sequence[Output]], held: Held, *, final: bool) -> None:
        arrived: dict[str, list[tuple[int, int, Batch]]] = {name: [] for name in self._plan.operators}
        for name, operator in self._plan.operators.items():
            outputs = self._outputs_of(name, operator, tick, sources, arrived[name], final=final)
            pieces: list[tuple[Output, Memo]] = [(o, {}) for o in outputs if len(o.groups) or o.marks]
            for edge in self._plan.outputs(name):
                given = [p for p in pieces if p[0].name == edge.output or p[0].marks]
                batch = self._chains[edge.id].run(given, tick, held.get(edge.id, ()))
                if batch is not None:
                    arrived[edge.consumer].append((edge.input, edge.id, batch))

    def _outputs_of(
        self, name: str, operator: OperatorPlan, tick: int, sources: Mapping[str, Sequence[Output]],
        arrived: list[tuple[int, int, Batch]], *, final: bool,
    ) -> Sequence[Output]:  # fmt: skip
        if operator.kind == "source":
            return sources.get(name, ())
        slices = [(number, batch) for number, _, batch in sorted(arrived, key=lambda item: item[:2])]
        if operator.kind == "keyed":
            processor = self._processors[name]
            if slices or final or processor.due_after(tick - 1) == tick:
                return processor.process(TickInput(tick, slices, final))
        elif (merged := TickInput(tick, slices).merged()) is not None:
            self.sinks[name].append((tick, merged[0]))
        return []
