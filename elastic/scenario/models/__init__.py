"""The scenario file, field by field. Loaded with line numbers by ``elastic.scenario.load``."""

from elastic.scenario.models.faults import Action, Fault, Scale, Target
from elastic.scenario.models.scenario import Expect, Scenario, json_schema
from elastic.scenario.models.settings import ELASTIC_ALONE, Cluster, DStream, Elastic

__all__ = [
    "ELASTIC_ALONE",
    "Action",
    "Cluster",
    "DStream",
    "Elastic",
    "Expect",
    "Fault",
    "Scale",
    "Scenario",
    "Target",
    "json_schema",
]
