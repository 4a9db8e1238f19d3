# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""EROFS packed in the order of a boot: the tree of mkfs.erofs, with the wanted files together."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bootprof.builder.config import Erofs
from bootprof.builder.erofs import (
    Stamp,
    check_kernel,
    find_packer,
    make_erofs,
    make_ordered,
    make_unordered,
    within,
)
from bootprof.builder.root import Kernel
from bootprof.errors import InputError, UnsupportedError
from optimizer.images.erofs.clusters import Place
from optimizer.images.erofs.farm import without_entry
from optimizer.images.erofs.layout import read_layout
from optimizer.images.reorder import Wanted, unequal
from tests.newer_erofs import newer_erofs
from tests.optimizer.images.erofs.conftest import make_tree

STAMP = Stamp("00000000-0000-4000-8000-000000000001", 1_000_000_000)
FORMS = {
    "plain": Erofs(compressor="none"),
    "lz4hc": Erofs(),
    "tails packed": Erofs(features=("ztailpacking",)),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("farm") / "tree"
    folder.mkdir()
    make_tree(folder)
    return folder


def wanted_of(tree: Path) -> list[bytes]:
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    chosen = random.Random(3).sample(files, 60)
    found = [b"/" + os.fsencode(path.relative_to(tree)) for path in chosen]
    return [b"/no such file", *found, b"/link", b"/many/../text-1"]


@pytest.mark.parametrize("form", FORMS)
def test_an_ordered_image_has_the_tree_of_mkfs(form: str, tree: Path, tmp_path: Path) -> None:
    plain, ordered, again = (tmp_path / name for name in ("plain", "ordered", "again"))
    make_erofs(FORMS[form], tree, plain, STAMP, tmp_path / "log")
    before = sorted((path, path.stat().st_nlink) for path in tree.rglob("*") if path.exists())
    for target in (ordered, again):
        wanted = Wanted(wanted_of(tree), place="start")
        make_ordered(FORMS[form], tree, target, wanted, STAMP, tmp_path / "log")
    with plain.open("rb") as one, ordered.open("rb") as other:
        assert unequal(read_layout(plain), one, read_layout(ordered), other) is None
    assert ordered.read_bytes() == again.read_bytes()
    assert ordered.stat().st_size <= plain.stat().st_size * 1.01
    after = sorted((path, path.stat().st_nlink) for path in tree.rglob("*") if path.exists())
    assert before == after
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "log", "ordered", "plain"]


@pytest.mark.root
@pytest.mark.install
def test_fragments_of_the_wanted_files_lie_together_in_their_order(
    tmp_path: Path, output: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Not in the root itself: mkfs.erofs writes the files of a folder before the next folder.
    tree, draw = tmp_path / "tree", random.Random(11)
    for number in range(200):
        file = tree / f"usr/{number % 7}/{number:03d}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draw.randbytes(2000 + number))
    wanted = [b"/usr/%d/%03d" % (number % 7, number) for number in draw.sample(range(200), 60)]
    program = newer_erofs(output, tmp_path_factory.mktemp("newer")) / "mkfs.erofs"
    options = Erofs(features=("fragments",), program=str(program))
    plain, ordered = tmp_path / "plain", tmp_path / "ordered"
    make_erofs(options, tree, plain, STAMP, tmp_path / "log")
    make_ordered(options, tree, ordered, Wanted(wanted), STAMP, tmp_path / "log")

    def places(image: Path) -> list[tuple[int, int]]:
        """Return place in the packed inode, and size, of what each wanted file has there."""
        layout = read_layout(image)
        rows = layout.runs.rows
        packed = rows[rows["place"] == Place.PACKED]
        found: list[tuple[int, int]] = []
        for path in wanted:
            visited = layout.resolve(path)
            if visited:
                mine = packed[packed["inode"] == layout.entries["inode"][visited[-1]]]
                found += mine[["offset_bytes", "file_bytes"]].tolist()
        return list(dict.fromkeys(found))

    before, after = places(plain), places(ordered)
    assert len(before) == len(after) == len(wanted)
    total = sum(size for _, size in after)
    assert after == sorted(after)
    assert (after[0][0], after[-1][0] + after[-1][1]) == (0, total)
    assert max(before)[0] - min(before)[0] > 2 * total


def test_what_is_excluded_is_in_no_image(tree: Path, tmp_path: Path) -> None:
    options = Erofs(exclude=("text-*", "many/a file*1"))
    before = sorted(path.name for path in tree.rglob("*"))
    images = [tmp_path / "plain", tmp_path / "ordered"]
    make_unordered(options, tree, images[0], STAMP, tmp_path / "log")
    make_ordered(
        options, tree, images[1], Wanted([b"text-100", b"noise-1"]), STAMP, tmp_path / "log"
    )
    paths = [sorted(read_layout(image).paths) for image in images]
    assert paths[0] == paths[1]
    names = {os.fsdecode(path.rpartition(b"/")[2]) for path in paths[0]}
    assert {"noise-1", "a file with a rather long name 2"} <= names
    assert not [name for name in names if name.startswith("text-")]
    assert "a file with a rather long name 1" not in names
    assert sorted(path.name for path in tree.rglob("*")) == before


OLD = "mkfs.erofs 1.5\nAvailable compressors are: lz4hc, lz4\n"
NEW = "mkfs.erofs (erofs-utils) 1.8.6\navailable compressors: lz4, lz4hc, lzma, zstd\n"


def packer(folder: Path, text: str, *, knows_version: bool) -> str:
    program = folder / "mkfs"
    refuses = "" if knows_version else '[ "$1" = -V ] && exit 1\n'
    stream = "" if knows_version else " >&2"
    program.write_text(f"#!/bin/sh\n{refuses}cat <<'END'{stream}\n{text}END\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("text", "knows_version", "version"), [(OLD, False, ""), (NEW, True, "1.8.6")]
)
def test_a_packer_says_what_it_compresses_with(
    text: str, knows_version: bool, version: str, tmp_path: Path
) -> None:
    program = packer(tmp_path, text, knows_version=knows_version)
    found = find_packer(Erofs(program=program))
    assert (found.version, "lz4hc" in found.compressors) == (version, True)
    # Part of the digest of an image: the same in each process.
    assert found.compressors == tuple(sorted(found.compressors))
    find_packer(Erofs(program=program, compressor="none"))


def test_a_packer_without_the_compressor_is_refused_with_what_to_install(tmp_path: Path) -> None:
    program = packer(tmp_path, OLD, knows_version=False)
    with pytest.raises(UnsupportedError, match="built without zstd; it has lz4, lz4hc") as caught:
        find_packer(Erofs(program=program, compressor="zstd"))
    assert "erofs-utils 1.8" in (caught.value.hint or "")


def test_a_packer_that_would_ignore_a_feature_is_refused(tmp_path: Path) -> None:
    program = packer(tmp_path, OLD, knows_version=False)
    with pytest.raises(UnsupportedError, match="or older, which ignores fragments"):
        find_packer(Erofs(program=program, features=("ztailpacking", "fragments")))
    find_packer(Erofs(program=program, features=("ztailpacking",)))
    (tmp_path / "new").mkdir()
    newer = packer(tmp_path / "new", NEW, knows_version=True)
    find_packer(Erofs(program=newer, features=("fragments",)))


@pytest.mark.parametrize(
    ("compressor", "options", "missing"),
    [
        ("lz4hc", "CONFIG_EROFS_FS=m\n", None),
        ("zstd", "CONFIG_EROFS_FS=y\nCONFIG_EROFS_FS_ZIP_ZSTD=y\n", None),
        ("zstd", "CONFIG_EROFS_FS=m\n# CONFIG_EROFS_FS_ZIP_ZSTD is not set\n", "EROFS_FS_ZIP_ZSTD"),
        ("none", "# CONFIG_EROFS_FS is not set\n", "CONFIG_EROFS_FS"),
        ("zstd", "", None),
    ],
)
def test_a_kernel_that_reads_no_such_image_is_refused(
    compressor: str, options: str, missing: str | None
) -> None:
    kernel = Kernel("6.1", Path("vmlinuz"), Path("initrd"), options)
    config = Erofs(compressor=compressor)  # type: ignore[arg-type] # of the table above
    if missing is None:
        check_kernel(config, kernel)
    else:
        with pytest.raises(InputError, match=missing):
            check_kernel(config, kernel)


@pytest.mark.parametrize("path", [b"/../etc/passwd", b"/outside/passwd", b"/", b"/many"])
def test_the_farm_links_nothing_but_files_of_the_tree(tmp_path: Path, path: bytes) -> None:
    (tmp_path / "outside").symlink_to("/etc")
    (tmp_path / "many").mkdir()
    assert within(tmp_path, path) is None


def test_an_entry_leaves_a_directory() -> None:
    names = [b"!bootprof", b".", b"..", b"usr"]
    heads, place = b"", 12 * len(names)
    for number, name in enumerate(names):
        heads += number.to_bytes(8, "little") + place.to_bytes(2, "little") + b"\2\0"
        place += len(name)
    found = without_entry(heads + b"".join(names), b"!bootprof")
    assert found[36:] == b"...usr"
    assert [found[12 * row] for row in range(3)] == [1, 2, 3]
