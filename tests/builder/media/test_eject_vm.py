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
    typed,
    unpacked,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

# systemd is what ejects, so it has to run; of its units, only those that a shutdown needs.
OPTIONS = "boot=live console=ttyS0 systemd.unit=probe.target quickusbmodules panic=5"
SETTINGS = f"""
name = "eject"
[system]
files = "files"
files_owner = "root"
[squashfs]
compressor = "lz4"
[media]
title = "Eject"
label = "EJECT"
boot_options = "{OPTIONS}"
eject = true
"""
TARGET = """\
[Unit]
Requires=basic.target probe.service
After=basic.target
AllowIsolate=yes
"""
SERVICE = """\
[Unit]
After=basic.target
[Service]
ExecStart=/usr/local/sbin/down
"""
# Prints what a probe prints, and goes down by the way that is typed.
DOWN = r"""#!/bin/sh
PATH=/usr/sbin:/usr/bin
exec < /dev/ttyS0 > /dev/ttyS0
echo "PROBE begins"
while read -r device folder type options rest
do
	echo "mount: $device $folder $type $options"
done < /proc/mounts
echo "PROBE ends"
read -r way
systemctl --no-block "$way"
"""
# What the kernel prints last.
LAST = {"poweroff": b"reboot: Power down", "reboot": b"reboot: Restarting system"}
# QEMU waits at the end of a machine, so that it can be asked.
PAUSE = ("-no-shutdown",)


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eject")
    config = configure(folder, SETTINGS)
    files = {
        "etc/systemd/system/probe.target": TARGET,
        "etc/systemd/system/probe.service": SERVICE,
        "usr/local/sbin/down": DOWN,
    }
    for name, text in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "files/usr/local/sbin/down").chmod(0o755)
    (iso,) = build(config, output, "--no-sort")
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
