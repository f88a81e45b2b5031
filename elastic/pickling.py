"""Pickles of users' values whose bytes follow from the values alone."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any

from elastic.errors import UserError

PROTOCOL = 5


def dumps(value: Any) -> bytes:
    """The value's pickle, written without a memo: equal values of equal types give equal bytes.

    With a memo, a list that holds one string twice and a list that holds two equal strings have different pickles, and
    a value no longer has its own after having been received. Sets are the exception: see ``dumps_ordered``.

    Raises:
        UserError: The value cannot be pickled; names its type and the reason.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, PROTOCOL)
    pickler.fast = True
    try:
        pickler.dump(value)
    except Exception:  # noqa: BLE001 (a value that contains itself needs the memo; others fail again below)
        return _dumps_with_memo(value)
    return buffer.getvalue()


def dumps_ordered(value: Any) -> bytes:
    """Like ``dumps``, but equal for equal sets too, wherever they lie. Slow, and not for loading: for fingerprints."""
    buffer = io.BytesIO()
    pickler = _SetOrder(buffer, PROTOCOL)
    pickler.fast = True
    try:
        pickler.dump(value)
    except Exception:  # noqa: BLE001 (as in dumps)
        return _dumps_with_memo(value)
    return buffer.getvalue()


def loads(data: bytes | memoryview) -> Any:
    """The value pickled in ``data``, which must come from a process of the same job.

    Raises:
        UserError: The value cannot be made again here; says why.
    """
    try:
        return pickle.loads(data)  # noqa: S301 (the caller answers for where it comes from)
    except Exception as error:  # unpickling runs the user's code, which may raise anything
        raise UserError(
            f"a value could not be unpickled in another process: {type(error).__name__}: {error}; its class must be "
            "importable there under the same name, and survive pickle.loads(pickle.dumps(value))"
        ) from error


class _SetOrder(pickle.Pickler):
    """Writes each set as the sorted pickles of its elements."""

    def persistent_id(self, value: Any) -> Any:
        if type(value) in (set, frozenset):
            return (type(value).__name__, sorted(map(dumps_ordered, value)))
        return None


def _dumps_with_memo(value: Any) -> bytes:
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:  # pickling runs the user's code, which may raise anything
        culprit, reason = _culprit(value, error)
        name = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
        raise UserError(
            f"a value of type {name} cannot be sent to another process or kept in a checkpoint: "
            f"{type(reason).__name__}: {reason}; emit values that pickle.dumps accepts: plain data, or instances of "
            "classes defined at the top level of a module"
        ) from error


def _culprit(value: Any, error: Exception) -> tuple[Any, Exception]:
    """The innermost element that fails by itself, looking into builtin containers only, and how it fails."""
    for element in _elements(value):
        try:
            pickle.dumps(element, PROTOCOL)
        except RecursionError:  # cyclic or too deep: looking further down would not end
            return element, error
        except Exception as reason:  # noqa: BLE001 (the value's own code, which may raise anything)
            return _culprit(element, reason)
    return value, error


def _elements(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()
