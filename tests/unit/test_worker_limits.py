"""How many files a worker's process may have open."""

from __future__ import annotations

import resource

import pytest

from elastic.worker.shell import MANY_FILES, allow_many_files

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("most", "refused", "expected"),
    [
        (4096, (), (4096, 4096)),
        (UNLIMITED, (), (MANY_FILES[0], UNLIMITED)),
        (UNLIMITED, MANY_FILES[:1], (MANY_FILES[1], UNLIMITED)),
        (UNLIMITED, MANY_FILES, (256, UNLIMITED)),
    ],
)
def test_a_worker_may_open_as_many_files_as_the_system_lets_it(
    most: int, refused: tuple[int, ...], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(256, most)]

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] in refused:
            raise ValueError("current limit exceeds maximum limit")
        limits.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)

    allow_many_files()

    assert limits[-1] == expected
