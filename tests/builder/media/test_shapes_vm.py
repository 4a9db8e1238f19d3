# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Each shape of a medium boots, under each firmware, from what it is written to."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.errors import ToolError
from bootprof.files import file_digest
from bootprof.process import run
from tests.builder.media.booting import FIRMWARES, attached, boot, build, configure, settings

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "shapes",
    """
kinds = ["iso", "disk", "partition", "netboot"]
toram = true
memory_test = true
local_disk = true
entries = { "Another" = "another=1" }
""",
)


@dataclass(frozen=True)
class Shapes:
    """Media of one build."""

    iso: Path
    disk: Path
    partition: Path
    netboot: Path
    config: Path


@pytest.fixture(scope="session")
def shapes(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    folder = tmp_path_factory.mktemp("shapes")
    config = configure(folder, SETTINGS)
    iso, disk, partition, netboot = build(config, output, "--no-sort")
    return Shapes(iso, disk, partition, netboot, config)


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
    assert (medium.device, medium.type) == ("/dev/sda3", "vfat")
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


@pytest.mark.parametrize("kind", FIRMWARES)
def test_a_live_system_boots_from_behind_a_partition_of_another_system(
    kind: str, shapes: Shapes, tmp_path: Path
) -> None:
    stick = tmp_path / "stick.img"
    foreign = random.Random(9).randbytes(4 << 20)
    with stick.open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(foreign)
        stream.truncate(1 << 30)
    run(["sfdisk", "--quiet", stick], stdin=b"label: dos\nstart=2048, size=8192, type=7\n")
    run(["sh", shapes.partition / "add-to-stick.sh", stick])
    with stick.open("rb") as stream:
        stream.seek(1 << 20)
        assert stream.read(len(foreign)) == foreign
    found = boot(*attached(stick, "stick"), folder=tmp_path, kind=kind)
    medium = found.mounts["/run/live/medium"]
    assert (medium.device, medium.type) == ("/dev/sda2", "vfat")


def test_a_stick_without_room_is_left_as_it_is(shapes: Shapes, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    with stick.open("wb") as stream:
        stream.truncate(64 << 20)
    run(["sfdisk", "--quiet", stick], stdin=b"label: dos\nstart=2048, size=8192, type=7\n")
    before = stick.read_bytes()
    with pytest.raises(ToolError, match="add-to-stick"):
        run(["sh", shapes.partition / "add-to-stick.sh", stick])
    assert stick.read_bytes() == before


def test_each_kind_is_written_to_the_same_bytes_again(
    shapes: Shapes, output: Path, tmp_path: Path
) -> None:
    def digests(paths: list[Path]) -> dict[str, str]:
        files = [
            (path.name, file)
            for path in paths
            for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        ]
        return {f"{name} {file.name}": file_digest(file) for name, file in files if file.is_file()}

    kept = [shapes.iso, shapes.disk, shapes.partition, shapes.netboot]
    before = digests(kept)
    other = tmp_path / "other"
    shutil.copytree(shapes.config.parent, other)
    again = build(other / "live.cfg", output, "--no-sort")
    assert digests(again) == before
