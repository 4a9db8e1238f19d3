# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is written for a stick: it is read here, and booted in test_sticks_vm.py."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bootprof.builder.config import Media
from bootprof.builder.media import disklayout, filesystems, write
from bootprof.builder.media.contents import Contents, RootImage
from bootprof.builder.media.disk import make_disk
from bootprof.builder.media.partition import SCRIPT, make_partition
from bootprof.errors import InputError
from bootprof.files import file_digest
from bootprof.process import program, run
from optimizer.images.image import open_image
from optimizer.images.partitions import partition_offsets
from tests.builder.users import UID

EPOCH = 1_700_000_000
FileSystem = Literal["fat", "ext4"]
MEDIA = Media(label="TEST")
EVERY_KIND = {
    **{kind: (kind, MEDIA) for kind in ("iso", "disk", "partition", "netboot")},
    "isolinux": ("iso", replace(MEDIA, boot_loader="isolinux")),
    # Only a disk and its partitions have a file system to choose.
    **{
        f"{kind}-ext4": (kind, replace(MEDIA, file_system="ext4")) for kind in ("disk", "partition")
    },
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Stand-ins for kernel and initrds, and a squashfs."""
    folder = tmp_path_factory.mktemp("contents")
    source = random.Random(13)
    (folder / "tree").mkdir()
    # Larger than a group of ext4, whose tables would lie in the middle of it.
    (folder / "tree/file").write_bytes(source.randbytes(150 << 20))
    squashfs = folder / "root.squashfs"
    options = ("-noI", "-noD", "-noF", "-no-progress", "-quiet")
    run(["mksquashfs", folder / "tree", squashfs, *options])
    for name, size in (("vmlinuz-1", 5_000_000), ("one.img", 5000), ("two.cpio", 700)):
        (folder / name).write_bytes(source.randbytes(size))
    return Contents(
        folder / "vmlinuz-1",
        (folder / "one.img", folder / "two.cpio"),
        "boot=live quiet",
        (RootImage("filesystem.squashfs", squashfs),),
    )


@pytest.fixture(scope="module")
def few(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The same with a root image of a few kilobytes."""
    path = tmp_path_factory.mktemp("few") / "root.squashfs"
    path.write_bytes(b"a root image" * 500)
    return replace(contents, roots=(RootImage("filesystem.squashfs", path),))


@pytest.mark.parametrize("file_system", filesystems.FILE_SYSTEMS)
def test_the_root_image_lies_in_one_piece_on_a_disk_image(
    file_system: FileSystem, contents: Contents, tmp_path: Path
) -> None:
    image = tmp_path / "live.img"
    make_disk(Media(label="Test", file_system=file_system), contents, image, epoch=EPOCH)
    opened = open_image(image)
    assert opened.chosen is not None
    squashfs = contents.roots[0].file.read_bytes()
    with image.open("rb") as stream:
        stream.seek(opened.chosen.offset_bytes)
        same = stream.read(len(squashfs)) == squashfs
    # Compared beforehand: a difference in megabytes is nothing to print.
    assert same


@pytest.mark.parametrize("file_system", filesystems.FILE_SYSTEMS)
def test_a_disk_image_has_clean_file_systems_in_a_table_that_fits(
    file_system: FileSystem, few: Contents, tmp_path: Path
) -> None:
    image = tmp_path / "live.img"
    layout = make_disk(Media(label="A b*c", file_system=file_system), few, image, epoch=EPOCH)
    assert b"No errors detected." in run(["sfdisk", "--verify", image])
    assert partition_offsets(image) == {
        partition.number: partition.offset_bytes for partition in layout.partitions
    }
    checks = {"esp": ["fsck.vfat", "-n"], "live": ["fsck.vfat", "-n"]}
    if file_system == "ext4":
        checks["live"] = ["e2fsck", "-fn"]
    content = image.read_bytes()
    for partition in layout.partitions[1:]:
        part = tmp_path / partition.role
        begin = partition.offset_bytes
        part.write_bytes(content[begin : begin + partition.size_bytes])
        run([*checks[partition.role], part])


def write_all(source: Path, target: Path) -> None:
    """Write every kind of a medium from the stand-ins in a folder."""
    files = (source / name for name in ("vmlinuz-1", "one.img", "two.cpio", "root.squashfs"))
    kernel, one, two, root = files
    contents = Contents(kernel, (one, two), "boot=live", (RootImage("filesystem.squashfs", root),))
    for name, (kind, media) in EVERY_KIND.items():
        write.write(kind, media, contents, target / name, epoch=EPOCH)


def written(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest of all that was written, and the mode of what lies in folders."""
    return {
        str(path.relative_to(folder)): (
            file_digest(path) if path.is_file() else "",
            0 if path.parent == folder and path.is_file() else path.stat().st_mode,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.root
def test_the_same_inputs_give_the_same_bytes_to_another_user_in_another_folder(
    few: Contents,
) -> None:
    # Not below a folder of pytest's, which belongs to root alone.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(few.kernel.parent, folder / "inputs", ignore=lambda *_: ["tree"])
        shutil.copy(few.roots[0].file, folder / "inputs/root.squashfs")
        for path in (folder / "inputs", *(folder / "inputs").iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "a").mkdir()
        write_all(folder / "inputs", folder / "a")
        # So that a time of day in the image, which FAT has in steps of 2 s, cannot be the same.
        time.sleep(2.1)
        other = folder / "b/c"
        other.mkdir(parents=True)
        os.chown(other, UID, UID)
        again = f"write_all(Path({str(folder / 'inputs')!r}), Path({str(other)!r}))"
        subprocess.run(
            [sys.executable, "-c", f"from {__name__} import *; {again}"],
            cwd=Path(__file__).parents[3],
            user=UID,
            group=UID,
            extra_groups=[],
            umask=0o077,
            env={**os.environ, "HOME": "/nonexistent", "TZ": "Asia/Tokyo"},
            check=True,
        )
        assert written(other) == written(folder / "a")


def test_a_file_that_fat_cannot_hold_is_refused_with_what_to_do(
    few: Contents, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(1 << 32)
    contents = replace(few, roots=(RootImage("filesystem.squashfs", large),))
    with pytest.raises(InputError, match=r"filesystem\.squashfs has 4294967296 bytes") as caught:
        make_disk(Media(), contents, tmp_path / "live.img", epoch=EPOCH)
    assert 'file_system = "ext4"' in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_a_disk_that_is_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="has 1048576 bytes"):
        disklayout.resolve(
            disklayout.stick("fat"), {"live": 1 << 24}, content="x", size_bytes=1 << 20
        )


def used_stick(
    path: Path, label: str = "dos", partition: str = "start=2048, size=65536, type=7"
) -> Path:
    """Write the image of a stick of 128 MiB, whose first partition is full of random bytes."""
    with path.open("wb") as stream:
        stream.write(random.Random(7).randbytes(34 << 20))
        stream.truncate(128 << 20)
    if label:
        script = f"label: {label}\n{partition}\n"
        run(["sfdisk", "--quiet", "--wipe=always", path], stdin=script.encode())
    return path


def add(folder: Path, device: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that adds a live system to a stick."""
    command: list[str | Path] = [program("sh"), folder / SCRIPT, device]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def partitions(few: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("partitions") / "live.partition"
    make_partition(Media(label="TEST"), few, folder, epoch=EPOCH)
    return folder


def test_what_is_added_to_a_stick_leaves_its_first_partition_alone(
    partitions: Path, tmp_path: Path
) -> None:
    image = used_stick(tmp_path / "stick")
    before = image.read_bytes()
    done = add(partitions, image)
    assert done.returncode == 0, done.stderr
    after = image.read_bytes()
    assert len(after) == len(before)
    assert after[1 << 20 : 33 << 20] == before[1 << 20 : 33 << 20]
    # Windows knows the stick by the number before the table, and the first entry is the first.
    assert after[440:462] == before[440:462]
    table = json.loads(run(["sfdisk", "--json", image]))["partitiontable"]["partitions"]
    assert [entry["type"] for entry in table] == ["7", "c", "ef"]
    for entry, name in zip(table[1:], ("live.img", "esp.img"), strict=True):
        content = (partitions / name).read_bytes()
        assert entry["size"] * 512 == len(content)
        assert after[entry["start"] * 512 :][: len(content)] == content


@pytest.mark.root
def test_a_loop_device_is_written_like_the_image_of_a_stick(
    partitions: Path, tmp_path: Path
) -> None:
    image = used_stick(tmp_path / "image")
    looped = tmp_path / "looped"
    shutil.copy(image, looped)
    assert add(partitions, image).returncode == 0
    device = Path(run(["losetup", "--find", "--show", "--partscan", looped]).decode().strip())
    try:
        done = add(partitions, device)
    finally:
        run(["losetup", "--detach", device])
    assert done.returncode == 0, done.stderr
    assert file_digest(looped) == file_digest(image)


@pytest.mark.parametrize(
    ("label", "partition", "message"),
    [
        ("gpt", "size=65536", "has no MBR partition table, but gpt"),
        ("", "", "has no MBR partition table, but none"),
        ("dos", "start=63, size=65536, type=7", "begins at sector 63"),
        ("dos", "start=2048, type=7", "no room for two partitions"),
    ],
)
def test_a_stick_without_room_is_refused_and_unchanged(
    label: str, partition: str, message: str, partitions: Path, tmp_path: Path
) -> None:
    image = used_stick(tmp_path / "stick", label, partition)
    before = file_digest(image)
    done = add(partitions, image)
    assert done.returncode == 1
    assert message in done.stderr
    assert file_digest(image) == before


def test_a_folder_that_no_build_has_written_is_not_replaced(few: Contents, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InputError, match="not replaced"):
        write.write("netboot", Media(), few, tmp_path, epoch=EPOCH)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
