"""The language of the core: messages between instances, holders, workers and the coordinator, and commands.

A module for each conversation; this one hands out all their names. All are values: ``elastic.wire`` carries them
between processes; ``elastic.testing`` carries the very same between parts of one process. Ticks, ids and versions are
integers that never go back:

* an *instance id* is given out once; each incarnation gets a new one;
* a *version* counts the assignments of one operator; what carries an older one is refused;
* an *epoch* counts the coordinator's incarnations; workers refuse commands of an older one;
* a *term* counts the holders of all checkpoints; what one of an earlier term writes to the disk is refused;
* a *serial* counts the subscriptions of one consumer, so that what was sent for an earlier one is recognised.
"""

from __future__ import annotations

from elastic.protocol.assignment import (
    Align,
    Aligned,
    AlignRefused,
    CaughtUp,
    GroupLoads,
    Peers,
    ProducerRef,
    Rejoin,
    Retire,
    Running,
    Start,
    Started,
    View,
)
from elastic.protocol.backup import (
    Copied,
    Copy,
    Cut,
    CutDone,
    Fetch,
    Hold,
    Join,
    Part,
    Protected,
    Release,
    SetHolder,
    Store,
    Stored,
    StoreRefused,
)
from elastic.protocol.commands import (
    Close,
    Command,
    Commit,
    Forget,
    Load,
    Open,
    Persist,
    Send,
    Tell,
)
from elastic.protocol.ending import (
    Drain,
    Exhausted,
    Finish,
    Finished,
    Freeze,
    Frozen,
)
from elastic.protocol.standing import Standing, Standings, Stuck, Wait
from elastic.protocol.streams import (
    Ack,
    Credit,
    Deliver,
    Differs,
    NeedCheckpoint,
    Subscribe,
    Want,
)
from elastic.protocol.trouble import (
    Failed,
    Fenced,
    Nondeterministic,
    Noticed,
    Trimmed,
)

MESSAGES: tuple[type, ...] = (
    Subscribe, Deliver, Credit, Ack, Want, NeedCheckpoint, Differs,
    Store, Stored, StoreRefused, Fetch, Part,
    View, Peers, Rejoin, Running, Start, Retire, SetHolder, Hold, Release, Cut, Align, Join,
    Freeze, Finish, Drain, ProducerRef, Started, CutDone, Aligned, AlignRefused, Protected,
    Exhausted, Frozen, Finished, CaughtUp, Failed, Fenced, Trimmed, Nondeterministic, Noticed,
    GroupLoads, Wait, Standing, Standings, Stuck, Copy, Copied,
)  # fmt: skip
"""Every message that may cross a process border, in a fixed order."""
