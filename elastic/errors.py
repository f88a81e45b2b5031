"""Errors, in families by what the person who sees them has to do.

Every error says what was wrong, where, what was expected and what to do next. A ``UserError`` is a user's mistake and
is shown without a traceback of ours; anything else that reaches the surface is a bug in the system.
"""

from __future__ import annotations


class ElasticError(Exception):
    """Base of everything that this package raises on purpose."""


class UserError(ElasticError):
    """Something in the user's hands: shown as its text alone, never as a traceback of ours."""


class QueryError(UserError):
    """A query that cannot run; raised while it is built, at the user's own line."""


class KeyTypeError(UserError):
    """A key, or an element of one, that is not of a type that can be a key.

    Attributes:
        key: ``repr`` of the value that cannot be a key, shortened.
        type_name: Its type.
    """

    def __init__(self, key: str, type_name: str) -> None:
        super().__init__(key, type_name)  # all of them, so that it survives pickling
        self.key, self.type_name = key, type_name

    def __str__(self) -> str:
        return (
            f"{self.key} cannot be a key or part of one, since it is a {self.type_name}; keys are None, bool, int, "
            "float, str, bytes and tuples of them: give key_by or distinct a function that returns one of these, such "
            'as key_by(field("user"))'
        )


class ScenarioError(UserError):
    """A scenario file with a mistake; the text starts with ``file:line: field``."""


class SourceError(UserError):
    """A source cannot be read: missing, unreadable or malformed input."""


class SinkError(UserError):
    """A target cannot be written: another shape, no space, no permission."""


class FencedError(ElasticError):
    """An append or commit was refused, since a newer generation has taken over.

    Nothing was written. The holder of the older generation must stop: it has been replaced.
    """


class UserCodeError(UserError):
    """A function or operator of the user's raised.

    Attributes:
        operator: Name of the operator or step in the query.
        tick: Tick in which it was called, or None outside of one.
        record: ``repr`` of the record, shortened.
        key: ``repr`` of the key, or None where there is none.
        trace: The user's part of the traceback; its last line names the exception.
    """

    def __init__(self, operator: str, tick: int | None, record: str, key: str | None, trace: str) -> None:
        super().__init__(operator, tick, record, key, trace)  # all of them, so that it survives pickling
        self.operator, self.tick, self.record, self.key, self.trace = operator, tick, record, key, trace

    def __str__(self) -> str:
        where = [f"record {self.record}"]
        if self.key is not None:
            where.append(f"key {self.key}")
        if self.tick is not None:
            where.append(f"tick {self.tick}")
        return f"operator {self.operator!r} failed on {', '.join(where)}\n{self.trace.rstrip()}"


class ConnectorError(UserError):
    """A source or sink of the user's own raised, and not to say that it cannot be read or written.

    Attributes:
        connector: Which, such as ``source 'table'``.
        trace: The user's part of the traceback; its last line names the exception.
    """

    def __init__(self, connector: str, trace: str) -> None:
        super().__init__(connector, trace)  # all of them, so that it survives pickling
        self.connector, self.trace = connector, trace

    def __str__(self) -> str:
        return f"the code of {self.connector} raised\n{self.trace.rstrip()}"


class JobFailedError(UserError):
    """The job ended without having processed its input; what was committed before stays committed."""


class StateLostError(JobFailedError):
    """An instance and every copy of its checkpoint are gone, so it cannot be restored."""


class NondeterminismError(JobFailedError):
    """A replayed tick gave other rows than the first time: some user code depends on more than its input."""
