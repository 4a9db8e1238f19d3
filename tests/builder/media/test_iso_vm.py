# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""An ISO boots under each firmware: as a disc, as a stick, from a file; and a system of i386."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.builder import grub
from bootprof.process import run
from tests.builder.media.booting import FIRMWARES, attached, boot, build, configure, settings

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings("disc")
MIB = 1 << 20


@pytest.fixture(scope="module")
def iso(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (image,) = build(configure(tmp_path_factory.mktemp("disc"), SETTINGS), output, "--no-sort")
    return image


@pytest.mark.parametrize("how", ["cd", "stick"])
@pytest.mark.parametrize("kind", FIRMWARES)
def test_an_iso_boots_as_a_disc_and_as_a_stick(
    kind: str, how: str, iso: Path, tmp_path: Path
) -> None:
    found = boot(*attached(iso, how), folder=tmp_path, kind=kind)
    expected = {"bios": "bios", "uefi": "uefi 64", "uefi32": "uefi 32"}
    assert found.facts["firmware"] == expected[kind]
    medium = found.mounts["/run/live/medium"]
    assert medium.type == "iso9660"
    assert medium.device.startswith("/dev/sr0" if how == "cd" else "/dev/sda")
    assert "ro" in medium.options
    assert found.mounts["/"].type == "overlay"
    assert found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"


def test_an_iso_boots_from_a_file_on_a_stick(iso: Path, tmp_path: Path) -> None:
    # What boot loaders for such sticks do: the ISO is a file on a FAT file system.
    stick = tmp_path / "stick.img"
    menu = tmp_path / "grub.cfg"
    menu.write_text(
        "set iso_path=/images/live.iso\nexport iso_path\nloopback loop $iso_path\n"
        "set root=(loop)\nset timeout=0\nsource /boot/grub/loopback.cfg\n"
    )
    start = (
        "search --no-floppy --set=root --file /images/live.iso\n"
        "set prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n"
    )
    programs = grub.make_efi_programs(start, tmp_path)
    mib = iso.stat().st_size // MIB + 32
    run(["mkfs.vfat", "-C", "-F", "32", stick, str(mib * 1024)])
    run(["mmd", "-i", stick, "::/EFI", "::/EFI/BOOT", "::/images", "::/boot", "::/boot/grub"])
    run(["mcopy", "-i", stick, *programs, "::/EFI/BOOT"])
    run(["mcopy", "-i", stick, menu, "::/boot/grub"])
    run(["mcopy", "-i", stick, iso, "::/images/live.iso"])
    found = boot(*attached(stick, "stick"), folder=tmp_path, kind="uefi")
    assert "findiso=/images/live.iso" in found.facts["options"]
    assert found.mounts["/run/live/findiso"].device == "/dev/sda"
    assert found.mounts["/run/live/medium"].device.startswith("/dev/loop")
