"""Tools to test jobs with: the simulator, which breaks a whole job in one process, and the reference run."""

from elastic.testing.faults import FAULTS, FaultKind
from elastic.testing.reference import reference_run
from elastic.testing.simulator import simulate
from elastic.testing.verdict import SimulationResult

__all__ = ["FAULTS", "FaultKind", "SimulationResult", "reference_run", "simulate"]
