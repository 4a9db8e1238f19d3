# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""ISO images that the tests of this folder build for themselves."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MakeImage = Callable[..., Path]
MakeIso = Callable[..., Path]

LONG_NAME = "initrd.img-6.1.0-50-amd64 of some (rather) long name with spaces and ümlauts"


@pytest.fixture(scope="package")
def squashfs(make_image: MakeImage, sample_tree: Path) -> Path:
    return make_image(sample_tree, "-b", "32K")


@pytest.fixture(scope="package")
def iso_tree(tmp_path_factory: pytest.TempPathFactory, squashfs: Path) -> Path:
    root = tmp_path_factory.mktemp("iso")
    (root / "live").mkdir()
    shutil.copy(squashfs, root / "live" / "filesystem.squashfs")
    (root / "boot").mkdir()
    source = random.Random(9660)
    (root / "boot" / "vmlinuz").write_bytes(source.randbytes(70_001))
    (root / "boot" / LONG_NAME).write_bytes(source.randbytes(12_345))
    (root / "boot" / "eltorito.img").write_bytes(source.randbytes(4096))
    (root / "boot" / "empty").write_bytes(b"")
    (root / "boot" / "link").symlink_to("vmlinuz")
    os.link(root / "boot" / "vmlinuz", root / "boot" / "hard link")
    deep = root.joinpath(*(f"level{level}" for level in range(11)))
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(source.randbytes(3000))
    return root


@pytest.fixture(scope="package")
def make_iso(tmp_path_factory: pytest.TempPathFactory, iso_tree: Path) -> MakeIso:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")

    def make(*options: str, root: Path = iso_tree) -> Path:
        image = tmp_path_factory.mktemp("made") / "image.iso"
        command = ["xorriso", "-as", "mkisofs", "-quiet", *options, "-o", str(image), str(root)]
        subprocess.run(command, check=True, capture_output=True)
        return image

    return make
