# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A reordered squashfs, read by the kernel's own driver."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bootprof.builder import store
from optimizer.images.reorder import Wanted, reorder
from optimizer.images.squashfs.layout import read_layout
from vmtest.guest import run_guest
from vmtest.kernels import fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]

SCRIPT = """
mkdir /old /new
for name in old new; do
    mount -t squashfs -o ro,loop /$name.squashfs /$name
    cd /$name
    echo "=== $name" > $OUT
    find . -type f -print0 | sort -z | xargs -0 sha256sum > $OUT
    # Name, type, mode, owner, links, time, inode and device; the size of a directory is that of its
    # listing, which depends on where inodes lie.
    find . ! -type d -print0 | sort -z | xargs -0 stat -c '%n %f %u %g %h %Y %i %t:%T %s' > $OUT
    find . -type d -print0 | sort -z | xargs -0 stat -c '%n %f %u %g %Y %i' > $OUT
    find . -type l -print0 | sort -z | xargs -0 -n 1 readlink > $OUT
    # Every name is found from its directory, and each directory lists what it has.
    for folder in many many/*1; do ls -a $folder > $OUT; done
    cd /
done
"""


def test_the_kernel_sees_the_same_tree(sample_tree: Path, output: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["cp", "--archive", sample_tree, tree], check=True)
    os.link(tree / "text-4097", tree / "level0/hard-link")
    # Names that a shell script can hand on.
    subprocess.run(["rm", "-r", tree / "names"], check=True)
    (tree / "empty directory").rename(tree / "empty")
    image, target = tmp_path / "old.squashfs", tmp_path / "new.squashfs"
    subprocess.run(
        ["mksquashfs", tree, image, "-quiet", "-no-progress", "-b", "32K", "-comp", "zstd"],
        check=True,
    )
    layout = read_layout(image)
    wanted = Wanted(layout.paths[:: len(layout.paths) // 300])
    with image.open("rb") as source, target.open("w+b") as stream:
        reorder(layout, source, wanted, stream)
    with store.locked(output / "cache"):
        kernel = fetch_kernel("bookworm", output / "cache")
    result = run_guest(
        kernel,
        SCRIPT,
        files={"old.squashfs": image, "new.squashfs": target},
        modules=["loop", "squashfs"],
    )
    assert result.status == 0, result.console
    old, new = result.output.partition(b"=== new\n")[::2]
    assert len(new.splitlines()) > 4000
    assert old.removeprefix(b"=== old\n") == new
    assert "SQUASHFS error" not in result.console
