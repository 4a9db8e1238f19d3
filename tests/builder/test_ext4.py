# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""ext4 images of root trees: whole, clean, and the same bytes each time."""

import os
import subprocess
import time
from pathlib import Path

from bootprof.builder.ext4 import make_ext4, measure
from bootprof.builder.roottree import open_tree

EPOCH = 1_700_000_000


def tree(folder: Path) -> Path:
    for number in range(300):
        path = folder / f"usr/share/doc/{number}/text with spaces and 'quotes'"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * number * 37)
        os.utime(path, (EPOCH - number, EPOCH - number))
    (folder / "boot").mkdir()
    (folder / "boot/vmlinuz-1").write_bytes(b"k" * 100_000)
    (folder / "etc").mkdir()
    (folder / "etc/long").symlink_to("t" * 200)
    os.link(folder / "usr/share/doc/9/text with spaces and 'quotes'", folder / "etc/second")
    # A hook leaves files of today, at another time in each build.
    (folder / "etc/today").write_text("new")
    return folder


def packed(folder: Path) -> Path:
    image = folder / "image.ext4"
    exclude = ["boot/vmlinuz-*"]
    make_ext4(
        tree(folder / "tree"), image, exclude, digest="d", epoch=EPOCH, log_file=folder / "log"
    )
    return image


def test_the_same_tree_gives_the_same_bytes_in_another_folder_at_another_time(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "other").mkdir()
    first = packed(tmp_path / "a")
    time.sleep(1.1)
    second = packed(tmp_path / "other")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["image.ext4", "log", "tree"]


def test_the_size_does_not_depend_on_what_was_in_a_folder_before(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tree(tmp_path / name)
    for number in range(3000):
        (tmp_path / "b/etc" / f"a name that takes some room {number}").touch()
    for path in (tmp_path / "b/etc").glob("a name*"):
        path.unlink()
    sizes = []
    for name in ("a", "b"):
        with open_tree(tmp_path / name) as opened:
            sizes.append(measure(opened))
    assert sizes[0] == sizes[1]


def test_a_folder_of_many_long_names_fits(tmp_path: Path) -> None:
    folder = tmp_path / "tree/names"
    folder.mkdir(parents=True)
    for number in range(1500):
        (folder / f"{number:0250}").symlink_to("x")
    image = tmp_path / "image"
    make_ext4(tmp_path / "tree", image, (), digest="d", epoch=EPOCH, log_file=tmp_path / "log")
    subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)


def test_the_file_system_is_clean_and_holds_the_tree(tmp_path: Path) -> None:
    image = packed(tmp_path)
    subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)
    (tmp_path / "out").mkdir()
    dump = f'rdump / "{tmp_path}/out"'
    subprocess.run(["debugfs", "-R", dump, image], check=True, capture_output=True)
    wanted = {str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*")}
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert found == wanted - {"boot/vmlinuz-1"} | {"lost+found"}
    for name in found - {"lost+found", "etc/long"}:
        source = tmp_path / "tree" / name
        if source.is_file():
            assert (tmp_path / "out" / name).read_bytes() == source.read_bytes()
