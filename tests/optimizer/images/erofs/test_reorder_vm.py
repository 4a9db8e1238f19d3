# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A reordered EROFS, read by the kernel's own driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.builder import store
from optimizer.images.erofs.layout import read_layout
from optimizer.images.reorder import Wanted, reorder
from vmtest.guest import run_guest
from vmtest.kernels import fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]

FORMS = ("plain", "compact", "big-clusters", "full-index", "tail-packing", "fragments", "chunks")
SCRIPT = """
for form in FORMS; do
    mkdir /old /new
    for name in old new; do
        mount -t erofs -o ro,loop /$name-$form /$name
        cd /$name
        find . -type f -print0 | sort -z | xargs -0 sha256sum > /$name.list
        # The size of a directory is that of its listing; inodes get other numbers.
        find . ! -type d -print0 | sort -z | xargs -0 stat -c '%n %f %u %g %h %Y %t:%T %s' \
            >> /$name.list
        find . -type d -print0 | sort -z | xargs -0 stat -c '%n %f %u %g %Y' >> /$name.list
        find . -type l -print0 | sort -z | xargs -0 -n 1 readlink >> /$name.list
        cd /
        umount /$name
    done
    cmp /old.list /new.list
    echo "$form $(wc -l < /new.list)" > $OUT
    rmdir /old /new
done
"""


def test_the_kernel_sees_the_same_tree(
    erofs_images: dict[str, Path], output: Path, tmp_path: Path
) -> None:
    files: dict[str, Path] = {}
    for form in FORMS:
        layout = read_layout(erofs_images[form])
        target = tmp_path / form
        with erofs_images[form].open("rb") as source, target.open("w+b") as stream:
            reorder(layout, source, Wanted(layout.paths[::6], even_if_slower=True), stream)
        files |= {f"old-{form}": erofs_images[form], f"new-{form}": target}
    with store.locked(output / "cache"):
        kernel = fetch_kernel("bookworm", output / "cache")
    result = run_guest(
        kernel,
        SCRIPT.replace("FORMS", " ".join(FORMS)),
        files=files,
        modules=["crc32c_generic", "loop", "erofs"],
    )
    assert result.status == 0, result.console
    counts = dict(line.split() for line in result.output.decode().splitlines())
    assert set(counts) == set(FORMS)
    assert min(map(int, counts.values())) > 600
    said = [line for line in result.console.splitlines() if "erofs" in line]
    harmless = ("mounted with", "EXPERIMENTAL")
    assert not [line for line in said if "(device" in line and not any(map(line.count, harmless))]
