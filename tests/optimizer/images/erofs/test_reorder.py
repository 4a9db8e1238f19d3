# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Contents and order of an EROFS: files are those of fsck.erofs, in each form and each order."""

from __future__ import annotations

import io
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.layout import ErofsLayout, read_layout
from optimizer.images.erofs.reorder import checksum
from optimizer.images.layout import FileType
from optimizer.images.reorder import Place, Reordered, Wanted, reorder, unequal
from optimizer.spans import make_spans
from tests.optimizer.images.erofs.conftest import FORMS

WANTED = [
    b"/many/a file with a rather long name 250",
    b"/noise-70000",
    b"/text-300001",
    b"/link",
    b"/mixed-4097",
    b"/text-1",
    b"/many/a file with a rather long name 3",
    b"/no such file",
]


def reordered(
    image: Path, target: Path, *paths: bytes, place: Place = "end"
) -> tuple[ErofsLayout, ErofsLayout, Reordered]:
    layout = read_layout(image)
    with image.open("rb") as source, target.open("w+b") as stream:
        done = reorder(layout, source, Wanted(paths, place=place, even_if_slower=True), stream)
    return layout, read_layout(target), done


def difference(one: Path, other: Path) -> str | None:
    with one.open("rb") as first, other.open("rb") as second:
        return unequal(read_layout(one), first, read_layout(other), second)


def check_extracted(image: Path, tree: Path, folder: Path) -> None:
    subprocess.run(["fsck.erofs", f"--extract={folder}", image], check=True, capture_output=True)
    for path in tree.rglob("*"):
        mine = folder / path.relative_to(tree)
        if path.is_symlink():
            assert mine.readlink() == path.readlink()
        elif path.is_file():
            assert mine.read_bytes() == path.read_bytes()
        assert mine.lstat().st_mode == path.lstat().st_mode


@pytest.mark.parametrize("form", FORMS)
def test_contents_and_attributes_are_those_of_the_tree(
    erofs_images: dict[str, Path], form: str
) -> None:
    image = erofs_images[form]
    tree = os.fsencode(image.parent / "tree")
    layout = read_layout(image)
    with image.open("rb") as file:
        reader = Reader(layout, file)
        for index, path in enumerate(layout.paths):
            inode = int(layout.entries["inode"][index])
            names = {name: value for _, name, value in reader.xattrs(inode)}
            found = os.listxattr(tree + path, follow_symlinks=False)
            assert set(names) == {os.fsencode(name).removeprefix(b"user.") for name in found}
            if layout.inodes["type"][inode] == FileType.FILE:
                assert b"".join(reader.pieces(inode)) == Path(os.fsdecode(tree + path)).read_bytes()


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("form", FORMS)
def test_the_tree_is_the_same_for_fsck_in_another_order(
    erofs_images: dict[str, Path], form: str, place: Place, tmp_path: Path
) -> None:
    image, target = erofs_images[form], tmp_path / "reordered"
    _, _, done = reordered(image, target, *WANTED, place=place)
    assert done.missing == (b"/no such file",)
    assert done.size_bytes == target.stat().st_size <= image.stat().st_size
    assert difference(image, target) is None
    check_extracted(target, image.parent / "tree", tmp_path / "extracted")


@pytest.mark.parametrize("form", ["plain", "big-clusters", "chunks"])
def test_wanted_files_follow_one_another_with_their_inodes(
    erofs_images: dict[str, Path], form: str, tmp_path: Path
) -> None:
    layout, new, done = reordered(erofs_images[form], tmp_path / "new", *WANTED, place="start")
    wanted = [path for path in WANTED if path in layout.paths and path != b"/link"]
    rows = [new.extents_of(path) for path in wanted]
    firsts = [int(each["offset_bytes"][0]) for each in rows if each["length_bytes"].max() >= 4096]
    assert firsts == sorted(firsts)
    end = max(int((each["offset_bytes"] + each["length_bytes"]).max()) for each in rows)
    assert end <= done.placed_bytes
    inodes = [extent for path in wanted for extent in new.inode_extents(new.inode_of(path))]
    assert new.extent_map.extents["offset_bytes"][inodes].max() < done.placed_bytes


def test_of_a_large_file_only_the_parts_move_that_a_trace_has(
    erofs_images: dict[str, Path], tmp_path: Path
) -> None:
    image, target = erofs_images["full-index"], tmp_path / "new"
    layout = read_layout(image)
    pieces = layout.extents_of(b"/mixed-300001")
    assert pieces.size > 8
    spans = make_spans([int(pieces["offset_bytes"][-2])], [int(pieces["length_bytes"][-2])])
    with image.open("rb") as source, target.open("w+b") as stream:
        reorder(layout, source, Wanted([b"/mixed-300001"], spans, "start"), stream)
    new = read_layout(target).extents_of(b"/mixed-300001")["offset_bytes"]
    assert np.argmin(new) == pieces.size - 2
    assert difference(image, target) is None


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_keeps_the_tree(
    data: st.DataObject,
    erofs_images: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    image = erofs_images[data.draw(st.sampled_from(sorted(FORMS)))]
    paths = data.draw(st.lists(st.sampled_from(read_layout(image).paths), max_size=60))
    target = tmp_path_factory.mktemp("any") / "reordered"
    reordered(image, target, *paths, place=data.draw(st.sampled_from(["start", "end"])))
    assert difference(image, target) is None


def test_the_same_order_gives_the_same_bytes(erofs_images: dict[str, Path], tmp_path: Path) -> None:
    once, again, twice = tmp_path / "once", tmp_path / "again", tmp_path / "twice"
    reordered(erofs_images["fragments"], once, *WANTED)
    reordered(erofs_images["fragments"], again, *WANTED)
    reordered(once, twice, *WANTED)
    assert once.read_bytes() == again.read_bytes()
    assert difference(once, twice) is None


def test_images_of_different_forms_are_the_same_tree(erofs_images: dict[str, Path]) -> None:
    for form in FORMS:
        assert difference(erofs_images["plain"], erofs_images[form]) is None, form


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_byte_of_content_is_found(
    seed: int, erofs_images: dict[str, Path], tmp_path: Path
) -> None:
    image, target = erofs_images["plain"], tmp_path / "changed"
    layout = read_layout(image)
    extents = layout.extent_map.extents[layout.is_content]
    draw = random.Random(seed)
    path = draw.choice([path for path in layout.paths if path.startswith(b"/noise-")][1:])
    piece = draw.choice(layout.extents_of(path))
    assert extents.size
    data = bytearray(image.read_bytes())
    at = int(piece["offset_bytes"]) + draw.randrange(int(piece["file_bytes"]))
    data[at] ^= 0x55
    target.write_bytes(data)
    found = difference(image, target)
    assert found is not None
    assert "content differs" in found


def test_a_file_system_inside_of_an_image_is_reordered(
    erofs_images: dict[str, Path], tmp_path: Path
) -> None:
    image, disk, target = erofs_images["fragments"], tmp_path / "disk", tmp_path / "new"
    disk.write_bytes(bytes(1 << 20) + image.read_bytes())
    with disk.open("rb") as source, target.open("w+b") as stream:
        reorder(read_layout(disk, 1 << 20), source, Wanted(WANTED, even_if_slower=True), stream)
    assert difference(image, target) is None


def test_a_damaged_superblock_is_not_written_anew(
    erofs_images: dict[str, Path], tmp_path: Path
) -> None:
    data = bytearray(erofs_images["compact"].read_bytes())
    assert checksum(bytes(data[:4096])) == int.from_bytes(data[1028:1032], "little")
    data[1024 + 64] ^= 1
    layout = read_layout(io.BytesIO(data))
    with (tmp_path / "new").open("w+b") as stream, pytest.raises(FormatError, match="checksum"):
        reorder(layout, io.BytesIO(data), Wanted(WANTED), stream)


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_image_is_refused_or_put_into_another_order(
    erofs_images: dict[str, Path], form: str, tmp_path: Path
) -> None:
    draw = random.Random(form)
    data = erofs_images[form].read_bytes()
    for _ in range(12):
        damaged = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            place = draw.choice((1024 + draw.randrange(128), draw.randrange(len(damaged) - 8)))
            damaged[place : place + 8] = draw.randbytes(8)
        image = tmp_path / "damaged"
        image.write_bytes(damaged)
        try:
            reordered(image, tmp_path / "written", *WANTED)
            found = difference(image, tmp_path / "written")
        except FormatError as error:
            assert "\n" not in error.message
        else:
            assert found is None
