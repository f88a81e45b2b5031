"""Who keeps an instance from going on: from one that waits to the one that it waits for, up to the root."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from elastic.coordinator.membership import InstanceRecord
from elastic.coordinator.standings import Whereabouts, in_words, name
from elastic.protocol import Stuck, Wait
from elastic.report import Stall
from elastic.units import format_duration

What: TypeAlias = Literal[
    "code", "source", "sink", "worker", "restore", "input", "credit", "cover", "scaling", "system"
]
"""Where a root stands; ``elastic.report.Stall`` says what each means."""

GRACE_S = 1.0
"""What a watchdog can say in more words is waited for so much longer before it is told without."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where a chain of waiting ends.

    Attributes:
        told_at_s: It is not told before: a watchdog may yet say more.
        tick: Its position where that is known better than from its last standing.
    """

    instance: int
    what: What
    detail: str
    since_s: float
    told_at_s: float
    lines: tuple[str, ...] = ()
    tick: int | None = None


@dataclass(frozen=True, slots=True)
class Chains:
    """Follows chains of waiting through the whereabouts of one moment."""

    known: Whereabouts
    now_s: float

    def follow(self, instance: int) -> tuple[list[str], Root]:
        """A sentence for each instance on the way to the root, and the root."""
        path: list[str] = []
        seen: set[int] = set()
        while True:
            seen.add(instance)
            found = self._next(self.known.members.instances[instance])
            if isinstance(found, Root):
                return path, found
            following, sentence = found
            if following in seen:
                return path, self._root(min(seen), "system", f"{sentence}, and so in a circle")
            path.append(sentence)
            instance = following

    def _next(self, record: InstanceRecord) -> Root | tuple[int, str]:
        """Whom an instance waits for and the sentence that says so; or the root, if nobody else keeps it."""
        known, id = self.known, record.id
        if (stuck := known.stuck(id)) is not None:
            detail = in_words(stuck, self.now_s)
            return Root(id, where(stuck), detail, stuck.since_s, self.now_s, stuck.lines, stuck.tick)
        if (busy := known.busy(record.worker)) is not None:
            return (
                busy.instance,
                f"{name(record)} waits for its worker, which is busy with {known.named(busy.instance)}",
            )
        if (silent_s := known.silent_since(record.worker, self.now_s)) is not None:
            return silent_root(self.known, self._suspect(record.worker), record.worker, silent_s, self.now_s)
        wait = known.wait(id)
        if wait is None:
            return self._root(id, "system", f"could go on after tick {known.tau(id)}, and does not")
        match wait.kind:
            case "target":
                text = f"its target has not returned from a commit through tick {wait.tick} for {self._lasted(id)}"
                return self._root(id, "sink", text, GRACE_S)
            case "opening":
                what: What = "source" if known.members.plan.operators[record.operator].kind == "source" else "sink"
                return self._root(id, what, f"what it reads or writes is not open after {self._lasted(id)}", GRACE_S)
            case "part":
                holder = wait.on[0]
                text = f"its checkpoint has not come from worker {holder} for {self._lasted(id)}"
                return self._root(id, "restore", text + known.explain(holder, self.now_s))
            case "scaling":
                return self._root(id, "scaling", f"is to be joined with its neighbours for {self._lasted(id)}")
            case _:
                return self._neighbours(record, wait)

    def _suspect(self, worker: int) -> int:
        """Who is named where nobody on a worker can say anything: an operator with user code, if there is one."""
        operators = self.known.members.plan.operators
        here = [i for i in self.known.members.instances.values() if i.worker == worker]
        suspects = [i for i in here if operators[i.operator].user_code and operators[i.operator].kind == "keyed"]
        return min(i.id for i in suspects or here)

    def _neighbours(self, record: InstanceRecord, wait: Wait) -> Root | tuple[int, str]:
        """The one among those waited for that has stood still longest; the instance itself, if they all go on."""
        since = {i: self.known.still_since(i, self.now_s) for i in wait.on if self.known.stands_still(i, self.now_s)}
        if since:
            following = min(since, key=lambda i: (since[i] or 0.0, i))
            return following, f"{name(record)} {_needs(wait, self.known.named(following))}"
        for following in sorted(wait.on):
            if self._is_held_up(following):  # it moved a moment ago, and cannot now
                return following, f"{name(record)} {_needs(wait, self.known.named(following))}"
        on = ", ".join(map(self.known.named, wait.on)) or "nobody that is known"
        text = f"{_needs(wait, on)} for {self._lasted(record.id)}"
        if wait.on:
            text += ", which itself goes on" if len(wait.on) == 1 else ", which themselves go on"
        what: What = "cover" if wait.kind == "cover" else "credit" if wait.kind == "credit" else "input"
        return self._root(record.id, what, text, GRACE_S)  # what is known of them may be a moment old

    def _is_held_up(self, instance: int) -> bool:
        """Whether an instance's worker is busy with one thing, or says nothing."""
        record = self.known.members.instances.get(instance)
        if record is None:
            return False
        silent = self.known.silent_since(record.worker, self.now_s) is not None
        return silent or self.known.busy(record.worker) is not None

    def _root(self, instance: int, what: What, detail: str, grace_s: float = 0.0) -> Root:
        since_s = self._since_s(instance)
        return Root(instance, what, detail, since_s, since_s + self.known.after_s + grace_s)

    def _since_s(self, instance: int) -> float:
        since_s = self.known.still_since(instance, self.now_s)
        return self.now_s if since_s is None else since_s

    def _lasted(self, instance: int) -> str:
        return format_duration(self.now_s - self._since_s(instance))


@dataclass(frozen=True, slots=True)
class Roots:
    """Finds the roots of all chains: the elastic model's ``Finder``; its keys are ids of instances."""

    whereabouts: Whereabouts

    def is_due(self, key: Hashable, now_s: float) -> bool:
        """Whether an instance has stood still for as long as a stall takes."""
        assert isinstance(key, int)
        since_s = self.whereabouts.still_since(key, now_s)
        return since_s is not None and now_s - since_s >= self.whereabouts.after_s

    def found(self, now_s: float) -> Mapping[Hashable, Stall]:
        """Every root that is to be told, with those that wait for it."""
        chains = Chains(self.whereabouts, now_s)
        roots: dict[int, Root] = {}
        waiting: dict[int, list[str]] = {}
        for id in self.whereabouts.members.instances:
            if self.is_due(id, now_s):
                path, root = chains.follow(id)
                roots[root.instance] = root
                waiting.setdefault(root.instance, []).extend(path[:1])
        return {id: self._stall(r, waiting[id]) for id, r in roots.items() if now_s >= r.told_at_s}

    def _stall(self, root: Root, waiting: list[str]) -> Stall:
        record = self.whereabouts.members.instances[root.instance]
        tick = self.whereabouts.tau(root.instance) or 0 if root.tick is None else root.tick
        return Stall(
            record.operator, record.index, record.worker, root.what, root.detail, tick,
            self.whereabouts.since_start_s(root.since_s), None, tuple(waiting), root.lines,
        )  # fmt: skip


def silent_root(known: Whereabouts, instance: int, worker: int, since_s: float, now_s: float) -> Root:
    """The root where nobody on a worker can say anything; ``instance`` is named for it."""
    silence = f"worker {worker} has said nothing for {format_duration(now_s - since_s)}"
    if (held := known.held(worker)) is not None:
        text = f"{silence}, since a call that holds Python's interpreter does not return"
        return Root(instance, "code" if held.user else "system", text, since_s, now_s, held.lines)
    text = f"{silence}, though it answers heartbeats: it may be stopped, or short of memory"
    return Root(instance, "worker", text, since_s, since_s + known.after_s + 3 * GRACE_S)


def _needs(wait: Wait, on: str) -> str:
    match wait.kind:
        case "credit":
            return f"waits for credit from {on}"
        case "cover":
            return f"waits for {on} to checkpoint or commit tick {wait.tick}, since its output buffers are full"
        case _:
            return f"waits for tick {wait.tick} from {on}"


def where(stuck: Stuck) -> What:
    """What stands still, in a word."""
    match stuck.what:
        case "commit" | "open":
            return "sink"
        case "read":
            return "source"
        case _:
            return "code" if stuck.user else "system"
