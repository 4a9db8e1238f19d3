# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Eject: the disc comes out when a system goes down, and only then."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.builder.media.booting import (
    Step,
    ask,
    attached,
    boot,
    build,
    configure,
    settings,
    typed,
    unpacked,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

# systemd is what ejects, so it has to run; of its units, only those that a shutdown needs.
OPTIONS = "boot=live console=ttyS0 systemd.unit=probe.target quickusbmodules panic=5"
# What the kernel prints last.
LAST = {"poweroff": b"reboot: Power down", "reboot": b"reboot: Restarting system"}
# QEMU waits at the end of a machine, so that it can be asked.
PAUSE = ("-no-shutdown",)


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configure(tmp_path_factory.mktemp("eject"), settings("eject"))
    (iso,) = build(config, output, "--no-sort", "-D", f"media.boot_options={OPTIONS}")
    return iso


@dataclass
class Tray:
    """The disc drive, each time that it was looked at: whether locked, and whether open."""

    seen: list[tuple[bool, bool]] = field(default_factory=list)

    def look(self, monitor: Path) -> None:
        (drives,) = ask(monitor, {"execute": "query-block"})
        (drive,) = (each for each in drives if "tray_open" in each)
        self.seen.append((drive["locked"], drive["tray_open"]))

    def steps(self, way: str) -> list[Step]:
        def end(_: IO[bytes], monitor: Path) -> None:
            self.look(monitor)
            ask(monitor, {"execute": "quit"})

        def begin(console: IO[bytes], monitor: Path) -> None:
            self.look(monitor)
            typed(way)(console, monitor)

        return [Step(b"PROBE ends", begin), Step(LAST[way], end)]


@pytest.mark.parametrize("way", LAST)
def test_the_disc_comes_out_when_the_system_goes_down(
    image: Path, tmp_path: Path, way: str
) -> None:
    tray = Tray()
    found = boot(*attached(image, "cd"), *PAUSE, folder=tmp_path, steps=tray.steps(way))
    assert found.mounts["/run/live/medium"].device == "/dev/sr0"
    assert tray.seen == [(True, False), (False, True)]
    # Nobody is asked to remove it and to press a key.
    assert "press ENTER" not in found.console


def test_a_system_in_memory_leaves_the_disc_in_its_drive(image: Path, tmp_path: Path) -> None:
    tray = Tray()
    found = boot(
        *attached(image, "cd"),
        *unpacked(image, f"{OPTIONS} toram", tmp_path),
        *PAUSE,
        folder=tmp_path,
        steps=tray.steps("poweroff"),
    )
    assert found.mounts["/run/live/medium"].type in ("tmpfs", "ramfs")
    assert not tray.seen[-1][1]


def test_a_system_on_a_stick_leaves_a_disc_in_its_drive(image: Path, tmp_path: Path) -> None:
    disc = tmp_path / "disc.img"
    disc.write_bytes(bytes(1 << 20))
    drive = ["-drive", f"file={disc},media=cdrom,format=raw,readonly=on"]
    tray = Tray()
    found = boot(
        *attached(image, "stick"), *drive, *PAUSE, folder=tmp_path, steps=tray.steps("poweroff")
    )
    assert found.mounts["/run/live/medium"].device.startswith("/dev/sd")
    assert not tray.seen[-1][1]
