# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree in several squashfs images: none too large, nothing twice, nothing lost."""

import os
import random
from itertools import chain
from pathlib import Path

from bootprof.builder import parts
from bootprof.builder.config import Squashfs
from bootprof.builder.roottree import open_tree
from bootprof.builder.squashfs import make_squashfs
from tests.trees import unpacked


def tree(folder: Path) -> Path:
    source = random.Random(1)
    for number in range(40):
        path = folder / f"usr/lib/{number % 7}/file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(50_000))
    for name in ("a*b", "a?b", "[ab]", "back\\slash", "a+(b)", "!x", "@(a|b)"):
        (folder / "usr" / name).write_bytes(source.randbytes(50_000))
    os.link(folder / "usr/lib/0/file 0", folder / "usr/second name")
    (folder / "usr/link").symlink_to("nowhere")
    return folder


def test_an_image_needs_as_many_parts_as_its_size_asks_for() -> None:
    counts = [parts.count_for(size, 1000) for size in (0, 1000, 1001, 1600, 1601, 8000)]
    assert counts == [1, 1, 2, 2, 3, 10]


def test_the_parts_together_are_the_tree(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    with open_tree(root) as opened:
        spread = parts.spread(opened, 3, ["usr/lib/6/file 6", "usr/gone"])
    assert spread[0][0] == "usr/lib/6/file 6"
    found: dict[str, tuple[object, ...]] = {}
    for number, part in enumerate(spread):
        others = parts.patterns([path for path in chain(*spread) if path not in part])
        image = tmp_path / f"{number}.squashfs"
        make_squashfs(
            Squashfs(options=("-all-root",)),
            root,
            image,
            sort=None,
            epoch=1_700_000_000,
            log_file=tmp_path / "log",
            progress=lambda _: None,
            leave_out=others,
        )
        # 48 files of 50 kB that do not compress, over three images.
        assert image.stat().st_size < 900_000
        here = unpacked(image, tmp_path / f"out{number}")
        files = {name for name in here if not (tmp_path / f"out{number}" / name).is_dir()}
        assert files == set(part)
        assert not files & found.keys()
        found |= {name: here[name] for name in files}
    wanted = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert found.keys() == wanted
