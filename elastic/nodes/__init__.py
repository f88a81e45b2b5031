"""What the verbs of streams become: operators of the query graph, and the edges that lead to them."""

from elastic.nodes.aggregates import aggregated, folding
from elastic.nodes.applied import applied, joined
from elastic.nodes.event_time import timed
from elastic.nodes.lookup import looked_up
from elastic.nodes.selection import called, distinct, keyable, ranked, top
from elastic.nodes.sinks import checked_by
from elastic.nodes.spread import rebalanced
from elastic.nodes.windows import Windowed, check_window_function

__all__ = [
    "Windowed",
    "aggregated",
    "applied",
    "called",
    "check_window_function",
    "checked_by",
    "distinct",
    "folding",
    "joined",
    "keyable",
    "looked_up",
    "ranked",
    "rebalanced",
    "timed",
    "top",
]
