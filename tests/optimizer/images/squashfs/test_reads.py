# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""From reads of the image to the files, fragments and tables that they overlap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout

MakeImage = Callable[..., Path]


@pytest.fixture(scope="module")
def layout(make_image: MakeImage, sample_tree: Path) -> SquashfsLayout:
    return read_layout(make_image(sample_tree, "-b", "64K", "-comp", "zstd"))


def owners_by_brute_force(layout: SquashfsLayout) -> dict[tuple[int, int, int], set[int]]:
    """(kind, offset, length) to inodes, from the extents of each file alone."""
    owners: dict[tuple[int, int, int], set[int]] = {}
    for inode in range(layout.inodes.size):
        for extent in layout.extents_of_inode(inode):
            if extent["length_bytes"]:
                key = tuple(int(extent[name]) for name in ("kind", "offset_bytes", "length_bytes"))
                owners.setdefault((key[0], key[1], key[2]), set()).add(inode)
    return owners


def test_owners_of_every_extent_are_the_files_that_have_it(layout: SquashfsLayout) -> None:
    expected = owners_by_brute_force(layout)
    extents = layout.extent_map.extents
    position, inode = layout.extent_map.owners_of(np.arange(extents.size))
    for index, extent in enumerate(extents):
        key = (int(extent["kind"]), int(extent["offset_bytes"]), int(extent["length_bytes"]))
        found = inode[position == index].tolist()
        assert len(found) == len(set(found))
        assert set(found) == expected.pop(key, set()), key
    assert not expected


def test_duplicate_files_both_own_their_blocks(layout: SquashfsLayout) -> None:
    extent = layout.extents_of(b"/random-400000")[0]
    found = layout.overlaps([extent["offset_bytes"]], [1])
    _, inodes = layout.extent_map.owners_of(found["extent"])
    assert set(inodes.tolist()) == {
        layout.inode_of(b"/random-400000"),
        layout.inode_of(b"/duplicate-of-random-400000"),
    }


def test_one_read_of_the_whole_image_covers_every_byte_once(layout: SquashfsLayout) -> None:
    found = layout.overlaps([0], [layout.size_bytes])
    assert found["length_bytes"].sum() == layout.size_bytes
    assert found["extent"].tolist() == list(range(layout.extent_map.extents.size))


def test_reads_outside_and_empty_reads_overlap_nothing(layout: SquashfsLayout) -> None:
    found = layout.overlaps([layout.size_bytes, 10**15, 500], [4096, 4096, 0])
    assert found.size == 0


def test_tables_are_told_block_by_block(layout: SquashfsLayout) -> None:
    table = layout.table(Kind.INODE_TABLE)
    assert table is not None
    found = layout.overlaps([table.offset_bytes], [table.length_bytes])
    extents = layout.extent_map.extents[found["extent"]]
    assert (extents["kind"] == Kind.INODE_TABLE).all()
    assert extents["index"].tolist() == list(range(table.blocks.size))
    np.testing.assert_array_equal(found["length_bytes"], table.blocks["length_bytes"])
