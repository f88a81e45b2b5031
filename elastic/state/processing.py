"""Processing state: an operator's keyed state, in the form in which it is checkpointed, folded and cut.

(skeleton: fold, cut_table, join come with the operators)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elastic.batch import Column, Groups


@dataclass(frozen=True, slots=True)
class StateTable:
    """Keyed state, or the part of it that was written since another checkpoint, as columns.

    Attributes:
        groups: Key group of each entry, in any order.
        keys: Key of each entry; no key twice.
        fields: The operator's own columns, one value per entry each.
        deleted_groups: Key groups of the deleted keys; only a delta has any.
        deleted_keys: Keys deleted since the checkpoint that the delta builds on.
    """

    groups: Groups
    keys: Column
    fields: Mapping[str, Column] = field(default_factory=dict)
    deleted_groups: Groups | None = None
    deleted_keys: Column | None = None
