"""Rows spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

from elastic.graph import Graph, Node, Path
from elastic.operators.spread import Rebalance


def rebalanced(graph: Graph, paths: Sequence[Path], name: str | None) -> Node:
    """The rows of paths without keys, spread evenly over instances."""
    node = graph.add("keyed", Rebalance(), verb="rebalance", name=name, default="rebalance")
    graph.connect(node, paths, route="spread")
    return node
