"""Processes start, are seen to end, and never outlive the command, however it goes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from elastic.cluster import local
from elastic.cluster.local import Exited, LocalProcesses, start_parent
from elastic.errors import ElasticError

pytestmark = pytest.mark.cluster

#: What the processes run. Each tells that it runs by writing a file, whole.
ENTRIES = """
import os, re, subprocess, sys, time
from pathlib import Path

def tell(path, text=""):
    Path(path + ".part").write_text(text or str(os.getpid()))
    os.replace(path + ".part", path)

def end(code=0, text=""):
    print(text)
    if code:
        sys.exit(code)

def fail():
    raise KeyError("missing")

def idle(path):
    tell(path)
    time.sleep(600)

def hold_the_interpreter(path):
    tell(path)
    re.match(r"(a+)+$", "a" * 60 + "b")

def with_a_child_of_its_own(path):
    child = subprocess.Popen(["sleep", "600"])
    tell(path, str(child.pid))
    time.sleep(600)

def tell_hash(path):
    tell(path, str(hash("elastic")))
"""

#: A command that starts two processes, says where, and waits for its end.
COMMAND = """
import sys, time
from pathlib import Path
from elastic.cluster.local import LocalProcesses

here = Path(sys.argv[1])
processes = LocalProcesses(here)
processes.start("idle", "entries:idle", {"path": str(here / "idle")})
processes.start("busy", "entries:hold_the_interpreter", {"path": str(here / "busy")})
print(processes.directory, flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent is started as it is outside of tests."""
    monkeypatch.setattr(local, "start_parent", start_parent)


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that processes import ``entries`` from and write to."""
    (tmp_path / "entries.py").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(params=[True, False], ids=["forked", "new interpreters"])
def processes(request: pytest.FixtureRequest, entries: Path) -> Iterator[LocalProcesses]:
    """Both ways of starting them; the second is what systems other than Linux do."""
    processes = LocalProcesses(entries / "logs", fork=request.param)
    yield processes
    processes.close()


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def pid_in(file: Path) -> int:
    """The process number that a process has written."""
    wait_for(file.exists)
    return int(file.read_text())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_runs_its_entry_and_its_end_is_told(processes: LocalProcesses) -> None:
    processes.start("good", "entries:end")
    assert processes.poll(60) == [Exited("good", 0)]

    processes.start("bad", "entries:end", {"code": 3})
    assert processes.poll(60) == [Exited("bad", 3)]


def test_what_a_process_prints_and_how_it_fails_is_in_its_log(processes: LocalProcesses, entries: Path) -> None:
    processes.start("one", "entries:end", {"text": "hello"})
    processes.poll(60)
    processes.start("one", "entries:fail")

    assert processes.poll(60) == [Exited("one", 1)]
    log = (entries / "logs" / "one.log").read_text()
    assert log.startswith("hello\n")
    assert log.endswith("KeyError: 'missing'\n")


def test_a_killed_process_is_seen_at_once(processes: LocalProcesses, entries: Path) -> None:
    processes.start("one", "entries:idle", {"path": str(entries / "one")})
    processes.start("other", "entries:idle", {"path": str(entries / "other")})
    pid = pid_in(entries / "one")
    pid_in(entries / "other")
    processes.poll()
    assert processes.pids["one"] == pid

    killed_at = time.monotonic()
    processes.kill("one")

    (exited,) = processes.poll(60)
    assert exited == Exited("one", -signal.SIGKILL)
    assert exited.reason == "killed by SIGKILL"
    assert time.monotonic() - killed_at < 20.0
    assert processes.pids.keys() == {"other"}


def test_a_paused_process_hangs_until_it_is_resumed(processes: LocalProcesses, entries: Path) -> None:
    processes.start("one", "entries:idle", {"path": str(entries / "one")})
    process = psutil.Process(pid_in(entries / "one"))

    processes.pause("one")
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
    processes.resume("one")

    wait_for(lambda: process.status() != psutil.STATUS_STOPPED)
    assert processes.poll() == []


def test_signals_to_a_process_that_has_ended_are_ignored(processes: LocalProcesses) -> None:
    processes.start("one", "entries:end")
    processes.poll(60)

    processes.kill("one")
    processes.kill("never was")
    processes.start("other", "entries:end")

    assert processes.poll(60) == [Exited("other", 0)]


def test_two_processes_of_one_name_are_refused(processes: LocalProcesses) -> None:
    processes.start("one", "entries:end")

    with pytest.raises(ValueError, match="one is running already"):
        processes.start("one", "entries:end")


def test_sets_have_the_same_order_in_all_processes(processes: LocalProcesses, entries: Path) -> None:
    for name in ("one", "other"):
        processes.start(name, "entries:tell_hash", {"path": str(entries / name)})

    assert pid_in(entries / "one") == pid_in(entries / "other")


def test_only_the_user_can_open_the_directory(processes: LocalProcesses) -> None:
    assert stat.S_IMODE(processes.directory.stat().st_mode) == 0o700
    assert len(str(processes.directory)) < 80


def test_nothing_is_left_after_close_whatever_the_processes_do(processes: LocalProcesses, entries: Path) -> None:
    (processes.directory / "socket").touch()
    for name, entry in {"idle": "idle", "paused": "idle", "busy": "hold_the_interpreter"}.items():
        processes.start(name, f"entries:{entry}", {"path": str(entries / name)})
    processes.start("family", "entries:with_a_child_of_its_own", {"path": str(entries / "family")})
    pids = [pid_in(entries / name) for name in ("idle", "paused", "busy", "family")]
    processes.pause("paused")

    processes.close()

    assert not [pid for pid in pids if is_running(pid)]
    assert not processes.directory.exists()
    processes.close()


@pytest.mark.parametrize("started", range(5))
def test_processes_that_are_just_being_started_are_ended_too(entries: Path, started: int) -> None:
    processes = LocalProcesses(entries / "logs")
    for n in range(6):
        processes.start(f"idle-{n}", "entries:idle", {"path": str(entries / f"{n}")})
    wait_for(lambda: processes.poll() or len(processes.pids) >= started)
    began = time.monotonic()

    processes.close()

    assert time.monotonic() - began < 20.0  # 2 s on a machine of one's own
    assert not processes.directory.exists()


def test_children_of_a_process_end_with_it(processes: LocalProcesses, entries: Path) -> None:
    processes.start("family", "entries:with_a_child_of_its_own", {"path": str(entries / "family")})
    child = pid_in(entries / "family")

    processes.kill("family")

    assert processes.poll(60) == [Exited("family", -signal.SIGKILL)]
    wait_for(lambda: not is_running(child))


def test_processes_end_with_their_parent(processes: LocalProcesses, entries: Path) -> None:
    processes.start("one", "entries:idle", {"path": str(entries / "one")})
    pid = pid_in(entries / "one")

    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)

    assert processes.poll(60) == [Exited("one", -signal.SIGKILL)]
    wait_for(lambda: not is_running(pid))
    with pytest.raises(ElasticError, match=r"parent\.log"):
        processes.start("other", "entries:end")


def test_a_module_that_cannot_be_preloaded_is_in_the_parents_log(entries: Path) -> None:
    processes = LocalProcesses(entries / "logs", preload=["no_such_module"], fork=True)

    processes.start("one", "entries:end")

    assert processes.poll(60) == [Exited("one", -signal.SIGKILL)]
    assert "no_such_module" in (entries / "logs" / "parent.log").read_text()
    processes.close()


@pytest.fixture
def command(entries: Path) -> Iterator[subprocess.Popen[str]]:
    """A command as in a terminal: the leader of a process group, whose processes run and hold the interpreter."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(entries), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(entries)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0,
    ) as command:
        yield command
        command.kill()


def test_processes_and_directory_are_gone_soon_after_the_command_was_killed(
    command: subprocess.Popen[str], entries: Path
) -> None:
    assert command.stdout
    directory = Path(command.stdout.readline().strip())
    pids = [pid_in(entries / "idle"), pid_in(entries / "busy")]
    parent = psutil.Process(pids[0]).ppid()
    assert directory.exists()

    command.kill()

    wait_for(lambda: not any(map(is_running, [*pids, parent])))
    assert not directory.exists()


def test_an_interrupt_from_the_terminal_reaches_the_command_only(command: subprocess.Popen[str], entries: Path) -> None:
    assert command.stdout
    command.stdout.readline()
    pids = [pid_in(entries / "idle"), pid_in(entries / "busy")]

    os.killpg(command.pid, signal.SIGINT)

    assert command.stdout.readline() == "interrupted\n"
    assert all(map(is_running, pids))
    command.kill()
    wait_for(lambda: not any(map(is_running, pids)))
