# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""EROFS packed in the order of a boot: the tree of mkfs.erofs, with the wanted files together."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bootprof.builder.erofs import Erofs, make_erofs, make_ordered, within
from optimizer.images.erofs.farm import without_entry
from optimizer.images.erofs.layout import read_layout
from optimizer.images.reorder import unequal
from tests.optimizer.images.erofs.conftest import make_tree

IDENTIFIER = "00000000-0000-4000-8000-000000000001"
EPOCH = 1_000_000_000
FORMS = {
    "plain": Erofs(compressor=""),
    "lz4hc": Erofs(),
    "fragments": Erofs(features=("fragments",)),
    "deduplicated": Erofs(features=("dedupe",)),
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
    make_erofs(
        FORMS[form], tree, plain, identifier=IDENTIFIER, epoch=EPOCH, log_file=tmp_path / "log"
    )
    before = sorted((path, path.stat().st_nlink) for path in tree.rglob("*") if path.exists())
    for target in (ordered, again):
        make_ordered(
            FORMS[form],
            tree,
            target,
            wanted_of(tree),
            place="start",
            identifier=IDENTIFIER,
            epoch=EPOCH,
            log_file=tmp_path / "log",
        )
    with plain.open("rb") as one, ordered.open("rb") as other:
        assert unequal(read_layout(plain), one, read_layout(ordered), other) is None
    assert ordered.read_bytes() == again.read_bytes()
    assert ordered.stat().st_size <= plain.stat().st_size * 1.01
    after = sorted((path, path.stat().st_nlink) for path in tree.rglob("*") if path.exists())
    assert before == after
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "log", "ordered", "plain"]


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
