# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-live copy: what a stick is after each single write, if the power fails there."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.live.faulty import MIB, exported, live
from tests.live.writelog import check_cuts, read_log, sector_of_before

pytestmark = pytest.mark.root

MEDIUM_MIB = 40
STICK_MIB = 160
KEPT = b"k" * (10 * MIB)


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a disk like those that the builder makes."""
    path = tmp_path_factory.mktemp("medium") / "medium.img"
    path.write_bytes(random.Random(1).randbytes(MEDIUM_MIB * MIB))
    table(
        path,
        "label: gpt\nfirst-lba: 34\n"
        "start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        "start=2048, size=2048, type=U, name=esp\nstart=4096, size=73728, type=L, name=live\n",
    )
    return path


@pytest.fixture(scope="module")
def iso(medium: Path) -> Path:
    """An ISO that is a disk image, too."""
    path = medium.with_name("medium.iso")
    path.write_bytes(medium.read_bytes())
    table(path, "label: dos\nstart=4096, size=2048, type=ef\n")
    with path.open("r+b") as stream:
        stream.seek(32769)
        stream.write(b"CD001")
        stream.seek(32848)
        stream.write((MEDIUM_MIB * MIB // 2048).to_bytes(4, "little"))
    return path


def table(path: Path, script: str) -> None:
    command: list[str | Path] = ["/usr/sbin/sfdisk", "--quiet", "--wipe=always", path]
    subprocess.run(command, input=script.encode(), check=True)


def written_down(stick: Path, log: Path) -> contextlib.AbstractContextManager[Path]:
    """Give a file that stands for a stick, and whose writes are recorded."""
    log.touch()
    return exported(
        stick.with_name("served"),
        f"driver=file,node-name=stick,filename={stick}",
        f"driver=file,node-name=log,filename={log}",
        "driver=blklogwrites,file=stick,log=log",
    )


@pytest.mark.parametrize("options", [(), ("--persistence", "rest")])
@pytest.mark.parametrize("kind", ["medium", "iso"])
def test_a_stick_starts_the_menu_after_each_write_of_a_copy_but_the_last(
    kind: str,
    options: tuple[str, ...],
    marker: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    medium: Path = request.getfixturevalue(kind)
    stick, log = tmp_path / "stick", tmp_path / "log"
    stick.write_bytes(sector_of_before())
    os.truncate(stick, STICK_MIB * MIB)
    before = medium.read_bytes()
    with written_down(stick, log) as file:
        done = live(
            *("copy", "--from", medium, *options, "--yes", file), BOOTPROF_LIVE_MARKER=marker
        )
    assert done.returncode == 0, done.stderr
    _, count = check_cuts(log, stick)
    assert count >= 20
    assert medium.read_bytes() == before


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_stick_with_kept_partitions_is_as_before_after_each_write_but_the_last(
    label: str, medium: Path, marker: str, tmp_path: Path
) -> None:
    stick, log = tmp_path / "stick", tmp_path / "log"
    stick.touch()
    os.truncate(stick, STICK_MIB * MIB)
    table(stick, f"label: {label}\nstart=2048, size=20480\n")
    with stick.open("r+b") as stream:
        stream.seek(MIB)
        stream.write(KEPT)
        stream.seek(0)
        old = stream.read(512)
    with written_down(stick, log) as file:
        done = live(
            *("copy", "--from", medium, "--keep", "--persistence", "80M", "--yes", file),
            BOOTPROF_LIVE_MARKER=marker,
        )
    assert done.returncode == 0, done.stderr
    writes = list(read_log(log))
    assert len(writes) >= 20
    # The boot sector is the last write, and nothing goes to what is kept.
    assert [number for number, write in enumerate(writes) if write.offset == 0] == [len(writes) - 1]
    assert writes[-1].data[:440] != old[:440]
    for write in writes:
        assert write.offset >= 11 * MIB or write.offset + len(write.data) <= MIB
