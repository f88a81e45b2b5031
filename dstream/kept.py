"""The state that a job of this model keeps in its directory, as ``elastic state`` shows it."""

from __future__ import annotations

from pathlib import Path

from dstream.versions import whole
from dstream.worker.state_files import STATE, StateFiles
from elastic.cluster.state import ATTEMPTS, InstanceState
from elastic.coordinator.memory import Facts
from elastic.keys import KeyInterval


def read_states(directory: Path, facts: Facts) -> list[InstanceState]:
    """Every partition of state, by operator and number, as its newest version has it."""
    files, stages = StateFiles(directory / STATE), dict(facts["stages"])
    found = []
    for body in sorted(facts["instances"], key=lambda i: (i["operator"], i["index"])):
        if stages[body["id"]] in facts["stateful"]:
            place, interval = (stages[body["id"]], body["index"]), KeyInterval(*body["interval"])
            state = InstanceState(body["operator"], body["index"], interval)
            links = next((links for _ in range(ATTEMPTS) if (links := files.read(place))), [])
            if links:
                tick = links[-1][0] * facts["interval_ticks"]
                table, size_bytes = whole([version for _, version in links]).table, files.size_bytes(place)
                state = InstanceState(state.operator, state.index, interval, tick, table, size_bytes)
            found.append(state)
    return found
