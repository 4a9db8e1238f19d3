# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A file system format is known to its own folder and to ``open_image``; the rest uses Layout."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optimizer.images.extents import Role
from optimizer.images.image import FORMATS, open_image
from optimizer.images.layout import ENTRY_FIELDS, FILE_EXTENT, INODE_FIELDS, FileType, Layout

TOP = Path(__file__).parents[3]
IMAGES = TOP / "optimizer" / "images"
PRODUCT = sorted([*TOP.glob("bootprof/**/*.py"), *TOP.glob("optimizer/**/*.py")])
FOLDERS = {path.name for path in IMAGES.iterdir() if (path / "__init__.py").exists()}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def formats_named_by(path: Path) -> set[str]:
    """Return the folders of formats that a module imports from."""
    return {
        name.split(".")[2]
        for name in imported(path)
        if name.startswith("optimizer.images.") and name.split(".")[2] in FOLDERS
    }


def test_the_folders_of_formats_are_those_that_are_opened() -> None:
    assert FOLDERS == {kind.name for kind in FORMATS} == {"erofs", "squashfs"}


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(TOP)))
def test_only_its_folder_and_open_image_know_a_format(path: Path) -> None:
    if path == IMAGES / "image.py":
        assert formats_named_by(path) == FOLDERS
    elif path == TOP / "bootprof/builder/erofs.py":
        # mkfs.erofs takes an order only as links, which have to be taken out of the image again.
        assert formats_named_by(path) == {"erofs"}
    elif path.parent.parent == IMAGES:
        assert formats_named_by(path) <= {path.parent.name}
    else:
        assert not formats_named_by(path)


@pytest.fixture(scope="module")
def layout(make_image: Callable[..., Path], sample_tree: Path) -> Layout:
    return open_image(make_image(sample_tree, "-b", "64K")).layout()


def test_a_layout_has_the_fields_of_every_format(layout: Layout) -> None:
    for rows, fields in ((layout.inodes, INODE_FIELDS), (layout.entries, ENTRY_FIELDS)):
        assert {name for name, _ in fields} <= set(rows.dtype.names or ())
    assert layout.file_extents.dtype == FILE_EXTENT
    assert layout.format in {kind.name for kind in FORMATS}


def test_pieces_of_files_and_extents_of_the_image_say_the_same(layout: Layout) -> None:
    pieces, extents = layout.file_extents, layout.extent_map.extents
    held = pieces[pieces["extent"] >= 0]
    for name in ("offset_bytes", "length_bytes", "kind", "role", "stored"):
        np.testing.assert_array_equal(held[name], extents[name][held["extent"]])
    holes = pieces[pieces["extent"] < 0]
    assert holes.size
    assert not holes["length_bytes"].any()
    position, owners = layout.extent_map.owners_of(np.arange(extents.size))
    pairs = {*zip(held["extent"].tolist(), held["inode"].tolist(), strict=True)}
    assert {*zip(position.tolist(), owners.tolist(), strict=True)} == pairs


def test_pieces_of_a_file_are_in_order_and_make_up_the_file(layout: Layout) -> None:
    for inode in range(layout.inodes.size):
        pieces = layout.extents_of_inode(inode)
        assert (pieces["inode"] == inode).all()
        ends = np.cumsum(pieces["file_bytes"])
        np.testing.assert_array_equal(pieces["file_offset_bytes"], ends - pieces["file_bytes"])
        if layout.inodes["type"][inode] == FileType.FILE:
            assert int(pieces["file_bytes"].sum()) == int(layout.inodes["size_bytes"][inode])


def test_what_a_look_up_reads_is_metadata_in_the_order_of_reading(layout: Layout) -> None:
    roles = layout.extent_map.extents["role"]
    for path, entry in enumerate(layout.entries):
        inode = int(entry["inode"])
        found = layout.lookup_extents(path)
        where = list(layout.inode_extents(inode))
        assert where
        assert list(found[-len(where) :]) == where
        searched = found[: -len(where)]
        assert set(roles[list(searched)].tolist()) <= {int(Role.DIRECTORIES)}
        assert bool(searched) == (path > 0)
        parent = int(layout.entries["inode"][entry["parent"]])
        assert set(searched) <= set(layout.listing_extents(parent))
        is_directory = layout.inodes["type"][inode] == FileType.DIRECTORY
        assert is_directory or not layout.listing_extents(inode)


def test_only_files_with_packed_content_need_its_index(layout: Layout) -> None:
    roles = layout.extent_map.extents["role"]
    packed = set(layout.file_extents["inode"][layout.file_extents["role"] == Role.PACKED].tolist())
    assert packed
    for inode in range(layout.inodes.size):
        rows = layout.mapping_extents(inode)
        assert bool(rows) == (inode in packed)
        assert set(roles[list(rows)].tolist()) <= {int(Role.PACKED_INDEX)}


def test_the_tables_lie_behind_the_content_and_what_is_mounted_before_it(layout: Layout) -> None:
    content = layout.extent_map.extents[layout.is_content]
    assert layout.content_offset_bytes == content["offset_bytes"].min()
    ends = content["offset_bytes"] + content["length_bytes"]
    assert layout.tables_offset_bytes == ends.max()
    mounted = layout.extent_map.extents[layout.mount_extents()]
    assert int(mounted["offset_bytes"][0]) == layout.offset_bytes
    assert not set(mounted["role"].tolist()) & {int(Role.DATA), int(Role.PACKED)}
