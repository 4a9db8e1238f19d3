# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a medium holds for an installation."""

from __future__ import annotations

import os
from pathlib import Path

from bootprof.builder.media.contents import RootImage
from bootprof.builder.media.installation import reading_order
from bootprof.process import run


def packed(tree: Path, target: Path, *options: str) -> RootImage:
    run(["mksquashfs", tree, target, "-noappend", "-no-progress", *options])
    return RootImage(target.name, target)


def test_paths_are_in_the_order_of_their_content_on_the_medium(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "z").mkdir(parents=True)
    for name in ("a", "b", "z/c"):
        (tree / name).write_bytes(os.urandom(200_000))
    (tree / "empty").touch()
    (tree / "link").symlink_to("a")
    sort = tmp_path / "sort"
    sort.write_text("z/c 3\nb 2\na 1\n")
    image = packed(tree, tmp_path / "root.squashfs", "-sort", str(sort))
    lines = reading_order((image,), tree)
    assert [line.split(b"\t")[2] for line in lines] == [
        *(b"./\n", b"./z\n", b"./empty\n", b"./link\n", b"./z/c\n", b"./b\n", b"./a\n")
    ]
    assert [line.split(b"\t")[1] for line in lines] == [b"-1"] * 4 + [b"0"] * 3
    assert {line.split(b"\t")[0] for line in lines} == {b"root.squashfs"}


def test_a_path_of_two_layers_is_where_the_upper_one_has_it(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for tree, names in ((lower, ("same", "gone")), (upper, ("same",))):
        tree.mkdir()
        for name in names:
            (tree / name).write_bytes(os.urandom(1000))
    images = (packed(lower, tmp_path / "1.squashfs"), packed(upper, tmp_path / "2.squashfs"))
    # The tree that both make together has no file "gone".
    paths = {line.split(b"\t")[2]: line.split(b"\t")[0] for line in reading_order(images, upper)}
    assert paths == {b"./\n": b"2.squashfs", b"./same\n": b"2.squashfs"}


def test_a_name_is_quoted_so_that_tar_finds_it(tmp_path: Path) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    tree.mkdir()
    copy.mkdir()
    names = {"a\nb", "a\tb", "a\\nb", "a b", "-C", "*", "é"}
    for name in names:
        (tree / name).write_text("x")
    lines = reading_order((packed(tree, tmp_path / "root.squashfs"),), tree)
    paths = b"".join(line.split(b"\t", 2)[2] for line in lines)
    made = str(tmp_path / "made.tar")
    run(["tar", "-C", tree, "--no-recursion", "--files-from=-", "-cf", made], stdin=paths)
    run(["tar", "-C", copy, "-xf", made])
    assert {path.name for path in copy.iterdir()} == names
