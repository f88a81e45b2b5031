"""The laws of sinks, tried on any sink: from what is asked here, exactly once follows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from elastic.connectors.base import Sink, Writer
from elastic.errors import FencedError
from elastic.keys import KeyInterval
from elastic.testing.contract import Broken, demand, try_laws
from elastic.testing.sink_trial import ALL, HIGH, LOW, Guarantee, RowOf, SinkTrial, context_in

KILLER_LIMIT_S = 300


def check_sink(
    make: Callable[[Path], Sink],
    *,
    row: RowOf = None,
    read: Callable[[Path], Iterable[Any]] | None = None,
    guarantee: Guarantee = "exactly once",
    kills: int = 12,
) -> None:
    """Return if a sink keeps the contract of ``elastic.connectors.base``: each row is there once, whatever fails.

    Writers are opened, replaced, split and joined as the runtime does it; writers that were replaced go on as zombies;
    and writers in processes of their own are killed, each at another call into the operating system.

    Args:
        make: Makes the sink with its target in the directory that it is given, which is empty and another each time.
        row: From a key (str) and a number (int) to a row that the sink can write; ``(key, number)`` pairs if None.
        read: The rows that the target in a directory has, read independently of the sink, equal to those of ``row``;
            None asks the sink's own ``contents``, ``expected`` and ``compare``.
        guarantee: ``at least once`` lets rows be there again after a failure.
        kills: How many processes are killed; 0 starts none.

    Raises:
        ContractError: It does not; says which laws are broken, and by what.
    """
    laws = _Laws(make, row, read, guarantee)
    tried = [(law.__doc__ or "", law) for law in laws.all()]
    if kills:
        tried.append(("Writers that are killed at any moment are followed exactly", partial(laws.killed, kills)))
    with tempfile.TemporaryDirectory(prefix="elastic-check-") as place:
        laws.place = Path(place)
        name = type(make(laws.fresh())).__name__
        try_laws(name, [(text.rstrip("."), check) for text, check in tried])


@dataclass
class _Laws:
    """Each law in a directory of its own."""

    make: Callable[[Path], Sink]
    row: RowOf
    read: Callable[[Path], Iterable[Any]] | None
    guarantee: Guarantee
    place: Path = Path()
    used: int = 0

    def all(self) -> list[Callable[[], None]]:
        """The laws that need no processes."""
        return [
            self.fresh_target, self.rows_once, self.any_size, self.differences, self.follows, self.vanished,
            self.zombie, self.zombie_early, self.older, self.halves, self.one_half, self.split, self.joined,
            self.progress, self.others, self.tidy,
        ]  # fmt: skip

    def fresh(self) -> Path:
        """A directory that was not used before."""
        self.used += 1
        directory = self.place / f"{self.used}"
        directory.mkdir()
        return directory

    @contextmanager
    def trial(self) -> Iterator[SinkTrial]:
        """The sink as workers get it, prepared, and finished after."""
        directory = self.fresh()
        made = self.make(directory)
        sink = cloudpickle.loads(cloudpickle.dumps(made))
        trial = SinkTrial(sink, directory, self.row, self.read, self.guarantee)
        made.prepare(trial.context)
        yield trial
        made.finish(trial.context)

    # -- what is committed ---------------------------------------------------------------------------------------------

    def fresh_target(self) -> None:
        """A fresh target has committed nothing."""
        with self.trial() as trial:
            with closing(trial.open()) as writer:
                _demand_ticks(writer, [(ALL, 0)])
            trial.demand_exact([])

    def rows_once(self) -> None:
        """Rows that were committed are there, the last ones too."""
        with self.trial() as trial:
            with closing(trial.open()) as writer:
                writer.commit(trial.stream(1, 5), 5, final=False)
                said = writer.commit(trial.stream(6, 11), 11, final=True)
                demand(said == 11, f"a final commit through 11 answered {said}; at the end nothing is kept back")
            trial.demand_exact(trial.stream(1, 11))

    def any_size(self) -> None:
        """Commits of any size add up, also where a writer vanishes half-way, and no commit takes one back."""
        for step, half, end in ((1, 40, 70), (7, 60, 130), (70, 130, 270)):
            with self.trial() as trial:
                said, writers = 0, list[Writer]()
                for generation, last in ((1, half), (2, end)):
                    writer = trial.open(ALL, generation)
                    writers.append(writer)
                    _demand_ticks(writer, [(ALL, said)])
                    for tick in range(said, last, step):
                        through = min(tick + step, last)
                        answer = writer.commit(trial.stream(tick + 1, through), through, final=through == end)
                        demand(said <= answer <= through, f"commit through {through} answered {answer} after {said}")
                        said = answer
                for writer in writers:
                    writer.close()
                demand(said == end, f"after the final commit through {end} the answer is {said}")
                trial.demand_exact(trial.stream(1, end))

    def differences(self) -> None:
        """A row that is missing or surplus is counted when a run is verified."""
        if self.read is not None:
            return
        with self.trial() as trial:
            with closing(trial.open()) as writer:
                writer.commit(trial.stream(1, 5), 5, final=True)
            extra = trial.batch([("a word of its own", 1)])
            assert extra is not None
            lost, surplus = trial.wrong([*trial.stream(1, 5), (6, extra)])
            demand(lost >= 1 and not surplus, f"one row is missing; compare() says {lost} lost, {surplus} duplicated")
            lost, surplus = trial.wrong([])
            demand(surplus and not lost, f"nothing was expected; compare() says {lost} lost, {surplus} duplicated")

    # -- writers that follow one another -------------------------------------------------------------------------------

    def follows(self) -> None:
        """A writer that follows goes on where the last commit said."""
        for ticks in (1, 100, 137):
            with self.trial() as trial:
                with closing(trial.open()) as writer:
                    said = writer.commit(trial.stream(1, ticks), ticks, final=False)
                with closing(trial.open(ALL, 2)) as writer:
                    _demand_ticks(writer, [(ALL, said)])
                    writer.commit(trial.replayed(writer, 1, ticks + 9), ticks + 9, final=True)
                trial.demand_exact(trial.stream(1, ticks + 9))

    def vanished(self) -> None:
        """A writer that vanished without closing is followed just so."""
        with self.trial() as trial:
            vanished = trial.open()
            said = vanished.commit(trial.stream(1, 150), 150, final=False)
            with closing(trial.open(ALL, 2)) as writer:
                _demand_ticks(writer, [(ALL, said)])
                writer.commit(trial.replayed(writer, 1, 160), 160, final=True)
            vanished.close()
            trial.demand_exact(trial.stream(1, 160))

    def zombie(self) -> None:
        """A zombie is refused whatever it does next."""
        with self.trial() as trial:
            zombie = trial.open()
            zombie.commit(trial.stream(1, 150), 150, final=False)
            with closing(trial.open(ALL, 2)) as writer:
                writer.commit(trial.replayed(writer, 1, 160), 160, final=False)
                _demand_fenced(lambda: zombie.commit(trial.stream(151, 320), 320, final=False), "a commit with rows")
                _demand_fenced(lambda: zombie.commit([], 400, final=True), "a final commit without rows")
                zombie.close()
                writer.commit(trial.replayed(writer, 161, 320), 320, final=True)
            trial.demand_exact(trial.stream(1, 320))

    def zombie_early(self) -> None:
        """A zombie is refused before its successor has committed."""
        with self.trial() as trial:
            zombie, writer = trial.open(), trial.open(ALL, 2)
            _demand_fenced(lambda: zombie.commit(trial.stream(1, 200), 200, final=False), "a commit with rows")
            _demand_ticks(writer, [(ALL, 0)])
            zombie.close()
            writer.close()
            if self.guarantee == "exactly once":
                trial.demand_exact([])

    def older(self) -> None:
        """An older generation cannot open."""
        with self.trial() as trial:
            trial.open(ALL, 5).close()
            _demand_fenced(lambda: trial.open(LOW, 4).close(), "generation 4 opening what generation 5 has opened")

    # -- intervals -----------------------------------------------------------------------------------------------------

    def halves(self) -> None:
        """Writers of two halves share a target."""
        with self.trial() as trial:
            with closing(trial.open(LOW)) as low, closing(trial.open(HIGH)) as high:
                low.commit(trial.stream(1, 150, LOW), 150, final=False)
                high.commit(trial.stream(1, 120, HIGH), 120, final=False)
                low.commit(trial.stream(151, 160, LOW), 160, final=True)
                high.commit(trial.stream(121, 160, HIGH), 160, final=True)
            trial.demand_exact(trial.stream(1, 160))

    def one_half(self) -> None:
        """Replacing one half leaves the other alone."""
        with self.trial() as trial:
            with closing(trial.open(LOW)) as low, closing(trial.open(HIGH)) as gone:
                low.commit(trial.stream(1, 50, LOW), 50, final=False)
                gone.commit(trial.stream(1, 50, HIGH), 50, final=False)
                with closing(trial.open(HIGH, 2)) as high:
                    low.commit(trial.stream(51, 160, LOW), 160, final=True)
                    high.commit(trial.replayed(high, 1, 160, HIGH), 160, final=True)
            trial.demand_exact(trial.stream(1, 160))

    def split(self) -> None:
        """Splitting an interval keeps its tick in both parts."""
        with self.trial() as trial:
            whole = trial.open()
            said = whole.commit(trial.stream(1, 250), 250, final=False)
            with closing(trial.open(HIGH, 2)) as high:
                _demand_ticks(high, [(HIGH, said)])
                _demand_fenced(lambda: whole.commit(trial.stream(251, 500), 500, final=False), "the whole one's commit")
            whole.close()
            for interval in (LOW, HIGH):
                with closing(trial.open(interval, 3)) as writer:
                    _demand_ticks(writer, [(interval, said)])
                    writer.commit(trial.replayed(writer, 1, 500, interval), 500, final=True)
            trial.demand_exact(trial.stream(1, 500))

    def joined(self) -> None:
        """Joining two intervals reports the tick of each."""
        with self.trial() as trial:
            with closing(trial.open(LOW)) as low, closing(trial.open(HIGH)) as high:
                low.commit(trial.stream(1, 90, LOW), 90, final=True)
                high.commit(trial.stream(1, 40, HIGH), 40, final=True)
            with closing(trial.open(ALL, 2)) as writer:
                _demand_ticks(writer, [(LOW, 90), (HIGH, 40)])
                said = writer.commit(trial.replayed(writer, 41, 60), 60, final=True)
                demand(said == 60, f"a final commit through 60 answered {said}")
                _demand_ticks(writer, [(LOW, 90), (HIGH, 60)])
                rest = [part for part in trial.replayed(writer, 61, 110) if part[0] > 60]
                writer.commit(rest, 110, final=True)
                demand({tick for _, tick in writer.committed()} == {110}, f"after 110: {writer.committed()}")
            trial.demand_exact(trial.stream(1, 110))

    # -- the rest ------------------------------------------------------------------------------------------------------

    def progress(self) -> None:
        """Progress without rows is recorded in time."""
        with self.trial() as trial:
            with closing(trial.open()) as writer:
                said = [writer.commit([], tick, final=False) for tick in range(1, 301)]
                demand(said == sorted(said), "an answer was lower than the one before it")
                demand(
                    said[-1] >= 200,
                    f"after 300 ticks without rows, 3 s, the answer is {said[-1]}; record progress now and then",
                )
            with closing(trial.open(ALL, 2)) as writer:
                _demand_ticks(writer, [(ALL, said[-1])])
                last = writer.commit([], 301, final=True)
                demand(last == 301, f"a final commit through 301 answered {last}")
            with closing(trial.open(ALL, 3)) as writer:
                _demand_ticks(writer, [(ALL, 301)])

    def others(self) -> None:
        """Another run and another operator start afresh."""
        with self.trial() as trial:
            with closing(trial.open(ALL, 7)) as writer:
                writer.commit(trial.stream(1, 5), 5, final=True)
            for other in (context_in(trial.directory, "run-2"), context_in(trial.directory, operator="other")):
                trial.sink.prepare(other)
                with closing(trial.sink.open(other, ALL, 1)) as writer:
                    _demand_ticks(writer, [(ALL, 0)])
                trial.sink.finish(other)

    def tidy(self) -> None:
        """After finish, nothing is left of what writers had under way."""
        with self.trial() as trial:
            vanished = trial.open()
            vanished.commit(trial.stream(1, 150), 150, final=False)
            with closing(trial.open(ALL, 2)) as writer:
                writer.commit(trial.replayed(writer, 1, 170), 170, final=False)
            vanished.close()
            trial.sink.finish(trial.context)
            left = [
                p.name for p in trial.directory.rglob("*") if p.suffix == ".tmp" or p.name.endswith(("-wal", "-shm"))
            ]
            demand(not left, f"there is still {', '.join(left)}")

    def killed(self, kills: int) -> None:
        """Real processes, and SIGKILL before or after any call with an effect: in opening, committing, closing."""
        trials = []
        for _ in range(kills + 1):
            directory = self.fresh()
            trials.append(SinkTrial(self.make(directory), directory, self.row, self.read, self.guarantee))
        shipped = self.place / "trials"
        shipped.write_bytes(_by_value(trials))
        done = subprocess.run(
            [sys.executable, "-m", "elastic.testing.sink_killer", str(shipped)],
            capture_output=True,
            text=True,
            timeout=KILLER_LIMIT_S,
            check=False,
        )
        verdicts = done.stdout.splitlines()
        wrong = [verdict for verdict in verdicts if verdict != "exact"]
        demand(not wrong, "; ".join(wrong[:5]))
        demand(len(verdicts) == kills + 1, f"the process that kills writers ended early:\n{done.stderr.strip()}")


def _demand_ticks(writer: Writer, expected: Sequence[tuple[KeyInterval, int]]) -> None:
    """A writer says what is committed."""
    told = ", ".join(f"{interval} through {tick}" for interval, tick in writer.committed())
    wanted = ", ".join(f"{interval} through {tick}" for interval, tick in expected)
    demand(writer.committed() == list(expected), f"committed() says {told or 'nothing'}, expected {wanted}")


def _demand_fenced(attempt: Callable[[], object], what: str) -> None:
    """What an older generation tries is refused."""
    try:
        attempt()
    except FencedError:
        return
    raise Broken(f"{what} was let through; raise FencedError where a newer generation has opened the target")


def _by_value(trials: list[SinkTrial]) -> bytes:
    """Pickled, with the code of modules that another process may not find, such as the test's own."""
    homes = {type(trials[0].sink).__module__} | {
        getattr(function, "__module__", None) for function in (trials[0].row, trials[0].read) if function is not None
    }
    modules = [sys.modules[home] for home in homes if home in sys.modules and home.partition(".")[0] != "elastic"]
    shipped = [module for module in modules if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in shipped:
        cloudpickle.register_pickle_by_value(module)
    try:
        dumped: bytes = cloudpickle.dumps((sys.path, cloudpickle.dumps(trials)))
    finally:
        for module in shipped:
            cloudpickle.unregister_pickle_by_value(module)
    return dumped
