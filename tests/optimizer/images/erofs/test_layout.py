# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The layout of an EROFS is what dump.erofs prints, in each form that mkfs.erofs writes."""

from __future__ import annotations

import io
import os
import random
import re
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from optimizer.errors import BootprofError, FormatError
from optimizer.images.erofs.clusters import Place
from optimizer.images.erofs.format import Storage
from optimizer.images.erofs.layout import ErofsLayout, read_layout
from optimizer.images.image import open_image
from optimizer.images.layout import FileType
from tests.optimizer.images.erofs.conftest import FORMS

EXTENT = re.compile(r"^ *\d+: +(\d+)\.\. *(\d+) \| +\d+ : +(\d+)\.\. *(\d+) \|", re.MULTILINE)


def joined(runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join blocks that follow each other, which dump.erofs prints as one run."""
    found: list[tuple[int, int, int]] = []
    for begin, end, offset in runs:
        if found and found[-1][1] == begin and found[-1][2] + begin - found[-1][0] == offset:
            begin, offset = found[-1][0], found.pop()[2]
        found.append((begin, end, offset))
    return found


def dumped(image: Path, layout: ErofsLayout, inode: int) -> list[tuple[int, int, int]]:
    number = int(layout.inodes["number"][inode])
    text = subprocess.run(
        ["dump.erofs", "-e", f"--nid={number}", image], capture_output=True, text=True, check=True
    ).stdout
    size = int(layout.inodes["size_bytes"][inode])
    return [(int(m[1]), min(int(m[2]), size), int(m[3])) for m in EXTENT.finditer(text)]


@pytest.mark.parametrize("form", FORMS)
def test_runs_are_those_of_dump_erofs(erofs_images: dict[str, Path], form: str) -> None:
    layout = read_layout(erofs_images[form])
    rows = layout.runs.rows
    files = np.flatnonzero(layout.inodes["type"] == FileType.FILE).tolist()
    small = [one for one in files if layout.inodes["size_bytes"][one] < 4]
    for inode in sorted((set(files) - set(small)) | set(small[::20])):
        mine = rows[rows["inode"] == inode]
        in_packed = (mine["place"] == Place.PACKED).tolist()
        found = [
            (begin, begin + length, 0 if packed else offset)
            for begin, length, offset, packed in zip(
                mine["file_offset_bytes"].tolist(),
                mine["file_bytes"].tolist(),
                mine["offset_bytes"].tolist(),
                in_packed,
                strict=True,
            )
        ]
        expected = dumped(erofs_images[form], layout, inode)
        if layout.inodes["storage"][inode] not in (Storage.FULL_INDEX, Storage.COMPACT_INDEX):
            found, expected = joined(found), joined(expected)
        elif len(expected) == len(in_packed):
            # Versions of dump.erofs print different offsets for what is in the packed inode.
            expected = [
                (one, end, 0 if packed else at)
                for (one, end, at), packed in zip(expected, in_packed, strict=True)
            ]
        assert found == expected, layout.paths_of(inode)


@pytest.mark.parametrize("form", FORMS)
def test_names_and_attributes_are_those_of_the_tree(
    erofs_images: dict[str, Path], form: str
) -> None:
    tree = erofs_images[form].parent / "tree"
    layout = read_layout(erofs_images[form])
    expected = {b"/"} | {b"/" + os.fsencode(path.relative_to(tree)) for path in tree.rglob("*")}
    assert set(layout.paths) == expected
    for index, path in enumerate(layout.paths):
        status = os.lstat(os.fsencode(tree) + path)
        inode = layout.inodes[layout.entries["inode"][index]]
        assert (int(inode["mode"]), int(inode["uid"]), int(inode["gid"]), int(inode["nlink"])) == (
            (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_nlink)
        )
        if stat.S_ISREG(status.st_mode):
            assert inode["size_bytes"] == status.st_size
            pieces = layout.extents_of(path)
            assert int(pieces["file_bytes"].sum()) == status.st_size
            assert (pieces["extent"] >= 0).all()
    assert layout.symlink_target(layout.inode_of(b"/link")) == b"text-100"
    assert layout.inode_of(b"/hard") == layout.inode_of(b"/text-4097")


def test_a_disk_image_is_searched_for_erofs(erofs_images: dict[str, Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20) + erofs_images["compact"].read_bytes())
    image = open_image(disk)
    assert image.layout().offset_bytes == 1 << 20
    assert image.layout().format == "erofs"
    inner, alone = (
        image.layout().extent_map,
        open_image(erofs_images["compact"]).layout().extent_map,
    )
    assert (inner.extents["offset_bytes"] == alone.extents["offset_bytes"] + (1 << 20)).all()


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (1104, 0x80, "48-bit"),
        (1104 + 1, 0x01, "compressed metadata"),
        (1104 + 2, 0x01, "unknown features"),
        (1036, 40, "block size"),
        (1060 + 3, 0x7F, "truncated"),
    ],
)
def test_unsupported_images_are_refused_by_name(
    erofs_images: dict[str, Path], offset: int, value: int, message: str
) -> None:
    data = bytearray(erofs_images["compact"].read_bytes())
    data[offset] = data[offset] | value if offset >= 1104 else value
    with pytest.raises(FormatError, match=message):
        read_layout(io.BytesIO(data))


@pytest.mark.parametrize("form", ["plain", "compact", "full-index-big", "fragments", "chunks"])
def test_damaged_images_are_read_or_refused(erofs_images: dict[str, Path], form: str) -> None:
    data = erofs_images[form].read_bytes()
    draw = random.Random(form)
    rows = read_layout(erofs_images[form]).every_inode
    hot = rows["position_bytes"].tolist()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 1, 4))):
            place = draw.choice(hot) + draw.randrange(96) if draw.random() < 0.8 else 1024 + 8
            place = min(place, len(damaged) - 1)
            damaged[place] = draw.choice((0, 0xFF, draw.randrange(256)))
        try:
            layout = read_layout(io.BytesIO(damaged))
            layout.extent_map.overlaps([0], [len(data)])
        except BootprofError as error:
            assert str(error)
    for length in range(0, len(data), len(data) // 20):
        with pytest.raises(FormatError):
            read_layout(io.BytesIO(data[:length]))
