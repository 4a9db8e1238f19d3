# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the tests of the BPF tracer share: the programs, and a traced command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.guest.programs import TRACE, build

HERE = Path(__file__).parent
TOP = HERE.parents[1]


@dataclass(frozen=True)
class Event:
    """One line of an events file, still escaped."""

    time_ns: int
    process: int
    command: str
    operation: str
    offset_bytes: int
    length_bytes: int
    device: str
    inode: int
    file_system: str
    path: str


@dataclass(frozen=True)
class Log:
    header: dict[str, str]
    events: list[Event]

    @property
    def lost(self) -> int:
        return int(self.header["lost"])

    def below(self, folder: Path | str, *operations: str) -> list[Event]:
        """Return the events of files in a folder, of the given operations."""
        return [
            event
            for event in self.events
            if event.path.startswith(f"{folder}/") and event.operation in operations
        ]


def parse(data: bytes) -> Log:
    lines = data.decode(errors="surrogateescape").split("\n")
    assert lines[0] == "#bootprof-bootlog 1"
    assert lines.pop() == ""
    header = dict(line[1:].split(": ", 1) for line in lines[1:] if line.startswith("#"))
    events = []
    for line in lines:
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        assert len(fields) == 10, line
        events.append(
            Event(
                time_ns=int(fields[0]),
                process=int(fields[1]),
                command=fields[2],
                operation=fields[3],
                offset_bytes=int(fields[4]),
                length_bytes=int(fields[5]),
                device=fields[6],
                inode=int(fields[7]),
                file_system=fields[8],
                path=fields[9],
            )
        )
    return Log(header, events)


def compile_program(source: Path, target: Path, *options: str) -> Path:
    words: list[str | Path] = [
        "gcc",
        "-static",
        "-O1",
        "-Wall",
        "-Werror",
        *options,
        "-o",
        target,
        source,
    ]
    subprocess.run(words, check=True)
    return target


def build_tracer(folder: Path) -> Path:
    return build(TRACE, folder)


def compile_workloads(folder: Path) -> Path:
    """Build the programs whose accesses are known; returns their folder."""
    folder.mkdir()
    compile_program(TOP / "tests/kmod/workload.c", folder / "workload")
    compile_program(HERE / "more.c", folder / "more")
    compile_program(HERE / "compat.c", folder / "compat", "-m32", "-nostdlib")
    return folder
