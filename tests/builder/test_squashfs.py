# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packed images, unpacked again by unsquashfs and compared file by file."""

import os
import random
import stat
from pathlib import Path

import pytest

from bootprof.builder import config
from bootprof.builder.order import reorder_image
from bootprof.builder.squashfs import make_squashfs
from optimizer.formats.sortfile import mksquashfs_lines
from optimizer.images.squashfs.layout import read_layout
from tests.trees import unpacked

EPOCH = 1_700_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with all kinds of files, owners and modes, twins and hard links among them."""
    source = random.Random(7)
    folder = tmp_path / "root"
    (folder / "dev").mkdir(parents=True)
    for number in range(300):
        path = folder / f"usr/share/{number % 7}/file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = b"".join(source.choice((b"boot ", b"live ", b"image ")) for _ in range(900))
        path.write_bytes(text * (number % 5) + source.randbytes(number * 40))
        os.chown(path, number % 3, number % 4)
        path.chmod(0o4755 if number % 11 == 0 else 0o640)
        os.utime(path, (EPOCH + number, EPOCH + number))
    (folder / "twin").write_bytes((folder / "usr/share/0/file 7").read_bytes())
    (folder / "hard").hardlink_to(folder / "usr/share/1/file 8")
    (folder / "soft").symlink_to("usr/share")
    (folder / "empty").write_bytes(b"")
    os.mkfifo(folder / "pipe")
    os.mknod(folder / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.setxattr(
        folder / "twin", "security.capability", bytes.fromhex("0100000200040000") + bytes(12)
    )
    return folder


def pack(root: Path, target: Path, sort: Path | None, *, separate: bool = False) -> Path:
    make_squashfs(
        config.Squashfs(separate_fragments=separate),
        root,
        target,
        sort=sort,
        epoch=EPOCH,
        log_file=target.with_suffix(".log"),
        progress=lambda _: None,
    )
    return target


@pytest.mark.root
@pytest.mark.parametrize("separate", [False, True], ids=["shared fragments", "separate fragments"])
@pytest.mark.parametrize("place", ["start", "end"])
def test_a_sorted_image_holds_the_same_files_in_the_same_size(
    place: str, separate: bool, root: Path, tmp_path: Path
) -> None:
    hot = [f"/usr/share/{number % 7}/file {number}".encode() for number in range(250, 20, -3)]
    sort = tmp_path / "distrib.sort"
    sort.write_bytes(b"".join(mksquashfs_lines(hot, "start" if place == "start" else "end")))
    plain = pack(root, tmp_path / "plain.squashfs", None)
    ordered = pack(root, tmp_path / "ordered.squashfs", sort, separate=separate)
    assert plain.read_bytes() != ordered.read_bytes()
    before, after = (unpacked(image, tmp_path / image.stem) for image in (plain, ordered))
    assert after == before
    assert len(before) > 300
    assert ordered.stat().st_size == pytest.approx(plain.stat().st_size, rel=0.01)


@pytest.mark.root
def test_the_same_root_and_sort_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    sort = tmp_path / "distrib.sort"
    sort.write_bytes(b"".join(mksquashfs_lines([b"/hard", b"/twin"])))
    one, two = (pack(root, tmp_path / f"{name}.squashfs", sort) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.root
def test_with_separate_fragments_no_hot_tail_shares_a_block_with_a_cold_one(
    root: Path, tmp_path: Path
) -> None:
    hot = [f"/usr/share/{number % 7}/file {number}".encode() for number in range(250, 20, -3)]
    sort = tmp_path / "distrib.sort"
    sort.write_bytes(b"".join(mksquashfs_lines(hot, "end")))

    def shared(image: Path) -> int:
        layout = read_layout(image)
        of_hot = {int(layout.inode_of(path)) for path in hot}
        fragments = layout.inodes["fragment"]
        holding = [{int(fragments[inode]) for inode in of_hot}, set[int]()]
        for inode in range(len(fragments)):
            if inode not in of_hot:
                holding[1].add(int(fragments[inode]))
        return len((holding[0] & holding[1]) - {-1})

    assert shared(pack(root, tmp_path / "one.squashfs", sort)) > 0
    assert shared(pack(root, tmp_path / "two.squashfs", sort, separate=True)) == 0


@pytest.mark.parametrize(("priority", "place"), [(100, "start"), (-1, "end")])
def test_a_packed_image_gets_the_order_of_a_sort_file_and_keeps_its_content(
    priority: int, place: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(30):
        (root / f"file {number}").write_bytes(random.Random(number).randbytes(300_000))
    image, target, sort = (tmp_path / name for name in ("image", "target", "sort"))
    make_squashfs(
        config.Squashfs(),
        root,
        image,
        sort=None,
        epoch=EPOCH,
        log_file=tmp_path / "log",
        progress=lambda _: None,
    )
    wanted = [17, 3, 25]
    lines = [f"file\\ {number} {priority - rank}\n" for rank, number in enumerate(wanted)]
    sort.write_text("".join(["# a comment -5\n", *lines]))
    assert reorder_image(image, sort, target).files == 3
    assert unpacked(image, tmp_path / "one") == unpacked(target, tmp_path / "two")
    # What does not compress is stored as it is.
    content = target.read_bytes()
    starts = [content.index((root / f"file {number}").read_bytes()[:64]) for number in range(30)]
    ranked = sorted(range(30), key=starts.__getitem__)
    assert (ranked[:3] if place == "start" else ranked[-3:]) == wanted
