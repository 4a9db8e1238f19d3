# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is written for sticks boots under each firmware, and each kind is written the same again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.errors import ToolError
from bootprof.files import file_digest
from bootprof.process import run
from tests.builder.media.booting import (
    FIRMWARES,
    added_to_stick,
    attached,
    boot,
    build,
    configure,
    settings,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "sticks",
    """
kinds = ["iso", "disk", "partition", "netboot"]
""",
)


@dataclass(frozen=True)
class Sticks:
    """Media of one build."""

    iso: Path
    disk: Path
    partition: Path
    netboot: Path
    config: Path


@pytest.fixture(scope="module")
def sticks(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Sticks:
    config = configure(tmp_path_factory.mktemp("sticks"), SETTINGS)
    iso, disk, partition, netboot = build(config, output, "--no-sort")
    return Sticks(iso, disk, partition, netboot, config)


@pytest.mark.parametrize("kind", FIRMWARES)
def test_a_disk_image_boots_as_a_stick(kind: str, sticks: Sticks, tmp_path: Path) -> None:
    found = boot(*attached(sticks.disk, "stick"), folder=tmp_path, kind=kind)
    medium = found.mounts["/run/live/medium"]
    assert (medium.device, medium.type) == ("/dev/sda3", "vfat")
    assert "ro" in medium.options


def test_a_root_image_in_parts_boots_from_fat(sticks: Sticks, output: Path, tmp_path: Path) -> None:
    (image,) = build(
        sticks.config,
        output,
        *("--no-sort", "-D", "root.largest_mb=200", "-D", 'media.kinds=["disk"]'),
        *("--image", str(tmp_path / "parts.img")),
    )
    found = boot(*attached(image, "stick"), folder=tmp_path)
    parts = {name for name in found.mounts if name.startswith("/run/live/rootfs/")}
    assert {f"/run/live/rootfs/{name}.squashfs" for name in ("filesystem", "filesystem-2")} <= parts
    assert found.mounts["/run/live/medium"].type == "vfat"


@pytest.mark.parametrize("kind", FIRMWARES)
def test_a_live_system_boots_from_behind_a_partition_of_another_system(
    kind: str, sticks: Sticks, tmp_path: Path
) -> None:
    stick = added_to_stick(sticks.partition, tmp_path / "stick.img")
    found = boot(*attached(stick, "stick"), folder=tmp_path, kind=kind)
    medium = found.mounts["/run/live/medium"]
    assert (medium.device, medium.type) == ("/dev/sda2", "vfat")


def test_a_stick_without_room_is_left_as_it_is(sticks: Sticks, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    with stick.open("wb") as stream:
        stream.truncate(64 << 20)
    run(["sfdisk", "--quiet", stick], stdin=b"label: dos\nstart=2048, size=8192, type=7\n")
    before = stick.read_bytes()
    with pytest.raises(ToolError, match="add-to-stick"):
        run(["sh", sticks.partition / "add-to-stick.sh", stick])
    assert stick.read_bytes() == before


def test_each_kind_is_written_to_the_same_bytes_again(
    sticks: Sticks, output: Path, tmp_path: Path
) -> None:
    def digests(paths: list[Path]) -> dict[str, str]:
        files = [
            (path.name, file)
            for path in paths
            for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        ]
        return {f"{name} {file.name}": file_digest(file) for name, file in files if file.is_file()}

    kept = [sticks.iso, sticks.disk, sticks.partition, sticks.netboot]
    before = digests(kept)
    other = tmp_path / "other"
    shutil.copytree(sticks.config.parent, other)
    again = build(other / "live.cfg", output, "--no-sort")
    assert digests(again) == before
