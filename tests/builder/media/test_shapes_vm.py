# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Each shape of a medium boots, under each firmware, from what it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.process import run
from tests.builder.media.booting import FIRMWARES, OPTIONS, attached, boot, build, configure

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = f"""
name = "shapes"
[system]
files = "files"
files_owner = "root"
[squashfs]
compressor = "lz4"
[media]
kinds = ["iso", "disk", "netboot"]
title = "Shapes"
label = "SHAPES"
boot_options = "{OPTIONS}"
toram = true
local_disk = true
entries = {{ "Another" = "another=1" }}
"""


@dataclass(frozen=True)
class Shapes:
    """Media of one build."""

    iso: Path
    disk: Path
    netboot: Path
    config: Path


@pytest.fixture(scope="session")
def shapes(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    folder = tmp_path_factory.mktemp("shapes")
    config = configure(folder, SETTINGS)
    iso, disk, netboot = build(config, output, "--no-sort")
    return Shapes(iso, disk, netboot, config)


@pytest.mark.parametrize("how", ["cd", "stick"])
@pytest.mark.parametrize("kind", FIRMWARES)
def test_an_iso_boots_as_a_disc_and_as_a_stick(
    kind: str, how: str, shapes: Shapes, tmp_path: Path
) -> None:
    found = boot(*attached(shapes.iso, how), folder=tmp_path, kind=kind)
    expected = {"bios": "bios", "uefi": "uefi 64", "uefi32": "uefi 32"}
    assert found.facts["firmware"] == expected[kind]
    medium = found.mounts["/run/live/medium"]
    assert medium.type == "iso9660"
    assert medium.device.startswith("/dev/sr0" if how == "cd" else "/dev/sda")
    assert "ro" in medium.options
    assert found.mounts["/"].type == "overlay"
    assert found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"


@pytest.mark.parametrize("kind", FIRMWARES)
def test_a_disk_image_boots_as_a_stick(kind: str, shapes: Shapes, tmp_path: Path) -> None:
    found = boot(*attached(shapes.disk, "stick"), folder=tmp_path, kind=kind)
    medium = found.mounts["/run/live/medium"]
    assert (medium.device, medium.type) == ("/dev/sda3", "ext4")
    assert "ro" in medium.options


def test_an_iso_boots_from_a_file_on_a_stick(shapes: Shapes, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "images").mkdir(parents=True)
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "images/live.iso").hardlink_to(shapes.iso)
    (tree / "boot/grub/grub.cfg").write_text(
        "set iso_path=/images/live.iso\nexport iso_path\nloopback loop $iso_path\n"
        "set root=(loop)\nset timeout=0\nsource /boot/grub/loopback.cfg\n"
    )
    image = tmp_path / "stick.iso"
    run(["grub-mkrescue", "-o", image, tree, "--", "-volid", "OTHER"])
    found = boot(*attached(image, "cd"), folder=tmp_path)
    assert "findiso=/images/live.iso" in found.facts["options"]
    assert found.mounts["/run/live/medium"].device.startswith("/dev/loop")
