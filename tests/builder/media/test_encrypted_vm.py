# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Encrypted persistence, and sticks that appear late."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import IO

import pytest

from bootprof.process import run
from tests.builder.media.booting import (
    Step,
    attached,
    boot,
    build,
    commanded,
    configure,
    persistence_disk,
    settings,
    typed,
    usb,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "encrypted",
    """
[persistence]
enabled = true
encrypted = true
wait_seconds = 40
""",
)
PASSPHRASE = "a long passphrase"
PROMPT = b"Please unlock disk"
MIB = 1 << 20
# Without these, the key takes the time and memory that suit the machine of the test.
CHEAP = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encrypted")
    (iso,) = build(configure(folder, SETTINGS), output, "--no-sort")
    return iso


def partitioned(content: bytes, path: Path) -> Path:
    """Write the image of a disk with one partition."""
    with path.open("wb") as stream:
        stream.seek(MIB)
        stream.write(content)
    table = f"label: dos\nstart=2048, size={len(content) // 512}, type=83\n"
    run(["sfdisk", "--quiet", "--no-reread", path], stdin=table.encode())
    return path


def encrypt(path: Path) -> Path:
    """Turn the image of a disk into a LUKS container with its content."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + 32 * MIB)
    key = path.with_name("key")
    key.write_text(PASSPHRASE)
    run(
        [
            *("cryptsetup", "reencrypt", "--encrypt", "--type", "luks2", "--batch-mode"),
            *("--reduce-device-size", "32M", "--force-offline-reencrypt", "--disable-locks"),
            *(*CHEAP, "--key-file", key, path),
        ]
    )
    return path


def container_of(disk: Path) -> Path:
    """Write a LUKS container with the image of a whole disk in it.

    cryptsetup refuses to encrypt a partition table.
    """
    path, key = disk.with_name("container"), disk.with_name("key")
    with path.open("wb") as stream:
        # The header takes 2 MiB.
        stream.truncate(disk.stat().st_size + 4 * MIB)
    key.write_text(PASSPHRASE)
    make = ["cryptsetup", "luksFormat", "--type", "luks1", "--batch-mode", "--disable-locks"]
    run([*make, *CHEAP, "--key-file", key, path])
    copy = f'nbdcopy {shlex.quote(str(disk))} "$uri"'
    run(["nbdkit", "--filter=luks", "file", path, f"passphrase=+{key}", "--run", copy])
    return path


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A LUKS container with a file system for persistence."""
    return encrypt(persistence_disk(tmp_path))


def test_a_wrong_passphrase_can_be_corrected(image: Path, stick: Path, tmp_path: Path) -> None:
    steps = [
        Step(PROMPT, typed("wrong")),
        Step(b"Retry?", typed("y")),
        Step(PROMPT, typed(PASSPHRASE)),
    ]
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path, steps=steps)
    mount = found.mounts["/root"]
    assert mount.type == "ext4"
    assert mount.device.startswith("/dev/mapper/")
    assert "rw" in mount.options


def test_without_a_passphrase_the_boot_goes_on(image: Path, stick: Path, tmp_path: Path) -> None:
    steps = [Step(PROMPT, typed("")), Step(b"Retry?", typed("n"))]
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path, steps=steps)
    assert "/root" not in found.mounts


def test_a_partition_table_in_an_unlocked_container_is_read(image: Path, tmp_path: Path) -> None:
    content = persistence_disk(tmp_path).read_bytes()
    stick = container_of(partitioned(content, tmp_path / "table"))
    steps = [Step(PROMPT, typed(PASSPHRASE))]
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path, steps=steps)
    mount = found.mounts["/root"]
    assert (mount.type, "rw" in mount.options) == ("ext4", True)
    assert mount.device.startswith("/dev/loop")
    # Checked as any other.
    assert found.facts["checked"] == "yes"


def test_a_stick_that_appears_late_is_waited_for(image: Path, tmp_path: Path) -> None:
    path = persistence_disk(tmp_path)
    drive: dict[str, object] = {
        "execute": "blockdev-add",
        "arguments": {
            "driver": "raw",
            "node-name": "late",
            "file": {"driver": "file", "filename": str(path)},
        },
    }
    device: dict[str, object] = {
        "execute": "device_add",
        "arguments": {"driver": "usb-storage", "drive": "late", "removable": True, "id": "late"},
    }
    found = boot(
        *attached(image, "cd"),
        *("-device", "qemu-xhci"),
        folder=tmp_path,
        steps=[Step(b"Mounting root file system", commanded(drive, device))],
    )
    assert found.mounts["/root"].type == "ext4"


def test_a_partition_table_that_appears_late_is_read_again(image: Path, tmp_path: Path) -> None:
    # A stick with a keypad is there at once, and has nothing on it until its PIN is entered.
    content = persistence_disk(tmp_path).read_bytes()
    stick = tmp_path / "keypad.img"
    with stick.open("wb") as stream:
        stream.truncate(len(content) + MIB)

    ready = partitioned(content, tmp_path / "ready").read_bytes()

    def unlock(_: IO[bytes], __: Path) -> None:
        with stick.open("r+b") as stream:
            stream.write(ready)

    found = boot(
        *attached(image, "cd"),
        *usb(stick),
        folder=tmp_path,
        steps=[Step(b"Mounting root file system", unlock)],
    )
    assert found.mounts["/root"].device == "/dev/sda1"
