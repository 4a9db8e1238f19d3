# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The reader against dissect.squashfs, the kernel, and the files that went in."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dissect.squashfs import SquashFS
from dissect.squashfs import compression as dissect_compression
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.errors import FormatError, InputError
from optimizer.images.layout import FileType
from optimizer.images.squashfs.decompress import decompressor
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout

MakeImage = Callable[..., Path]

NO_FRAGMENT = 0xFFFF_FFFF
# Devices and the like need root to be made; mksquashfs can do it by itself.
PSEUDO_FILES = [
    *("-p", "null c 666 0 0 1 3"),
    *("-p", "disk b 660 0 6 259 70000"),
]


def compressors() -> list[str]:
    """Compressors that the mksquashfs of this machine has."""
    if shutil.which("mksquashfs") is None:
        return ["gzip"]
    text = subprocess.run(["mksquashfs", "-help"], capture_output=True, text=True, check=False)
    known = ["gzip", "lzma", "lzo", "xz", "lz4", "zstd"]
    lines = {line.strip().removesuffix(" (default)") for line in text.stdout.splitlines()}
    lines |= {line.strip().removesuffix(" (default)") for line in text.stderr.splitlines()}
    return [name for name in known if name in lines] or known


@pytest.fixture(autouse=True)
def mended_dissect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend two things that keep dissect from reading some of these images.

    It wants another library for zstd than the one that is a dependency here anyway; and it lets
    lzo and lz4 inflate metadata to the block size only, which for 4 KiB is half of a block.
    """
    monkeypatch.setattr(dissect_compression.NativeZSTD, "module", "zstandard")
    for compression in (dissect_compression.AvailableLZO, dissect_compression.AvailableLZ4):
        original = compression.decompress

        def decompress(self: Any, data: bytes, expected: int, original: Any = original) -> bytes:
            inflated: bytes = original(self, data, max(expected, 8192))
            return inflated

        monkeypatch.setattr(compression, "decompress", decompress)


class Contents:
    """Puts files together from their extents; keeps the fragment block that was read last."""

    def __init__(self, image: bytes, layout: SquashfsLayout) -> None:
        self.image = image
        self.layout = layout
        self.decompress = decompressor(layout.superblock.compressor)
        self.last_fragment: tuple[int, bytes] = (-1, b"")

    def block(self, extent: Any) -> bytes:
        start, length = int(extent["offset_bytes"]), int(extent["length_bytes"])
        if self.last_fragment[0] == start:
            return self.last_fragment[1]
        block = self.image[start : start + length]
        if not extent["stored"]:
            block = self.decompress(block, self.layout.block_size_bytes)
        if extent["kind"] == Kind.FRAGMENT:
            self.last_fragment = (start, block)
        return block

    def of_inode(self, inode: int) -> bytes:
        parts = []
        for extent in self.layout.extents_of_inode(inode):
            size, inner = int(extent["file_bytes"]), int(extent["inner_offset_bytes"])
            hole = not extent["length_bytes"]
            parts.append(bytes(size) if hole else self.block(extent)[inner : inner + size])
        return b"".join(parts)


def assert_contents(image: Path, root: Path) -> None:
    """Every regular file of the image has the bytes of the file that went in."""
    layout = read_layout(image)
    contents = Contents(image.read_bytes(), layout)
    seen = 0
    for path, entry in zip(layout.paths, layout.entries, strict=True):
        if layout.inodes["type"][entry["inode"]] == FileType.FILE:
            original = Path(os.fsdecode(os.fsencode(root) + path))
            assert contents.of_inode(int(entry["inode"])) == original.read_bytes(), path
            seen += 1
    assert seen == sum(1 for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def walk_dissect(node: Any, path: bytes = b"") -> Iterator[tuple[bytes, Any]]:
    yield path or b"/", node
    if node.is_dir():
        for child in node.iterdir():
            yield from walk_dissect(child, path + b"/" + os.fsencode(child.name))


def assert_like_dissect(image: Path, offset_bytes: int = 0) -> None:
    """Compare everything that both readers know about every path."""
    layout = read_layout(image, offset_bytes)
    with io.BytesIO(image.read_bytes()[offset_bytes:]) as file:
        oracle = SquashFS(file)
        expected = dict(walk_dissect(oracle.root))
        assert sorted(layout.paths) == sorted(expected)
        inode_table = layout.table(Kind.INODE_TABLE)
        assert inode_table is not None
        for path, node in expected.items():
            index = layout.inode_of(path)
            inode = layout.inodes[index]
            header = node.header
            assert inode["number"] == header.inode_number, path
            assert stat.S_IFMT(node.mode) == FILE_TYPES[FileType(inode["type"])], path
            assert inode["extended"] == (header.inode_type > 7), path
            assert inode["mode"] == header.mode, path
            assert inode["mtime"] == header.mtime, path
            assert (inode["uid"], inode["gid"]) == (node.uid, node.gid), path
            if hasattr(header, "nlink"):
                assert inode["nlink"] == header.nlink, path
            if hasattr(header, "rdev"):
                assert inode["rdev"] == header.rdev, path
            if node.is_symlink():
                assert layout.symlink_target(index) == os.fsencode(node.link), path
            block = inode_table.blocks[inode["first_metadata_block"]]
            assert block["offset_bytes"] - inode_table.offset_bytes == node.block, path
            inner = inode["inflated_offset_bytes"] - block["inflated_offset_bytes"]
            assert inner == node.offset, path
            if node.is_file():
                assert_file_like_dissect(layout, oracle, index, node, path)
            if node.is_dir() and node.size > 3:
                table = layout.table(Kind.DIRECTORY_TABLE)
                assert table is not None
                block = table.blocks[inode["first_listing_block"]]
                assert block["offset_bytes"] - table.offset_bytes == header.start_block, path


def assert_file_like_dissect(
    layout: SquashfsLayout, oracle: Any, index: int, node: Any, path: bytes
) -> None:
    inode = layout.inodes[index]
    header = node.header
    assert inode["size_bytes"] == header.file_size, path
    extents = layout.extents_of(path)
    blocks = extents[extents["kind"] == Kind.BLOCK]
    raw = [size for size, _ in node.block_list[: len(blocks)]]
    assert len(blocks) == len(node.block_list) - (extents.size > blocks.size), path
    assert blocks["length_bytes"].tolist() == [size & 0xFFFFFF for size in raw], path
    assert blocks["stored"].tolist() == [bool(size >> 24) for size in raw], path
    position = layout.offset_bytes + header.start_block
    for extent, size in zip(blocks, raw, strict=True):
        assert extent["offset_bytes"] == (position if size else 0), path
        position += size & 0xFFFFFF
    tails = extents[extents["kind"] == Kind.FRAGMENT]
    if header.fragment != NO_FRAGMENT and header.file_size % layout.block_size_bytes:
        entry = oracle._lookup_fragment(header.fragment)
        assert inode["fragment"] == header.fragment, path
        assert tails["offset_bytes"].tolist() == [layout.offset_bytes + entry.start_block], path
        assert tails["length_bytes"].tolist() == [entry.size & 0xFFFFFF], path
        assert tails["stored"].tolist() == [bool(entry.size >> 24)], path
        assert tails["inner_offset_bytes"].tolist() == [header.offset], path
        assert tails["file_bytes"].tolist() == [header.file_size % layout.block_size_bytes], path
    else:
        assert not tails.size, path
    assert extents["file_bytes"].sum() == header.file_size, path


FILE_TYPES = {
    FileType.DIRECTORY: stat.S_IFDIR,
    FileType.FILE: stat.S_IFREG,
    FileType.SYMLINK: stat.S_IFLNK,
    FileType.BLOCK_DEVICE: stat.S_IFBLK,
    FileType.CHARACTER_DEVICE: stat.S_IFCHR,
    FileType.FIFO: stat.S_IFIFO,
    FileType.SOCKET: stat.S_IFSOCK,
}


@pytest.mark.parametrize("block_size", ["4K", "128K", "1M"])
@pytest.mark.parametrize("compressor", compressors())
def test_agrees_with_dissect_on_every_path(
    make_image: MakeImage, sample_tree: Path, compressor: str, block_size: str
) -> None:
    image = make_image(sample_tree, "-comp", compressor, "-b", block_size, *PSEUDO_FILES)
    assert_like_dissect(image)


@pytest.mark.parametrize("block_size", ["4K", "1M"])
@pytest.mark.parametrize("compressor", compressors())
def test_extents_decompress_to_the_files_that_went_in(
    make_image: MakeImage, sample_tree: Path, compressor: str, block_size: str
) -> None:
    assert_contents(make_image(sample_tree, "-comp", compressor, "-b", block_size), sample_tree)


@pytest.mark.parametrize(
    "options",
    [
        ["-no-fragments"],
        ["-always-use-fragments"],
        ["-noI", "-noD", "-noF", "-noX"],
        ["-no-exports"],
        ["-no-xattrs"],
        ["-no-sparse"],
        ["-no-duplicates"],
        ["-no-hardlinks"],
        ["-comp", "xz", "-Xbcj", "x86,arm", "-Xdict-size", "50%"],
        ["-comp", "lz4", "-Xhc"],
        ["-comp", "lzo", "-Xalgorithm", "lzo1x_1"],
        ["-comp", "gzip", "-Xwindow-size", "8"],
    ],
    ids=" ".join,
)
def test_options_of_mksquashfs_change_nothing_that_is_read(
    make_image: MakeImage, sample_tree: Path, options: list[str]
) -> None:
    image = make_image(sample_tree, "-b", "16K", *options)
    assert_like_dissect(image)
    assert_contents(image, sample_tree)


def test_image_that_was_appended_to(
    make_image: MakeImage, sample_tree: Path, tmp_path: Path
) -> None:
    image = make_image(sample_tree, "-b", "64K")
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "later").write_bytes(os.urandom(100_000))
    command = ["mksquashfs", str(tmp_path / "added"), str(image), "-no-progress", "-quiet"]
    subprocess.run(command, check=True, capture_output=True)
    assert_like_dissect(image)


def test_image_of_gensquashfs(sample_tree: Path, tmp_path: Path) -> None:
    if shutil.which("gensquashfs") is None:
        pytest.skip("gensquashfs is not installed: apt-get install squashfs-tools-ng")
    image = tmp_path / "image.squashfs"
    command = ["gensquashfs", "--pack-dir", str(sample_tree), "--compressor", "xz", str(image)]
    subprocess.run(command, check=True, capture_output=True)
    assert_like_dissect(image)


def test_image_of_an_empty_directory(make_image: MakeImage, tmp_path: Path) -> None:
    layout = read_layout(make_image(tmp_path))
    assert layout.paths == [b"/"]
    assert layout.inodes["type"].tolist() == [FileType.DIRECTORY]
    assert layout.blocks.size == layout.fragments.size == 0
    assert layout.inodes["first_listing_block"].tolist() == [-1]


def test_extended_inodes_with_attributes(make_image: MakeImage, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"content")
    (root / "directory").mkdir()
    (root / "link").symlink_to("file")
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    # Attributes of users are allowed on files and directories only.
    namespace = "trusted" if os.geteuid() == 0 else "user"
    names = ["file", "directory", "link", "fifo", "socket"] if namespace == "trusted" else ["file"]
    try:
        for name in names:
            os.setxattr(root / name, f"{namespace}.note", b"x" * 40, follow_symlinks=False)
    except OSError as error:
        pytest.skip(f"this file system has no extended attributes: {error}")
    image = make_image(root)
    assert_like_dissect(image)
    layout = read_layout(image)
    for name in names:
        inode = layout.inodes[layout.inode_of(b"/" + name.encode())]
        assert inode["extended"] and inode["xattr"] >= 0, name
    assert layout.symlink_target(layout.inode_of(b"/link")) == b"file"
    table = layout.table(Kind.XATTR_TABLE)
    assert table is not None
    assert table.offset_bytes + table.length_bytes == layout.size_bytes


def test_hard_links_are_several_paths_of_one_inode(
    make_image: MakeImage, sample_tree: Path
) -> None:
    layout = read_layout(make_image(sample_tree))
    inode = layout.inode_of(b"/random-4097")
    links = layout.paths_of(inode)
    assert len(links) == 3
    assert {layout.inode_of(path) for path in links} == {inode}
    assert layout.inodes["nlink"][inode] == 3


def test_tables_and_data_fill_the_image_without_a_gap(
    make_image: MakeImage, sample_tree: Path
) -> None:
    layout = read_layout(make_image(sample_tree, "-b", "16K", "-comp", "xz"))
    extents = layout.extent_map.extents
    ends = extents["offset_bytes"] + extents["length_bytes"]
    assert extents["offset_bytes"][0] == 0
    assert ends[-1] == layout.size_bytes
    np.testing.assert_array_equal(extents["offset_bytes"][1:], ends[:-1])
    assert {Kind(kind) for kind in extents["kind"]} >= set(Kind) - {
        Kind.XATTR_TABLE,
        Kind.COMPRESSION_OPTIONS,
    }


def test_offset_of_the_squashfs_is_part_of_all_positions(
    make_image: MakeImage, sample_tree: Path, tmp_path: Path
) -> None:
    image = make_image(sample_tree, "-b", "32K")
    shifted = tmp_path / "shifted.img"
    shifted.write_bytes(bytes(65_536) + image.read_bytes())
    assert_like_dissect(shifted, 65_536)
    plain = read_layout(image).extent_map.extents
    moved = read_layout(shifted, 65_536).extent_map.extents
    np.testing.assert_array_equal(plain["offset_bytes"] + 65_536, moved["offset_bytes"])


def test_reads_from_an_open_file_and_leaves_it_open(
    make_image: MakeImage, sample_tree: Path
) -> None:
    image = make_image(sample_tree)
    with image.open("rb") as file:
        assert read_layout(file).paths == read_layout(image).paths
        assert not file.closed


def test_unknown_path_is_an_input_error(make_image: MakeImage, sample_tree: Path) -> None:
    layout = read_layout(make_image(sample_tree))
    with pytest.raises(InputError, match="no file /no/such"):
        layout.extents_of(b"no/such")
    assert layout.inode_of(b"many//./") == layout.inode_of(b"/many")


@pytest.mark.root
def test_the_kernel_shows_the_same_inode_numbers(
    make_image: MakeImage, sample_tree: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    image = make_image(sample_tree)
    layout = read_layout(image)
    mount_point = tmp_path / "mounted"
    mount_point.mkdir()
    command = ["mount", "-t", "squashfs", "-o", "loop,ro", str(image), str(mount_point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a squashfs here: {done.stderr.strip()}")
    try:
        for path, entry in zip(layout.paths, layout.entries, strict=True):
            status = os.lstat(os.fsencode(mount_point) + path)
            assert status.st_ino == layout.inodes["number"][entry["inode"]], path
    finally:
        subprocess.run(["umount", mount_point], check=True)


file_names = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
contents = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda byte, count: byte * count, st.binary(min_size=1, max_size=3), st.integers(0, 9000)
    ),
)
trees: st.SearchStrategy[Any] = st.recursive(
    contents, lambda inner: st.dictionaries(file_names, inner, max_size=6), max_leaves=25
)


def write_tree(place: bytes, tree: Any) -> None:
    if isinstance(tree, bytes):
        Path(os.fsdecode(place)).write_bytes(tree)
        return
    Path(os.fsdecode(place)).mkdir()
    for name, inner in tree.items():
        write_tree(place + b"/" + name, inner)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(tree=st.dictionaries(file_names, trees, max_size=6))
def test_random_trees_come_back_as_they_went_in(
    make_image: MakeImage, tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Any]
) -> None:
    root = tmp_path_factory.mktemp("random") / "root"
    write_tree(os.fsencode(root), tree)
    image = make_image(root, "-b", "4K", "-comp", "gzip")
    assert_like_dissect(image)
    assert_contents(image, root)


def test_other_kinds_of_squashfs_are_named(tmp_path: Path) -> None:
    old = tmp_path / "old.squashfs"
    old.write_bytes(b"sqsh" + bytes(4092))
    with pytest.raises(FormatError, match="big-endian"):
        read_layout(old)


def test_version_3_is_refused(make_image: MakeImage, tmp_path: Path) -> None:
    data = bytearray(make_image(tmp_path).read_bytes())
    data[28:32] = b"\x03\x00\x01\x00"
    with pytest.raises(FormatError, match=r"version 3\.1: only 4\.0"):
        read_layout(io.BytesIO(data))
