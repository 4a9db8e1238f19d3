# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""One way to open an image: which file systems are found in it, which one is chosen, and why."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optimizer.errors import FormatError, InputError
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace
from optimizer.images.image import check_trace, open_image
from optimizer.images.squashfs.layout import read_layout

MakeImage = Callable[..., Path]
MakeIso = Callable[..., Path]


def test_squashfs_in_an_iso_is_found_and_read(make_iso: MakeIso, squashfs: Path) -> None:
    image = open_image(make_iso("-R", "-J"))
    assert [place.path for place in image.places] == [b"/live/filesystem.squashfs"]
    assert image.layout().paths == read_layout(squashfs).paths
    assert image.iso is not None
    assert not image.remarks


def test_raw_squashfs_is_at_offset_0(squashfs: Path) -> None:
    image = open_image(squashfs)
    assert image.layout().offset_bytes == 0
    assert image.iso is None
    assert image.size_bytes == squashfs.stat().st_size
    assert image.sha256() == hashlib.sha256(squashfs.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def two_squashfs(
    make_iso: MakeIso,
    make_image: MakeImage,
    squashfs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An ISO with a small squashfs, and a large one behind it."""
    tree = tmp_path_factory.mktemp("two")
    (tree / "content").mkdir()
    (tree / "content" / "file").write_bytes(b"x")
    (tree / "iso").mkdir()
    shutil.copy(make_image(tree / "content"), tree / "iso" / "a-small.squashfs")
    shutil.copy(squashfs, tree / "iso" / "b-large.squashfs")
    return make_iso("-R", root=tree / "iso")


def test_the_largest_squashfs_is_chosen_and_all_are_listed(two_squashfs: Path) -> None:
    image = open_image(two_squashfs)
    places = {place.path: place for place in image.places}
    assert set(places) == {b"/a-small.squashfs", b"/b-large.squashfs"}
    assert image.chosen == places[b"/b-large.squashfs"]
    assert len(image.remarks) == 1
    for path in ("/a-small.squashfs", "/b-large.squashfs"):
        assert path in image.remarks[0]


@pytest.mark.parametrize("path", ["/a-small.squashfs", "a-small.squashfs", b"/a-small.squashfs"])
def test_a_squashfs_is_chosen_by_its_path(two_squashfs: Path, path: str | bytes) -> None:
    image = open_image(two_squashfs, squashfs=path)
    assert image.layout().paths == [b"/", b"/file"]
    assert not image.remarks


def test_a_squashfs_is_chosen_by_its_offset(two_squashfs: Path) -> None:
    by_path = open_image(two_squashfs, squashfs="/a-small.squashfs").chosen
    assert by_path is not None
    by_offset = open_image(two_squashfs, offset_bytes=by_path.offset_bytes)
    assert by_offset.chosen == by_path
    assert by_offset.iso is not None


def test_a_choice_that_is_not_there_is_refused_with_those_that_are(two_squashfs: Path) -> None:
    with pytest.raises(InputError, match="no squashfs /other") as refused:
        open_image(two_squashfs, squashfs="/other")
    assert "/a-small.squashfs" in refused.value.hint
    with pytest.raises(FormatError, match="no squashfs here"):
        open_image(two_squashfs, offset_bytes=4096)
    with pytest.raises(InputError, match="both the offset and the path"):
        open_image(two_squashfs, offset_bytes=0, squashfs="/a-small.squashfs")


def test_a_file_that_only_begins_like_a_squashfs_is_passed_over_and_named(
    make_iso: MakeIso, squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut-off").write_bytes(squashfs.read_bytes()[:20_000])
    shutil.copy(squashfs, tmp_path / "good.squashfs")
    (tmp_path / "old-module").write_bytes(b"hsqs" + bytes(24) + b"\3\0\1\0" + bytes(4000))
    image = open_image(make_iso("-R", root=tmp_path))
    assert [place.path for place in image.places] == [b"/good.squashfs"]
    assert image.layout().paths == read_layout(squashfs).paths
    cut, old = image.remarks
    assert "/cut-off" in cut
    assert "truncated" in cut
    assert "/old-module" in old
    assert "version 3.1" in old


def test_many_files_that_only_begin_like_a_squashfs_are_counted(
    make_iso: MakeIso, tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(b"hsqs")
    image = open_image(make_iso("-R", root=tmp_path))
    assert len(image.remarks) == 9
    assert image.remarks[-1] == "and 32 more that are passed over"
    with pytest.raises(FormatError, match="no squashfs found"):
        image.layout()


def test_of_several_squashfs_a_corrupt_one_is_passed_over(
    two_squashfs: Path, tmp_path: Path
) -> None:
    small = open_image(two_squashfs, squashfs="/a-small.squashfs").layout()
    inode_table = next(part for part in small.parts if part.label == "inode table").offset_bytes
    data = bytearray(two_squashfs.read_bytes())
    data[inode_table : inode_table + 2] = b"\xff\xff"
    (tmp_path / "image.iso").write_bytes(data)
    image = open_image(tmp_path / "image.iso")
    assert [layout.offset_bytes for layout in image.layouts()] != [small.offset_bytes]
    assert any("passed over" in remark for remark in image.remarks)
    with pytest.raises(FormatError, match="inode table") as refused:
        open_image(tmp_path / "image.iso", squashfs="/a-small.squashfs").layout()
    assert "--squashfs" in refused.value.hint


def test_the_squashfs_of_an_iso_with_zisofs_is_found(
    squashfs: Path, tmp_path: Path, make_iso: MakeIso
) -> None:
    """pycdlib refuses such an ISO, which is a valid one."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "text").write_bytes(b"all work and no play\n" * 10_000)
    shutil.copy(squashfs, tmp_path / "tree" / "root.squashfs")
    made = tmp_path / "image.iso"
    command = ["xorriso", "-outdev", str(made), "-map", str(tmp_path / "tree"), "/"]
    command += ["-set_filter_r", "--zisofs", "/text", "--", "-commit"]
    subprocess.run(command, check=True, capture_output=True)
    image = open_image(made)
    assert image.layout().paths == read_layout(squashfs).paths


def test_the_squashfs_of_an_iso_with_damaged_directories_is_found(
    make_iso: MakeIso, squashfs: Path, tmp_path: Path
) -> None:
    data = bytearray(make_iso("-R").read_bytes())
    # The root's record in the primary volume descriptor.
    data[32768 + 156 : 32768 + 190] = b"\xff" * 34
    (tmp_path / "image.iso").write_bytes(data)
    image = open_image(tmp_path / "image.iso")
    assert image.iso is None
    assert image.layout().paths == read_layout(squashfs).paths
    assert "directories of the ISO cannot be read" in image.remarks[0]


def test_a_trace_belongs_to_the_image_with_its_size_and_digest(
    squashfs: Path, tmp_path: Path
) -> None:
    image = open_image(squashfs)
    trace = BlockTrace(np.zeros(0, READ_DTYPE), "x", image.size_bytes, 0)
    check_trace(image, trace)
    check_trace(image, replace(trace, image_sha256=image.sha256()))
    for other in (
        replace(trace, image_bytes=image.size_bytes + 1),
        replace(trace, image_sha256="0" * 64),
        replace(trace, image="a\x1b]0;b\x07", image_sha256="0" * 64),
    ):
        with pytest.raises(InputError, match="belongs to another image") as refused:
            check_trace(image, other, "some.tsv")
        assert refused.value.message.isprintable()


def test_squashfs_in_a_disk_image_is_found_by_a_scan(squashfs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    data = squashfs.read_bytes()
    size = -(-len(data) // 512) * 512
    with disk.open("wb") as file:
        # A magic number without a superblock behind it, then the partition, then a copy of it.
        file.seek(4096)
        file.write(b"hsqs" + b"\xff" * 500)
        file.seek((9 << 20) + 512)
        file.write(data)
        file.seek((9 << 20) + 512 + size)
        file.write(data)
        file.truncate(1 << 40)
    # The terabyte of hole is not read, which would take an hour.
    image = open_image(disk)
    offsets = [place.offset_bytes for place in image.places]
    assert offsets == [(9 << 20) + 512, (9 << 20) + 512 + size]
    assert image.layout().offset_bytes == (9 << 20) + 512


def test_squashfs_inside_a_squashfs_is_not_a_second_one(
    make_image: MakeImage, squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "content").mkdir()
    shutil.copy(squashfs, tmp_path / "content" / "inner.squashfs")
    outer = make_image(tmp_path / "content", "-noD", "-noF", "-b", "4K").read_bytes()
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20) + outer)
    assert [place.offset_bytes for place in open_image(disk).places] == [1 << 20]


@pytest.mark.parametrize("size", [0, 3, 100, 40_000, 5_000_000])
def test_no_squashfs_is_said_clearly(tmp_path: Path, size: int) -> None:
    (tmp_path / "image").write_bytes(bytes(size))
    with pytest.raises(FormatError, match="no squashfs found"):
        open_image(tmp_path / "image")


def test_iso_without_squashfs_is_said_clearly(make_iso: MakeIso, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    image = make_iso("-R", root=tmp_path)
    with pytest.raises(FormatError, match="no squashfs found"):
        open_image(image).layout()


def test_truncated_squashfs_is_said_to_be_truncated(squashfs: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(squashfs.read_bytes()[:100_000])
    with pytest.raises(FormatError, match="truncated"):
        open_image(tmp_path / "image")


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing")
