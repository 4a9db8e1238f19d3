# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Forms of newer erofs-utils (zstd, LZMA, DEFLATE, all files as fragments): read and reordered."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootprof.errors import FormatError, InputError
from bootprof.process import run
from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.layout import read_layout
from optimizer.images.layout import FileType
from optimizer.images.reorder import Place, Wanted, reorder, unequal
from tests.newer_erofs import newer_erofs
from tests.optimizer.images.erofs.conftest import make_tree

pytestmark = [pytest.mark.root, pytest.mark.install]

FORMS = {
    "zstd": ["-zzstd,8", "-C65536"],
    "deflate": ["-zdeflate,9", "-C65536"],
    "lzma": ["-zlzma,6", "-C65536"],
    "lorax": ["-zzstd,8", "-Ededupe,all-fragments", "-C65536"],
    "fedora": ["-zlzma,6", "-Eall-fragments", "-C1048576"],
    "coreos": ["-zzstd,3", "-Efragments", "-C65536"],
    "dedupe": ["-zlz4hc", "-Ededupe", "-C65536"],
    "dedupe-fragments": ["-zlz4hc,9", "-Ededupe,fragments", "-C65536"],
    "tail-packing": ["-zlzma", "-Eztailpacking,dedupe", "-C65536"],
    "xattr-prefix": ["-zlz4", "--xattr-prefix=user.com", "-x2"],
}
MIXED = ("lorax", "fedora", "coreos")

Tool = Callable[..., None]


@pytest.fixture(scope="module")
def tool(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Run a program of erofs-utils of a newer suite."""
    programs = newer_erofs(output, tmp_path_factory.mktemp("programs"))

    def call(name: str, *arguments: str | Path) -> None:
        run([programs / name, *arguments])

    return call


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newer") / "tree"
    folder.mkdir()
    make_tree(folder)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_contents_are_those_of_the_tree_in_every_order(
    form: str, tool: Tool, tree: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    tool("mkfs.erofs", "-T1000", *FORMS[form], image, tree)
    layout = read_layout(image)
    with image.open("rb") as file:
        reader = Reader(layout, file)
        for index, path in enumerate(layout.paths):
            inode = int(layout.entries["inode"][index])
            if layout.inodes["type"][inode] == FileType.FILE:
                content = Path(os.fsdecode(os.fsencode(tree) + path)).read_bytes()
                assert b"".join(reader.pieces(inode)) == content, path
    places: tuple[Place, ...] = ("start", "end")
    for place in places:
        target, extracted = tmp_path / place, tmp_path / f"{place}-extracted"
        wanted = Wanted(layout.paths[::7], place=place, even_if_slower=True)
        with image.open("rb") as source, target.open("w+b") as stream:
            done = reorder(layout, source, wanted, stream)
            assert unequal(layout, source, read_layout(target), stream) is None
        assert done.size_bytes == image.stat().st_size
        tool("fsck.erofs", f"--extract={extracted}", target)
        subprocess.run(
            ["diff", "-r", "--no-dereference", "-x", "fifo", tree, extracted], check=True
        )


@pytest.mark.parametrize("form", MIXED)
def test_clusters_of_needed_and_other_files_are_refused_by_name(
    form: str, tool: Tool, tree: Path, tmp_path: Path
) -> None:
    image, target = tmp_path / "image", tmp_path / "new"
    tool("mkfs.erofs", *FORMS[form], image, tree)
    wanted = Wanted([b"/text-100", b"/text-4095", b"/many/a file with a rather long name 250"])
    with (
        image.open("rb") as source,
        target.open("w+b") as stream,
        pytest.raises(InputError, match="packed clusters hold the needed files"),
    ):
        reorder(read_layout(image), source, wanted, stream)


NEWEST = {
    "plain": [],
    "zstd": ["-zzstd,3", "-C65536"],
    "lorax": ["-zzstd,8", "-Ededupe,all-fragments", "-C65536"],
    "fedora": ["-zlzma,6", "-Eall-fragments", "-C1048576"],
    "dedupe-fragments": ["-zlz4hc", "-Ededupe,fragments", "-C65536"],
    "metadata apart": ["-zzstd", "--MZ=id"],
    "two compressors": ["-zzstd:lz4hc"],
    "chunks": ["--chunksize=4096"],
    "digests": ["-zzstd", "--xattr-inode-digest=user.digest"],
}
REFUSED = {
    "48bit": (["-E48bit"], r"EROFS with 48-bit block addresses"),
    "metabox": (["-zzstd", "-m4096"], r"48-bit block addresses .* and compressed metadata"),
}


@pytest.fixture(scope="module")
def newest(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The erofs-utils of sid."""
    return newer_erofs(output, tmp_path_factory.mktemp("newest"), "sid")


@pytest.mark.parametrize("form", NEWEST)
def test_images_of_the_newest_erofs_utils_are_read_and_reordered(
    form: str, newest: Path, tree: Path, tmp_path: Path
) -> None:
    image, target, extracted = (tmp_path / name for name in ("image", "target", "extracted"))
    run([newest / "mkfs.erofs", "--quiet", *NEWEST[form], image, f"{tree}/"])
    layout = read_layout(image)
    with image.open("rb") as source, target.open("w+b") as stream:
        reorder(layout, source, Wanted(layout.paths[::7], even_if_slower=True), stream)
        assert unequal(layout, source, read_layout(target), stream) is None
    run([newest / "fsck.erofs", f"--extract={extracted}", target])
    subprocess.run(["diff", "-r", "--no-dereference", "-x", "fifo", tree, extracted], check=True)


@pytest.mark.parametrize("form", REFUSED)
def test_what_the_newest_erofs_utils_add_is_refused_by_name(
    form: str, newest: Path, tree: Path, tmp_path: Path
) -> None:
    options, reason = REFUSED[form]
    run([newest / "mkfs.erofs", "--quiet", *options, tmp_path / "image", f"{tree}/"])
    with pytest.raises(FormatError, match=reason):
        read_layout(tmp_path / "image")


def test_inodes_in_front_of_the_metadata_are_found_and_moved(tool: Tool, tmp_path: Path) -> None:
    tree, archive, image, target = (tmp_path / name for name in ("tree", "tar", "image", "new"))
    tree.mkdir()
    for number in range(200):
        (tree / f"file-{number}").write_bytes(os.urandom(36_000))
    # Without an entry for the root, which is then written behind all others.
    run(["tar", "-C", tree, "-cf", archive, *(f"file-{number}" for number in range(200))])
    tool("mkfs.erofs", "-T1", "--tar=f", "--sort=none", "-E^inline_data", image, archive)
    layout = read_layout(image)
    assert int(layout.inodes["number"].max()) > 1 << 58
    with image.open("rb") as source, target.open("w+b") as stream:
        reorder(layout, source, Wanted([b"/file-1"]), stream)
        assert unequal(layout, source, read_layout(target), stream) is None
    extracted = tmp_path / "extracted"
    tool("fsck.erofs", f"--extract={extracted}", target)
    subprocess.run(["diff", "-r", tree, extracted], check=True)
