"""What users write: a query, which begins with its sources; each mistake is refused at the line that makes it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, NoReturn

from elastic.callables import caller, check_shippable, refuse_while_imported, shortened
from elastic.connectors.base import Source
from elastic.errors import QueryError
from elastic.graph import Graph, Path
from elastic.plan import ERRORS, Plan, Settings
from elastic.streams import Stream, diverted, named_outputs
from elastic.surface import surface


@surface
class Query:
    """A job: sources, steps, keyed operators and sinks. Runs with ``run``, or through ``elastic run``."""

    def __init__(self, name: str) -> None:
        self._graph = Graph(name)

    def __repr__(self) -> str:
        return f"<Query {self.name!r}: {', '.join(self._graph.nodes) or 'empty'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Query is not sent anywhere; its plan() is")

    @property
    def name(self) -> str:
        """Name of the job, and of its directory."""
        return self._graph.query

    def source(self, source: Source, *, name: str | None = None) -> Stream:
        """The stream of a source's records.

        Raises:
            QueryError: Not a source, or the name is taken.
        """
        if not isinstance(source, Source):
            hint = "; for values in memory use sources.from_list(…)" if isinstance(source, list | tuple | range) else ""
            raise QueryError(
                f"{caller()}: source() takes one of elastic.sources, such as sources.text_files('logs/*.txt'), "
                f"not {shortened(source)}{hint}"
            )
        check_shippable(f"source {source.name!r}", source)
        node = self._graph.add("source", source, verb="source", name=name, default=source.name)
        outputs = named_outputs(self._graph, node)
        if source.errors == "divert":
            outputs |= diverted(self._graph, str(node), [Path(node.name, output=ERRORS)])
        return Stream(self._graph, [Path(node.name)], str(node), outputs)

    def check(self) -> None:
        """Return if the query is complete.

        Raises:
            QueryError: There is no source, or a stream leads nowhere.
        """
        self._graph.check()

    def plan(self, *, workers: int = 4, settings: Settings | None = None) -> Plan:
        """The query as operators with their numbers of instances, and the edges between them.

        Sources have one instance per partition, keyed operators one per worker, sinks too unless their target takes one
        writer only. A source looks at its input here, to cut it into partitions.

        Raises:
            QueryError: The query is incomplete, or an ``emit`` period is not a whole number of ticks.
            SourceError: There is nothing to read.
        """
        self.check()
        return self._graph.plan(workers, settings or Settings())

    def run(self, *, workers: int = 4, spares: int = 1, model: str = "elastic", **options: Any) -> Any:
        """Run the query on worker processes of this machine until its input is processed, and return the report.

        Args:
            workers: Processes that share the work.
            spares: Processes that wait to replace one that dies.
            model: Execution model, an entry point of the group ``elastic.models``.
            options: Handed to the model.

        Raises:
            UserError: A mistake in the query, or the job failed.
        """
        refuse_while_imported("run")
        self.check()
        models = {point.name: point for point in entry_points(group="elastic.models")}
        if model not in models:
            known = (
                f"there are {', '.join(sorted(models))}"
                if models
                else "none is installed; run pip install elastic-streams"
            )
            raise QueryError(f"{caller()}: {model!r} is not an execution model; {known}")
        return models[model].load()(self, workers=workers, spares=spares, **options)
