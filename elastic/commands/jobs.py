"""``elastic jobs``, ``scale``, ``drain``, ``kill-worker`` and ``worker``: what is asked of a job that runs."""

from __future__ import annotations

import argparse

from elastic.cluster.remote import JOBS, Remote, become_worker, find, read_contact, roster, running, table
from elastic.commands.arguments import DONE, JOB, Commands, number
from elastic.errors import UserError


def add_jobs(commands: Commands) -> None:
    """``elastic jobs``."""
    parser = commands.add_parser(
        "jobs", help="list the jobs that run", description="List the jobs that run in .elastic."
    )
    parser.set_defaults(command=_jobs)
    parser.add_argument("job", metavar="JOB", nargs="?", help="list the workers of this one instead")


def add_scale(commands: Commands) -> None:
    """``elastic scale``."""
    parser = commands.add_parser(
        "scale",
        help="run an operator on more or fewer instances",
        description="Run an operator of a running job on more instances, a spare for each, or on fewer; waits for it.",
    )
    parser.set_defaults(command=_scale)
    parser.add_argument("job", metavar="JOB", help=JOB)
    parser.add_argument("operator", metavar="OPERATOR", help="the operator's name")
    parser.add_argument("instances", metavar="N", type=number(1), help="how many instances it is to have")


def add_drain(commands: Commands) -> None:
    """``elastic drain``."""
    parser = commands.add_parser(
        "drain",
        help="take a worker out of a running job",
        description="Move what a worker runs and holds elsewhere, without loss or recovery, end it; waits for that.",
    )
    parser.set_defaults(command=_drain)
    parser.add_argument("job", metavar="JOB", help=JOB)
    parser.add_argument("worker", metavar="WORKER", type=number(0), help="its number, as elastic jobs JOB lists it")


def add_kill_worker(commands: Commands) -> None:
    """``elastic kill-worker``."""
    parser = commands.add_parser(
        "kill-worker", help="SIGKILL a worker, to see the job recover", description="Send SIGKILL to a worker of a job."
    )
    parser.set_defaults(command=_kill_worker)
    parser.add_argument("job", metavar="JOB", help=JOB)
    parser.add_argument(
        "worker",
        metavar="WORKER",
        nargs="?",
        type=number(0),
        help="its number; if left out, the first keyed instance's",
    )


def add_worker(commands: Commands) -> None:
    """``elastic worker``."""
    parser = commands.add_parser(
        "worker",
        help="add a worker to a running job",
        description="Be a worker of a job that runs: a spare at first. Ctrl-C drains it; it ends with the job.",
    )
    parser.set_defaults(command=_worker)
    parser.add_argument("--join", metavar="JOB", required=True, help=JOB)


def _jobs(options: argparse.Namespace) -> int:
    if options.job is not None:
        with Remote(find(options.job)) as remote:
            print(roster(remote.inventory()))
        return DONE
    rows, silent = [], []
    for contact in running():
        try:
            with Remote(contact) as remote:
                rows.append((contact, remote.inventory()))
        except UserError as error:
            if read_contact(contact.directory) is not None:  # else it has ended just now
                silent.append(str(error))
    lines = [*([table(rows)] if rows else []), *silent]
    print("\n".join(lines) if lines else f"no job runs in {JOBS}")
    return DONE


def _scale(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        inventory = remote.scale(options.operator, options.instances)
    left = "1 spare is" if inventory.spares == 1 else f"{inventory.spares} spares are"
    runs = "1 instance" if options.instances == 1 else f"{options.instances} instances"
    print(f"{options.operator} runs on {runs}; {left} left")
    return DONE


def _drain(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        inventory = remote.drain(options.worker)
    used = "1 worker is" if inventory.workers == 1 else f"{inventory.workers} workers are"
    spares = "1 is a spare" if inventory.spares == 1 else f"{inventory.spares} are spares"
    print(f"worker {options.worker} has left; {used} in use, {spares}")
    return DONE


def _kill_worker(options: argparse.Namespace) -> int:
    with Remote(find(options.job)) as remote:
        worker = remote.kill(options.worker)
    print(f"worker {worker} was sent SIGKILL")
    return DONE


def _worker(options: argparse.Namespace) -> int:
    contact = find(options.join)
    with Remote(contact) as remote:
        joined = remote.join()
    print(f"worker {joined} joins {contact.name}; Ctrl-C drains it", flush=True)
    become_worker(contact, joined)
