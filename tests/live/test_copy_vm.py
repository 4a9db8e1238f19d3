# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A running live system copies itself to sticks, which boot; a copy that is cut off says so."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.process import program
from tests.builder.media.booting import (
    EMULATION,
    OPTIONS,
    Booted,
    Step,
    add_check,
    attached,
    boot,
    build,
    commanded,
    configure,
    firmware,
    internal,
    settings,
    typed,
)
from tests.live.writelog import check_cuts, recorded, replayed, sector_of_before

pytestmark = [pytest.mark.live, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "copies",
    """
kinds = ["iso", "disk"]
[live]
tools = true
[persistence]
enabled = true
encrypted = true
""",
)
# The copies have the same probe, and only the first machine has three sticks.
COPY = """\
#!/bin/sh
[ -b /dev/sdc ] || exit 0
# The udev daemon, which device mapper waits for, has ended with the initial ramdisk.
export DM_DISABLE_UDEV=1
bootprof-live list
bootprof-live copy --yes --persistence 80M WHOLE
echo "copied WHOLE: $?"
echo "open sesame" | bootprof-live copy --yes --keep --persistence 100M --encrypted KEPT
echo "copied KEPT: $?"
echo "COPYING CUT"
bootprof-live copy --yes CUT
echo "copied CUT: $?"
"""
MIB = 1 << 20
STICK_BYTES = 600 * MIB


def usb(name: str, file: Path) -> list[str]:
    return [
        *("-drive", f"file={file},format=raw,if=none,id={name},cache=directsync"),
        *("-device", f"usb-storage,drive={name},removable=on,serial={name},id=usb{name}"),
    ]


@pytest.fixture(scope="module")
def images(output: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("copies")
    config = configure(folder, SETTINGS)
    add_check(folder, "copy", COPY)
    return build(config, output, "--no-sort", "-D", f"media.boot_options={OPTIONS}")


@dataclass(frozen=True)
class Copied:
    """What a live system that has copied itself to three sticks leaves.

    Attributes:
        folder: The sticks, by their names, and the writes of the first one.
        found: What it printed.
        unchanged: Whether the medium, and a disk of the machine, are as they were.
    """

    folder: Path
    found: Booted
    unchanged: bool


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@pytest.fixture(scope="module", params=["iso", "disk"])
def copied(
    request: pytest.FixtureRequest, images: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Copied:
    folder = tmp_path_factory.mktemp("sticks")
    for name in ("WHOLE", "KEPT", "CUT"):
        (folder / name).touch()
        os.truncate(folder / name, STICK_BYTES)
    # A stick that started something before.
    with (folder / "WHOLE").open("r+b") as stream:
        stream.write(sector_of_before())
    # A stick with a partition of another system.
    script = b"label: dos\nstart=2048, size=20480, type=7\n"
    subprocess.run(["/usr/sbin/sfdisk", "--quiet", folder / "KEPT"], input=script, check=True)
    with (folder / "KEPT").open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(b"kept" * (10 << 18))
    # Both can be written to by the machine.
    medium, own = folder / "medium", folder / "own"
    shutil.copy(images[request.param == "disk"], medium)
    own.write_bytes(os.urandom(16 * MIB))
    before = digest(medium), digest(own)
    if request.param == "iso":
        kind, device = "media=cdrom", "ide-cd"
    else:
        kind, device = "media=disk", "virtio-blk-pci"
    drive = f"file={medium},format=raw,if=none,id=medium,{kind}"
    source = ["-drive", drive, "-device", f"{device},drive=medium,bootindex=0"]

    pull = commanded({"execute": "device_del", "arguments": {"id": "usbCUT"}})
    found = boot(
        *source,
        *internal(own),
        *("-device", "qemu-xhci"),
        *recorded("WHOLE", folder / "WHOLE", folder / "log"),
        *(word for name in ("KEPT", "CUT") for word in usb(name, folder / name)),
        folder=folder,
        steps=[
            Step(b"COPYING CUT", nothing),
            *[Step(b" left", nothing)] * 5,
            Step(b" left", pull),
        ],
        seconds=900,
    )
    unchanged = (digest(medium), digest(own)) == before
    medium.unlink()
    return Copied(folder, found, unchanged)


def nothing(_: object, __: object) -> None:
    """Only wait for the text of a step."""


def test_a_live_system_copies_itself_and_says_that_a_stick_was_pulled(
    copied: Copied,
) -> None:
    found = copied.found
    assert (found.facts["copied WHOLE"], found.facts["copied KEPT"]) == ("0", "0"), found.console
    assert found.facts["copied CUT"] == "1"
    assert "was pulled out" in found.console
    assert copied.unchanged


@pytest.mark.parametrize("kind", ["bios", "uefi", "uefi32"])
@pytest.mark.parametrize("name", ["WHOLE", "KEPT"])
def test_a_copy_boots_and_finds_its_persistence(
    kind: str, name: str, copied: Copied, tmp_path: Path
) -> None:
    folder = copied.folder
    steps = [Step(b"Please unlock disk", typed("open sesame"))] if name == "KEPT" else []
    again = boot(*attached(folder / name, "stick"), folder=tmp_path, kind=kind, steps=steps)
    assert again.mounts["/run/live/medium"].device.startswith("/dev/sda")
    # What is changed goes to the partition, which is encrypted on one stick.
    (changes,) = {
        mount.device
        for mount in again.mounts.values()
        if mount.type == "ext4" and "rw" in mount.options
    }
    assert changes.startswith("/dev/mapper/" if name == "KEPT" else "/dev/sda"), again.mounts
    with (folder / "KEPT").open("rb") as stream:
        stream.seek(1 << 20)
        assert stream.read(10 << 20) == b"kept" * (10 << 18)


@pytest.mark.parametrize("kind", ["bios", "uefi", "uefi32"])
def test_a_stick_that_was_pulled_boots_to_a_menu_that_says_so(
    kind: str, copied: Copied, tmp_path: Path
) -> None:
    folder = copied.folder
    assert b"This copy is incomplete" in menu_of(folder / "CUT", tmp_path, kind)


def menu_of(stick: Path, folder: Path, kind: str) -> bytes:
    """Return what a stick shows on the serial port before it says that it is incomplete."""
    command = [
        *(program("qemu-system-x86_64"), *EMULATION, "-m", "512", "-nodefaults", "-vga", "std"),
        *("-display", "none", "-no-reboot", "-serial", "stdio", *firmware(kind, folder)),
        *attached(stick, "stick"),
    ]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert child.stdout is not None
    watchdog = threading.Timer(120, child.kill)
    watchdog.start()
    shown = b""
    try:
        while data := os.read(child.stdout.fileno(), 65536):
            shown += data
            if b"This copy is incomplete" in shown:
                break
    finally:
        watchdog.cancel()
        child.kill()
        child.wait()
    return shown


def test_a_power_cut_after_any_write_leaves_a_stick_that_does_not_start_as_if_it_were_whole(
    copied: Copied, tmp_path: Path
) -> None:
    folder = copied.folder
    first, count = check_cuts(folder / "log", folder / "WHOLE")
    # Some power cuts are booted, the last ones just before the last write.
    blank = tmp_path / "blank"
    blank.write_bytes(sector_of_before())
    os.truncate(blank, STICK_BYTES)
    points = ((first + 1, "bios"), (count // 2, "uefi"), (count - 1, "bios"))
    for point, kind in (*points, (count - 1, "uefi")):
        stick = replayed(blank, folder / "log", point, tmp_path / "stick")
        assert b"This copy is incomplete" in menu_of(stick, tmp_path, kind), (point, kind)
