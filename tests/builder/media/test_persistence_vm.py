# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Persistence: kept, checked before it is mounted, and on no disk of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.files import file_digest
from bootprof.process import run
from tests.builder.media.booting import (
    attached,
    boot,
    build,
    configure,
    internal,
    persistence_disk,
    settings,
    usb,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "persistence",
    """
[persistence]
enabled = true
wait_seconds = 3
""",
)


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (iso,) = build(configure(tmp_path_factory.mktemp("persistence"), SETTINGS), output, "--no-sort")
    return iso


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A file system for persistence on a disk without partitions."""
    return persistence_disk(tmp_path)


def state(disk: Path) -> str:
    """Return what e2fsck finds without changing anything: its last line."""
    run(["e2fsck", "-f", "-n", disk])
    return "clean"


def test_what_a_user_changes_is_there_at_the_next_boot(
    image: Path, stick: Path, tmp_path: Path
) -> None:
    first = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path)
    assert first.facts["kept"] == ""
    # The same stick, of those that say they are not removable.
    second = boot(*attached(image, "cd"), *usb(stick, removable=False), folder=tmp_path)
    assert second.facts["kept"] == "yes"
    assert second.facts["checked"] == "yes"


def test_a_damaged_file_system_is_repaired_before_it_is_mounted(
    image: Path, stick: Path, tmp_path: Path
) -> None:
    # Not unmounted, a block free that is in use, and an inode without its directory entry.
    damage = "set_super_value state 2\nfreeb 20 4\nclri <11>\n"
    run(["debugfs", "-w", "-f", "-", stick], stdin=damage.encode())
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path)
    assert "was damaged and has been repaired" in found.console
    assert found.mounts["/root"].type == "ext4"
    assert state(stick) == "clean"


def test_what_preening_refuses_is_repaired_too(image: Path, stick: Path, tmp_path: Path) -> None:
    run(["debugfs", "-w", "-f", "-", stick], stdin=b"set_super_value state 2\nclri <2>\n")
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path)
    assert "was damaged and has been repaired" in found.console
    assert state(stick) == "clean"


def test_a_boot_goes_on_without_what_cannot_be_repaired_and_leaves_it_alone(
    image: Path, stick: Path, tmp_path: Path
) -> None:
    run(["debugfs", "-w", "-f", "-", stick], stdin=b"feature FEATURE_I31\n")
    before = file_digest(stick)
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path)
    assert "cannot be repaired" in found.console
    assert "starting without persistence" in found.console
    assert "/root" not in found.mounts
    assert file_digest(stick) == before


def test_a_file_system_that_cannot_be_checked_is_refused_by_name(
    image: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as stream:
        stream.truncate(32 << 20)
    run(["mkfs.vfat", "-n", "persistence", disk])
    before = file_digest(disk)
    # mkfs.vfat writes boot code, which a BIOS would start.
    found = boot(*attached(image, "cd"), *usb(disk), "-boot", "d", folder=tmp_path)
    assert "has the file system vfat, and persistence needs ext2, ext3 or ext4" in found.console
    assert not any(mount.device == "/dev/sda" for mount in found.mounts.values())
    assert file_digest(disk) == before


def test_no_disk_of_the_machine_is_written_to(image: Path, stick: Path, tmp_path: Path) -> None:
    before = file_digest(stick)
    found = boot(*attached(image, "cd"), *internal(stick), folder=tmp_path)
    assert "/root" not in found.mounts
    assert file_digest(stick) == before


def test_a_journal_on_a_disk_of_the_machine_is_not_replayed(
    output: Path, stick: Path, tmp_path: Path
) -> None:
    # Without persistence, too.
    (image,) = build(configure(tmp_path / "plain", settings("plain")), output, "--no-sort")
    # A journal that was not written back: of a system that crashed, or is suspended to disk.
    block = tmp_path / "block"
    block.write_bytes(b"x" * 1024)
    journal = f"jo\njw -b 20000 {block}\njc\n"
    run(["debugfs", "-w", "-f", "-", stick], stdin=journal.encode())
    before = file_digest(stick)
    # Looked at before the stick, which is no removable one.
    found = boot(*attached(image, "stick"), *internal(stick, bus="sata"), folder=tmp_path)
    assert found.mounts["/run/live/medium"].device.startswith("/dev/sdb")
    assert file_digest(stick) == before
