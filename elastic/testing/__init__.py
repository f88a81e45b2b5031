"""Tools to test with: a simulator that breaks whole jobs, the reference run, and the laws of sources and sinks."""

from elastic.testing.contract import ContractError
from elastic.testing.faults import FAULTS, FaultKind
from elastic.testing.reference import reference_run
from elastic.testing.simulator import simulate
from elastic.testing.sink_contract import check_sink
from elastic.testing.source_contract import check_source
from elastic.testing.verdict import SimulationResult

__all__ = [
    "FAULTS", "ContractError", "FaultKind", "SimulationResult", "check_sink", "check_source", "reference_run",
    "simulate",
]  # fmt: skip
