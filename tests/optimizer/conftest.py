# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images that the tests of the squashfs reader build for themselves."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# Makes a squashfs of a directory with the given options of mksquashfs.
MakeImage = Callable[..., Path]

STRANGE_NAMES = [
    b"with space",
    b"new\nline",
    b"tab\tand\\backslash",
    rb"systemd-\x2descaped",
    b"not utf-8 \xff\xfe",
    "grüße".encode(),
    b"-dash",
    b"n" * 255,
]


@pytest.fixture(scope="session")
def make_image(tmp_path_factory: pytest.TempPathFactory) -> MakeImage:
    """Return a function from a directory and options of mksquashfs to the path of an image."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")

    def make(source: Path, *options: str) -> Path:
        image = tmp_path_factory.mktemp("image") / "image.squashfs"
        command = ["mksquashfs", str(source), str(image), "-noappend", "-no-progress", *options]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return image

    return make


@pytest.fixture(scope="session")
def sample_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every kind of file that can be made without root.

    Sizes stand around the limits of 4 KiB, 128 KiB and 1 MiB blocks; contents are compressible,
    random, sparse and duplicate; one directory is long enough for an index.
    """
    root = tmp_path_factory.mktemp("tree")
    source = random.Random(2007)
    for size in (0, 1, 4095, 4096, 4097, 131071, 131072, 131073, 400_000, 1_048_577, 2_500_000):
        (root / f"random-{size}").write_bytes(source.randbytes(size))
        (root / f"text-{size}").write_bytes((b"all work and no play %d\n" % size * size)[:size])
    (root / "zeros").write_bytes(bytes(300_000))
    with (root / "sparse").open("wb") as file:
        file.write(b"head")
        file.seek(3_000_000)
        file.write(b"tail")
    (root / "duplicate-of-random-400000").write_bytes((root / "random-400000").read_bytes())
    (root / "duplicate-of-text-1").write_bytes((root / "text-1").read_bytes())

    deep = root.joinpath(*(f"level{level}" for level in range(12)))
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("the bottom")
    (root / "empty directory").mkdir()
    many = root / "many"
    many.mkdir()
    for index in range(1500):
        (many / f"entry-{index:05}-{index * 7919 % 10007}").write_bytes(b"%d" % index)

    names = root / "names"
    names.mkdir()
    for name in STRANGE_NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(names), name))).write_bytes(name)  # noqa: PTH118

    special = root / "special"
    special.mkdir()
    (special / "link").symlink_to("../text-4097")
    (special / "dangling").symlink_to(os.fsdecode(b"/no/such\nplace\xff" + b"/x" * 1000))
    os.mkfifo(special / "fifo", 0o640)
    os.mknod(special / "socket", stat.S_IFSOCK | 0o600)
    os.link(root / "random-4097", special / "hard link")
    os.link(root / "random-4097", deep / "other hard link")
    for number, path in enumerate(sorted(root.rglob("*"))):
        if not path.is_symlink():
            os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    return root
