"""Sources and sinks with real processes, and SIGKILL while files grow, lines arrive and parts are written."""

from __future__ import annotations

import csv
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic import Operator, Query, sinks, sources
from elastic.connectors.base import Sink, Source
from elastic.dashboard.launch import launch
from elastic.functions import field
from elastic.scenario.models import Fault, Target
from elastic.scenario.runner import Run
from tests.cluster.command import wait_for
from tests.cluster.driving import DEADLINE_S, Breaker, Running, drive, kill_owner, kinds

pytestmark = pytest.mark.cluster

ORDERS = [{"user": f"user-{n % 31}", "amount": n % 100, "n": n} for n in range(12_000)]


def committed(directory: Path) -> Counter[int]:
    """The numbers of the rows that are in the parts of JSON lines."""
    parts = directory.glob("*.jsonl")
    return Counter(json.loads(line)["n"] for part in parts for line in part.read_text().splitlines())


# -- parts of files ----------------------------------------------------------------------------------------------------


def csv_rows(directory: Path) -> Counter[tuple[str, int]]:
    found = Counter[tuple[str, int]]()
    for part in directory.glob("*.csv"):
        with part.open(newline="") as file:
            found.update((row["user"], int(row["n"])) for row in csv.DictReader(file))
    return found


def parquet_rows(directory: Path) -> Counter[tuple[str, int]]:
    tables = [pq.read_table(part, columns=["user", "n"]) for part in directory.glob("*.parquet")]
    return Counter((row["user"], row["n"]) for table in tables for row in table.to_pylist())


def write_json_lines(directory: Path) -> Source:
    file = directory / "orders.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ORDERS))
    return sources.json_lines(file, rate="6k/s")


def write_csv(directory: Path) -> Source:
    with (directory / "orders.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ORDERS[0]))
        writer.writeheader()
        writer.writerows(ORDERS)
    return sources.csv(directory / "orders.csv", rate="6k/s")


def write_parquet(directory: Path) -> Source:
    pq.write_table(pa.Table.from_pylist(ORDERS), directory / "orders.parquet", row_group_size=500)
    return sources.parquet(directory / "orders.parquet", rate="6k/s")


@pytest.mark.parametrize(
    ("source", "sink", "found"),
    [
        (write_json_lines, lambda out: sinks.parquet(out, commit="300ms"), parquet_rows),
        (write_csv, lambda out: sinks.parquet(out, commit="300ms"), parquet_rows),
        (write_parquet, lambda out: sinks.csv(out, commit="100ms"), csv_rows),
    ],
    ids=["json_lines-parquet", "csv-parquet", "parquet-csv"],
)
def test_rows_of_files_are_in_the_parts_once_after_kills_of_a_source_and_a_sink(
    tmp_path: Path,
    source: Callable[[Path], Source],
    sink: Callable[[Path], Sink],
    found: Callable[[Path], Counter[Any]],
) -> None:
    query = Query("orders")
    query.source(source(tmp_path), name="orders").filter(field("n")).sink(sink(tmp_path / "out"), name="out")

    outcome = drive(
        query, tmp_path, kill_owner("orders", 1, after_records=2_000),
        kill_owner("out", 0, after="restored", after_records=4_000), workers=3, spares=2,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert found(tmp_path / "out") == Counter((row["user"], row["n"]) for row in ORDERS if row["n"])
    assert kinds(outcome).count("detected") == 2


# -- files that grow ---------------------------------------------------------------------------------------------------


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    """Something else that goes on meanwhile; it must have ended by the end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def stop_when(condition: Callable[[], bool]) -> Breaker:
    """Stop the job, as by Ctrl-C, once something holds."""

    def strike(running: Running) -> bool:
        if not condition():
            return False
        running.job.stop()
        return True

    return strike


def test_a_followed_file_that_grows_and_rotates_is_in_the_sink_once_after_a_kill(tmp_path: Path) -> None:
    log, lines = tmp_path / "app.log", 4_000

    def grow() -> None:
        for n in range(lines):
            if n == lines // 2:  # rotated: the file goes on under another name, and a new one takes its place
                wait_for(lambda: committed(tmp_path / "out"), "reading it under its first name")
                log.rename(tmp_path / "app.log.1")
            with log.open("a") as file:
                file.write(json.dumps({"n": n}) + "\n")
            if n % 20 == 0:
                time.sleep(0.01)  # how fast somebody else writes, not a wait for anything

    query = Query("followed")
    rows = query.source(sources.json_lines(f"{tmp_path}/*.log", follow=True, types={"n": int}), name="log")
    rows.sink(sinks.json_lines(tmp_path / "out", commit="100ms"), name="out")
    with in_background(grow):
        outcome = drive(
            query, tmp_path, *(kill_owner("log", n, after_records=600 * (n + 1)) for n in range(3)),
            stop_when(lambda: committed(tmp_path / "out").total() >= lines), workers=3, spares=3,
        )  # fmt: skip

    assert outcome.status == "interrupted", outcome.error
    assert committed(tmp_path / "out") == Counter(range(lines))
    assert kinds(outcome).count("detected") == 3


# -- connections -------------------------------------------------------------------------------------------------------


class NumberServer:
    """Sends numbered lines to whoever connects: on from where it was, as fast as they are taken up to a rate.

    Args:
        breaks_by: When so many are sent, the first connection gets no more: it is to break.
    """

    def __init__(self, count: int, breaks_by: int | None = None) -> None:
        self.count, self.sent, self.connections, self.breaks_by = count, 0, 0, breaks_by
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(DEADLINE_S)
        self.port = self.listening.getsockname()[1]

    def serve(self) -> None:
        while self.sent < self.count:
            connection, _ = self.listening.accept()
            self.connections += 1
            with connection:
                try:
                    self._send(connection)
                except OSError:  # whoever listened is gone
                    continue
        self.listening.close()

    def _send(self, connection: socket.socket) -> None:
        while self.sent < self.count:
            if self.sent == self.breaks_by and self.connections == 1:
                connection.settimeout(DEADLINE_S)
                assert connection.recv(1) == b"", "nobody sends anything"
                return
            upto = min(self.sent + 20, self.count)
            text = "".join(f'{{"n": {n}}}\n' for n in range(self.sent, upto))
            self.sent = upto  # what a sender does not see arrive, it takes for sent
            connection.sendall(text.encode())
            time.sleep(0.01)  # how fast somebody else sends


class Ordered(Operator):
    """A key's numbers with the one before each: what is lost, repeated or out of order shows."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield {"n": value, "before": state.get()}
        state.set(value)


def numbers(server: NumberServer, directory: Path) -> Query:
    query = Query("numbers")
    lines = query.source(sources.tcp_lines("127.0.0.1", server.port, reconnect=False), name="lines")
    keyed = lines.map(json.loads).map(field("n")).key_by(lambda n: n % 7)
    keyed.apply(Ordered(), name="ordered").sink(sinks.json_lines(directory / "out", commit="100ms"), name="out")
    return query


def test_lines_of_a_connection_are_processed_once_and_in_order_whoever_else_is_killed(tmp_path: Path) -> None:
    server = NumberServer(3_000)

    with in_background(server.serve):
        outcome = drive(
            numbers(server, tmp_path), tmp_path, kill_owner("ordered", 1, after_records=800),
            kill_owner("out", 1, after="restored", after_records=1_600), workers=3, spares=2,
        )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert server.connections == 1
    rows = [json.loads(line) for part in (tmp_path / "out").glob("*.jsonl") for line in part.read_text().splitlines()]
    expected = [{"n": n, "before": n - 7 if n >= 7 else None} for n in range(3_000)]
    assert sorted(rows, key=lambda row: row["n"]) == expected
    assert kinds(outcome).count("detected") == 2


def test_what_was_logged_of_a_connection_outlives_its_worker_and_what_was_not_is_said_to_be_lost(
    tmp_path: Path,
) -> None:
    server = NumberServer(3_000, breaks_by=2_000)
    kill = Fault(after=1_000, kill=Target(owner_of="lines"))

    with in_background(server.serve):
        run = Run("numbers", numbers(server, tmp_path), tmp_path / "job", workers=3, faults=(kill,), verify=True)
        report = launch(run, display="none")

    assert report.status == "done", report.error
    assert (report.verified, report.lost, report.duplicated) == (True, 0, 0)
    found = committed(tmp_path / "out")
    assert max(found.values()) == 1
    missing = sorted(set(range(3_000)) - found.keys())
    gap = range(missing[0], missing[-1] + 1) if missing else range(1_000, 1_000)  # where the worker died
    assert missing == list(gap)
    assert 1_000 <= gap.start <= gap.stop <= 2_000
    assert found.total() == report.records_in
    (warning,) = [str(e.cause) for e in report.events if e.kind == "warning" and "anew" in str(e.cause)]
    assert "lines that were under way to the reader before this one and not yet logged" in warning
