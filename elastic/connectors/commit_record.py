"""The records of a commit log, and what they mean: a function of those before them alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from elastic.connectors.claims import Claim, advanced, opened
from elastic.errors import SinkError
from elastic.keys import KeyInterval

VERSION = 1

NOWHERE = KeyInterval(0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a commit log.

    Attributes:
        kind: A writer has opened its interval (``open``) or has committed through a tick (``commit``); the segment has
            ended (``end``), what follows in it does not count; what all before the segment say (``base``, its first).
        tick: Through which it commits; 0 for the others.
        payload: What the sink keeps beside the tick; JSON's types only.
    """

    kind: Literal["open", "commit", "end", "base"]
    interval: KeyInterval = NOWHERE
    generation: int = 0
    tick: int = 0
    payload: Any = None

    def encode(self) -> bytes:
        """The record's line, after a line break that ends whatever a killed writer left unfinished."""
        body = json.dumps(
            [VERSION, self.kind, *self.interval, self.generation, self.tick, self.payload], separators=(",", ":")
        ).encode()
        return b"\n%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Entry | None:
    """The record in a line; None if the line is none, or not whole."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    version, kind, low, high, generation, tick, payload = json.loads(body)
    if version != VERSION:
        raise SinkError(f"a commit log of version {version} cannot be read: this release reads version {VERSION}")
    return Entry(kind, KeyInterval(low, high), generation, tick, payload)


def entries(data: bytes) -> Iterator[Entry]:
    """The whole records in a piece of a log that ends with a line break."""
    for line in data.split(b"\n"):
        if line and (entry := decode(line)) is not None:
            yield entry


@dataclass(slots=True)
class Standing:
    """What a log says up to some record.

    Attributes:
        claims: Which generation owns which key groups, and their committed ticks.
        last: The newest commit that counts of every writer, by its interval and generation.
    """

    claims: list[Claim] = field(default_factory=list)
    last: dict[tuple[KeyInterval, int], Entry] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Take over the effect of the next ``open`` or ``commit``.

        Raises:
            FencedError: It has none, since a higher generation stands before it.
        """
        change = opened if entry.kind == "open" else partial(advanced, through=entry.tick)
        self.claims = change(self.claims, entry.interval, entry.generation)
        if entry.kind == "commit":
            self.last[entry.interval, entry.generation] = entry

    def base(self) -> Entry:
        """The record that a new segment begins with."""
        claims = [[*c.interval, c.generation, c.tick] for c in self.claims]
        last = [[*e.interval, e.generation, e.tick, e.payload] for e in self.last.values()]
        return Entry("base", payload=[claims, last])

    @staticmethod
    def at(base: Entry) -> Standing:
        """What a segment's first record says."""
        claims, last = base.payload
        found = [Entry("commit", KeyInterval(low, high), *rest) for low, high, *rest in last]
        return Standing(
            [Claim(KeyInterval(low, high), *rest) for low, high, *rest in claims],
            {(entry.interval, entry.generation): entry for entry in found},
        )
