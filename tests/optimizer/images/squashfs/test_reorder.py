# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reordering: the same tree in the wanted order, for unsquashfs and for the kernel."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.images.layout import FileType
from optimizer.images.reorder import Place, Reordered, Wanted, reorder, unequal
from optimizer.images.squashfs.format import INODE_LAYOUTS, METADATA_BYTES
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout
from optimizer.images.squashfs.metadata import (
    EXTENDED_FILE,
    Child,
    FilePlace,
    MetadataWriter,
    file_inode,
    write_listing,
)
from optimizer.spans import make_spans
from tests.optimizer.images.squashfs.test_layout import compressors
from tests.trees import unpacked

MakeImage = Callable[..., Path]
FORMS = {
    **{name: ("-comp", name, "-b", "32K") for name in compressors()},
    "blocks of 4 KiB": ("-b", "4K"),
    "blocks of 1 MiB": ("-b", "1M"),
    "no fragments": ("-no-fragments",),
    "tails of large files": ("-always-use-fragments", "-b", "32K"),
    "no export table": ("-no-exports",),
    "no duplicates": ("-no-duplicates",),
    "nothing compressed": ("-noI", "-noD", "-noF", "-noX"),
    "compression options": ("-comp", "zstd", "-Xcompression-level", "3", "-b", "32K"),
    "options of lz4": ("-comp", "lz4", "-Xhc", "-b", "32K"),
}
WANTED = [
    b"/text-4097",
    b"/random-2500000",
    b"/many/entry-00700-9429",
    b"/duplicate-of-text-1",
    b"/names/with space",
    b"/random-131073",
    b"/sparse",
    b"/level0/level1/level2",
    b"/no such file",
]


@pytest.fixture(scope="module")
def tree(sample_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample tree with hard links and extended attributes."""
    folder = tmp_path_factory.mktemp("reorder") / "tree"
    subprocess.run(["cp", "--archive", sample_tree, folder], check=True)
    os.link(folder / "text-4097", folder / "level0/hard link")
    for number, name in enumerate(("text-4097", "random-1", "many", "zeros")):
        os.setxattr(folder / name, "user.number", b"%d" % number * (1 + number * 100))
    return folder


def reordered(
    image: Path, target: Path, *paths: bytes, place: Place = "end", room: int | None = None
) -> tuple[SquashfsLayout, SquashfsLayout, Reordered]:
    layout = read_layout(image)
    with image.open("rb") as source, target.open("w+b") as stream:
        done = reorder(layout, source, Wanted(paths, place=place, room_bytes=room), stream)
    return layout, read_layout(target), done


def difference(one: Path, other: Path) -> str | None:
    with one.open("rb") as first, other.open("rb") as second:
        return unequal(read_layout(one), first, read_layout(other), second)


@pytest.mark.parametrize("form", FORMS)
def test_the_tree_is_the_same_for_unsquashfs(
    form: str, tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(tree, *FORMS[form])
    target = tmp_path / "reordered"
    _, new, done = reordered(image, target, *WANTED)
    assert done.missing == (b"/no such file",)
    assert unpacked(target, tmp_path / "new") == unpacked(image, tmp_path / "old")
    assert difference(image, target) is None
    assert target.stat().st_size % 4096 == 0
    assert new.superblock.inode_count == read_layout(image).superblock.inode_count


@pytest.mark.parametrize("level", ["lz4", "zstd -Xcompression-level 1"])
def test_an_order_without_room_is_compressed_more_strongly(
    level: str, tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(tree, "-b", "32K", "-comp", *level.split())
    _, _, free = reordered(image, tmp_path / "free", *WANTED)
    _, _, done = reordered(image, tmp_path / "limited", *WANTED, room=free.size_bytes - 1)
    assert done.size_bytes < free.size_bytes
    assert unpacked(tmp_path / "limited", tmp_path / "new") == unpacked(image, tmp_path / "old")


def test_gensquashfs_images_are_the_same_too(tree: Path, tmp_path: Path) -> None:
    image, target = tmp_path / "image", tmp_path / "reordered"
    subprocess.run(
        ["gensquashfs", "--pack-dir", tree, "--keep-xattr", "--quiet", image], check=True
    )
    reordered(image, target, *WANTED)
    assert unpacked(target, tmp_path / "new") == unpacked(image, tmp_path / "old")


@pytest.mark.parametrize("place", ["start", "end"])
def test_wanted_content_lies_together_in_the_wanted_order(
    place: Place, tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(tree, "-b", "32K", "-no-fragments")
    wanted = [b"/text-131073", b"/random-4096", b"/text-4097", b"/random-1048577"]
    _, new, done = reordered(image, tmp_path / "reordered", *wanted, place=place)
    firsts = [int(new.extents_of(path)["offset_bytes"][0]) for path in wanted]
    assert firsts == sorted(firsts)
    mine = {extent for path in wanted for extent in new.extents_of(path)["extent"].tolist()}
    extents = new.extent_map.extents
    content = np.flatnonzero(new.is_content)
    held = content[-len(mine) :] if place == "end" else content[: len(mine)]
    assert set(held.tolist()) == mine
    assert done.placed_bytes == int(extents["length_bytes"][sorted(mine)].sum())
    assert done.recompressed_bytes == 0


def test_tails_of_wanted_files_share_fragment_blocks_with_each_other_only(
    tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(tree, "-b", "32K")
    wanted = [b"/many/entry-%05d-%d" % (i, i * 7919 % 10007) for i in range(0, 1500, 100)]
    _, new, done = reordered(image, tmp_path / "reordered", *wanted)
    fragments = {int(new.inodes["fragment"][new.inode_of(path)]) for path in wanted}
    assert len(fragments) == 1
    owners = np.flatnonzero(
        (new.inodes["fragment"] == fragments.pop()) & (new.inodes["fragment_bytes"] > 0)
    )
    assert set(owners.tolist()) == {new.inode_of(path) for path in wanted}
    assert done.recompressed_bytes > 0


def test_inodes_of_wanted_files_lie_together(
    tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(tree)
    wanted = [b"/many/entry-%05d-%d" % (i, i * 7919 % 10007) for i in range(0, 1500, 20)]
    old, new, _ = reordered(image, tmp_path / "reordered", *wanted)

    def blocks(layout: SquashfsLayout) -> int:
        rows = layout.inodes[[layout.inode_of(path) for path in wanted]]
        return len(set(rows["first_metadata_block"].tolist()))

    assert blocks(new) <= 2 < blocks(old)


def test_blocks_of_the_image_can_be_the_order(
    tree: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    image, target = make_image(tree, "-no-fragments"), tmp_path / "reordered"
    layout = read_layout(image)
    wanted = [b"/text-131072", b"/text-400000", b"/random-4097"]
    pieces = [layout.extents_of(path)[0] for path in wanted]
    spans = make_spans(
        [int(piece["offset_bytes"]) for piece in pieces],
        [int(piece["length_bytes"]) for piece in pieces],
    )
    with image.open("rb") as source, target.open("w+b") as stream:
        reorder(layout, source, Wanted(spans=spans), stream)
    new = read_layout(target)
    firsts = [int(new.extents_of(path)["offset_bytes"][0]) for path in wanted]
    assert firsts == sorted(firsts)
    others = [
        int(new.extents_of_inode(inode)["offset_bytes"].max(initial=0))
        for inode in np.flatnonzero(new.inodes["type"] == FileType.FILE).tolist()
        if inode not in {new.inode_of(path) for path in wanted}
    ]
    assert max(others) < firsts[0]
    assert difference(image, target) is None


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_keeps_the_tree(
    data: st.DataObject, squashfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = data.draw(st.lists(st.sampled_from(read_layout(squashfs).paths), max_size=60))
    target = tmp_path_factory.mktemp("any") / "reordered"
    reordered(squashfs, target, *paths, place=data.draw(st.sampled_from(["start", "end"])))
    assert difference(squashfs, target) is None


def test_reordering_twice_gives_the_bytes_of_reordering_once(
    squashfs: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    reordered(squashfs, once, *WANTED)
    reordered(once, twice, *WANTED)
    assert once.read_bytes() == twice.read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_byte_of_content_is_found(seed: int, squashfs: Path, tmp_path: Path) -> None:
    """The comparison can fail: not every byte matters, but all that differ are said."""
    target = tmp_path / "reordered"
    _, new, _ = reordered(squashfs, target, *WANTED)
    extents = new.extent_map.extents[new.is_content]
    source = random.Random(seed)
    extent = extents[source.randrange(extents.size)]
    place = int(extent["offset_bytes"]) + source.randrange(int(extent["length_bytes"]))
    data = bytearray(target.read_bytes())
    data[place] ^= 0x55
    target.write_bytes(data)
    assert difference(squashfs, target) is not None


def test_a_changed_attribute_is_found(tree: Path, make_image: MakeImage, tmp_path: Path) -> None:
    changed = tmp_path / "tree"
    subprocess.run(["cp", "--archive", tree, changed], check=True)
    image = make_image(tree)
    (changed / "text-1").chmod(0o600)
    found = difference(image, make_image(changed))
    assert found is not None
    assert "mode differs" in found


def test_blocks_behind_four_gib_need_an_extended_inode() -> None:
    raw = np.zeros(1, INODE_LAYOUTS[2])
    raw["type"], raw["size"], raw["number"], raw["start"] = 2, 5, 7, 96
    inode = file_inode(raw.tobytes() + b"list", FilePlace(5 << 30, None, 0))
    fields = np.frombuffer(inode, INODE_LAYOUTS[EXTENDED_FILE], 1)[0]
    assert (fields["type"], fields["start"], fields["size"]) == (EXTENDED_FILE, 5 << 30, 5)
    assert (fields["number"], fields["nlink"]) == (7, 1)
    assert inode.endswith(b"list")


def test_a_listing_of_several_blocks_has_an_index() -> None:
    table = MetadataWriter(None)
    table.write(bytes(100))
    children = [Child(b"%05d" % number, 2, number + 1, 0, 0) for number in range(2000)]
    listing = write_listing(children, table)
    blocks = -(-(100 + listing.size) // METADATA_BYTES)
    assert len(listing.index) == blocks - 1
    packed = table.finish()
    for offset, block, name in listing.index:
        # Blocks are stored here: the header is where the index says.
        inner = (100 + offset) % METADATA_BYTES
        entry = packed[block + 2 + inner :]
        assert entry[12 + 8 : 12 + 8 + len(name)] == name
