# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""An EROFS whose clusters mix what a boot needs with other files is packed again, as it was."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from bootprof.builder.roottree import open_tree
from bootprof.errors import BootprofError, FormatError, InputError, UnsupportedError
from bootprof.process import run
from bootprof.repacking import check_program, unpack
from bootprof.rewrite import verify, write_order
from optimizer.images.erofs.extents import Kind
from optimizer.images.erofs.layout import read_layout
from optimizer.images.erofs.survey import options_of
from optimizer.images.image import Image, open_image
from optimizer.images.layout import Layout
from optimizer.images.reorder import Repacking, TreeEntry, Wanted, repacking
from optimizer.spans import spans_of
from tests.newer_erofs import newer_erofs
from tests.optimizer.images.erofs.conftest import make_tree

pytestmark = [pytest.mark.root, pytest.mark.install]

IDENTIFIER = "00000000-0000-4000-8000-000000000007"
MADE = 1_700_000_000
# Arguments of mkfs.erofs, and the same as found out; levels of LZ4 and LZMA leave no trace.
FORMS: dict[str, tuple[list[str], str, str]] = {
    "lorax": (["-zzstd,8", "-C65536"], "dedupe,all-fragments", "all-fragments"),
    "fedora": (["-zlzma", "-C1048576"], "all-fragments", "all-fragments"),
    "coreos": (["-zzstd,3", "-C65536", "-L", "root"], "fragments", "fragments"),
    "lz4": (["-zlz4hc", "-C65536"], "all-fragments,dedupe", "all-fragments"),
    "old index": (
        ["-zlz4hc", "-C65536"], "all-fragments,legacy-compress", "all-fragments,legacy-compress",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def programs(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return newer_erofs(output, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of entries, with owners, times, modes and attributes of their own."""
    folder = tmp_path_factory.mktemp("mixed") / "tree"
    folder.mkdir()
    make_tree(folder)
    draw = random.Random(5)
    # Compressible, so that it is larger than one cluster.
    words = [bytes(draw.choices(b"abcdefgh ", k=6)) for _ in range(4096)]
    (folder / "large").write_bytes(b"".join(draw.choices(words, k=400_000)))
    os.mknod(folder / "console", 0o20600, os.makedev(5, 1))
    os.mknod(folder / "disk", 0o60660, os.makedev(259, 70_000))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    (folder / "sub/empty").mkdir(parents=True)
    os.chown(folder / "text-100", 1000, 65534)
    (folder / "text-100").chmod(0o4755)
    os.setxattr(folder / "text-1", "security.capability", b"\1\0\0\2\0\0\0\0" + bytes(12))
    os.setxattr(folder / "sub", "trusted.name", b"\0\n=\xff")
    os.lchown(folder / "link", 7, 8)
    for number, path in enumerate(sorted(folder.rglob("*"))):
        times = (MADE + number) * 10**9 + 123_456_789
        os.utime(path, ns=(times, times), follow_symlinks=False)
    return folder


def packed(form: str, programs: Path, tree: Path, target: Path) -> Image:
    arguments, features, _ = FORMS[form]
    command: list[str | Path] = [
        programs / "mkfs.erofs",
        "-U",
        IDENTIFIER,
        "--quiet",
        "-T",
        str(MADE),
        "--mkfs-time",
    ]
    run([*command, *arguments, f"-E{features}", target, f"{tree}/"])
    return open_image(target, offset_bytes=0)


HOT = [b"/text-100", b"/mixed-4095", b"/many/a file with a rather long name 250", b"/hard"]


@pytest.mark.parametrize("form", FORMS)
def test_it_is_packed_again_with_the_same_options_and_the_same_tree(
    form: str, programs: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = packed(form, programs, tree, tmp_path / "image")
    with image.path.open("rb") as stream:
        options = options_of(read_layout(image.path), stream)
    arguments, _, features = FORMS[form]
    for wanted in (*arguments, f"-E{features}", IDENTIFIER, str(MADE)):
        assert wanted in options
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    target = tmp_path / "target"
    done = write_order(image, Wanted(HOT), target)
    assert (done.files, done.recompressed_bytes) == (len(HOT), done.size_bytes)
    verify(image, target)
    assert done.size_bytes <= 1.01 * done.size_before_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "target"]
    # What the boot needs is now in clusters of its own.
    clusters = [needed_bytes(each) for each in (image, open_image(target, offset_bytes=0))]
    assert clusters[1] <= clusters[0]
    again = open_image(target, offset_bytes=0).layout()
    assert (again.superblock_bytes[48:64], again.made_seconds) == (
        image.layout().superblock_bytes[48:64], MADE,
    )  # fmt: skip


def needed_bytes(image: Image) -> int:
    """Return the bytes of the clusters with content of the wanted files."""
    layout = image.layout()
    rows = np.concatenate([layout.extents_of(path)["extent"] for path in HOT])
    rows = np.unique(rows[rows >= 0])
    return int(layout.extent_map.extents["length_bytes"][rows].sum())


def test_ranges_of_the_image_are_those_of_the_new_one(
    programs: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = packed("lorax", programs, tree, tmp_path / "image")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    asked: list[str] = []

    def order(layout: Layout) -> Wanted:
        asked.append(layout.name)
        return Wanted(HOT, spans_of(layout.extents_of(HOT[0])), "start", for_layout=order)

    target = tmp_path / "target"
    write_order(image, order(image.layout()), target)
    assert asked == [str(image.path), str(tmp_path / "target.packed")]
    verify(image, target)
    metadata = {Kind.SUPERBLOCK, Kind.INODES}
    extents = open_image(target, offset_bytes=0).layout().extent_map.extents
    first = next(row for row in extents if Kind(int(row["kind"])) not in metadata)
    wanted = open_image(target, offset_bytes=0).layout().extents_of(HOT[0])
    assert first["offset_bytes"] == wanted["offset_bytes"][0]


def test_a_tree_that_does_not_fit_is_refused_before_it_is_unpacked(
    programs: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = packed("lz4", programs, tree, tmp_path / "image")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    usage = shutil.disk_usage(tmp_path)._replace(free=(tree / "large").stat().st_size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BootprofError, match="needed to pack the file system"):
        write_order(image, Wanted(HOT), tmp_path / "target")
    assert not (tmp_path / "target.tree").exists()


STRANGE = {
    "time": TreeEntry(b"a", 0o100644, (0, 0), 1 << 100, (0, 0), b"", b"", (), iter(())),
    "attribute": TreeEntry(
        b"a", 0o100644, (0, 0), 0, (0, 0), b"", b"", (("user.a\0b", b""),), iter(())
    ),
    "link": TreeEntry(b"a", 0o120777, (0, 0), 0, (0, 0), b"b\0c", b"", (), iter(())),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_cannot_be_unpacked_is_one_line(kind: str, tmp_path: Path) -> None:
    found = Repacking("mkfs.erofs", (), "", (), lambda: iter([STRANGE[kind]]), lambda *_: None)
    with open_tree(tmp_path) as tree, pytest.raises(FormatError, match="a: cannot be unpacked"):
        unpack(found, tree)


def test_no_path_leads_out_of_the_tree(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    link = TreeEntry(b"a", 0o120777, (0, 0), 0, (0, 0), bytes(outside), b"", (), iter(()))
    file = TreeEntry(b"a/b", 0o100644, (0, 0), 0, (0, 0), b"", b"", (), iter([b"content"]))
    found = Repacking("mkfs.erofs", (), "", (), lambda: iter([link, file]), lambda *_: None)
    with open_tree(inside) as tree, contextlib.suppress(OSError, InputError):
        unpack(found, tree)
    assert list(outside.iterdir()) == []


def test_an_image_of_zeros_is_not_unpacked(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "zeros").open("wb") as stream:
        stream.truncate(200 << 20)
    (tree / "other").write_bytes(b"content")
    image = packed("fedora", programs, tree, tmp_path / "image")
    with image.path.open("rb") as stream, pytest.raises(FormatError, match="is not unpacked"):
        repacking(image.layout(), stream, Wanted([b"/other"]))


def test_an_old_program_is_refused_with_what_to_install() -> None:
    found = Repacking(
        "mkfs.erofs", ("--no-such-option",), "install it", (), lambda: iter(()), lambda *_: None
    )
    with pytest.raises(UnsupportedError, match="it has no --no-such-option") as caught:
        check_program(found)
    assert caught.value.hint == "install it"
