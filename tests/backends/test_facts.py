# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a backend states of itself is what the help, the documentation and the guest's agent say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof import backends

TOP = Path(__file__).parents[2]
AGENT_TABLE = TOP / "bootprof/guest/agent/recorders.h"
ROW = re.compile(r'R\("(\w+)", (\d+), "([^"]*)", "([^"]*)", "([^"]*)"\)')
RECORDERS = [backends.load(name) for name in backends.RECORDERS]


def document(name: str) -> str:
    return (TOP / "docs" / name).read_text()


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def test_the_documentation_has_the_facts_of_every_backend() -> None:
    seen = table(
        ("backend", "sees", "since", "needs"),
        [(f"`{one.name}`", one.summary, one.starts, one.needs) for one in RECORDERS],
    )
    assert seen in document("backends.md")
    unseen = table(
        ("backend", "cannot see", "files that the guest sends"),
        [
            (f"`{one.name}`", one.blind_to, ", ".join(f"`{name}`" for name in one.recorded) or "-")
            for one in RECORDERS
        ],
    )
    assert unseen in document("backends.md")


def test_the_help_has_the_facts_of_every_backend() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "bootprof", "profile", "--help"],
        cwd=TOP,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    words = " ".join(said.split())
    for one in RECORDERS:
        assert f"{one.name} {one.summary}; needs {one.needs}" in words


@pytest.mark.parametrize("backend", RECORDERS, ids=lambda one: one.name)
def test_every_backend_that_records_states_all_of_its_facts(backend: backends.Backend) -> None:
    assert all((backend.summary, backend.starts, backend.needs, backend.blind_to, backend.agent))
    records = backend.agent != backends.NOTHING or bool(backend.kernel_options)
    assert bool(backend.recorded) == records
    assert backend.recorded_events is None or backend.recorded_events in backend.recorded


def test_no_two_backends_record_a_file_of_the_same_name() -> None:
    names = [name for one in RECORDERS for name in one.recorded]
    assert len(set(names)) == len(names)


def test_the_agent_knows_the_same_recorders_in_the_same_order_and_files() -> None:
    rows = [row.groups() for row in ROW.finditer(AGENT_TABLE.read_text())]
    assert {name: tuple(files.split()) for name, _, _, _, files in rows} == {
        one.agent: one.recorded for one in RECORDERS if one.agent != backends.NOTHING
    }
    turns = sorted((int(turn), name) for name, turn, *_ in rows if turn != "0")
    assert tuple(name for _, name in turns) == backends.AUTOMATIC
