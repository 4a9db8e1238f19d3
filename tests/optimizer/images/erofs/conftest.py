# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images of a small tree in each form that mkfs.erofs of Debian 12 writes."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

FORMS = {
    "plain": [],
    "not-inline": ["-E^inline_data"],
    "compact": ["-zlz4"],
    "big-clusters": ["-zlz4hc,9", "-C65536"],
    "full-index": ["-zlz4", "-Elegacy-compress"],
    "full-index-big": ["-zlz4hc", "-C65536", "-Elegacy-compress"],
    "tail-packing": ["-zlz4hc", "-Eztailpacking", "-C65536"],
    "tail-packing-full": ["-zlz4", "-Eztailpacking,legacy-compress"],
    "fragments": ["-zlz4hc", "-Efragments", "-C65536"],
    "fragments-full": ["-zlz4", "-Efragments,legacy-compress"],
    "dedupe": ["-zlz4hc", "-Ededupe", "-C16384"],
    "chunks": ["--chunksize=4096"],
    "small": ["-zlz4", "-Efragments", "-C8192"],
}


def make_tree(folder: Path) -> None:
    """Make files of all sizes, links, a directory of several blocks, and equal contents."""
    draw = random.Random(1)
    words = [bytes(draw.choices(b"abcdefgh ", k=6)) for _ in range(64)]
    for size in (0, 1, 100, 4095, 4096, 4097, 8192, 70_000, 300_001):
        text = b"".join(draw.choices(words, k=size // 6 + 1))[:size]
        (folder / f"text-{size}").write_bytes(text)
        (folder / f"noise-{size}").write_bytes(draw.randbytes(size))
        (folder / f"mixed-{size}").write_bytes(text[: size // 2] + draw.randbytes(size - size // 2))
    (folder / "same").write_bytes((folder / "text-300001").read_bytes())
    (folder / "link").symlink_to("text-100")
    (folder / "hard").hardlink_to(folder / "text-4097")
    os.mkfifo(folder / "fifo")
    (folder / "many").mkdir()
    for number in range(300):
        (folder / "many" / f"a file with a rather long name {number}").write_text(f"{number}")
    for name in ("text-100", "noise-4096", "many"):
        os.setxattr(folder / name, "user.common", b"value of all")
    os.setxattr(folder / "text-1", "user.only", b"value of one")


@pytest.fixture(scope="session")
def erofs_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("erofs")
    tree = folder / "tree"
    tree.mkdir()
    make_tree(tree)
    found = {}
    for form, options in FORMS.items():
        found[form] = folder / f"{form}.erofs"
        command = ["mkfs.erofs", "-T1000", "-x2", *options, str(found[form]), str(tree)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (form, done.stderr)
    return found
