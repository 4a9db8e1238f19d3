# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images that no part of this project built, and what the tests of the backends share."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootprof.imports import Source, load
from optimizer.formats.events import Bootlog


@pytest.fixture(scope="session")
def foreign_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system: four files of two blocks each, and small ones."""
    root = tmp_path_factory.mktemp("foreign") / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr" / "bin").mkdir(parents=True)
    source = random.Random(2)
    for name in ("first", "second", "third", "fourth"):
        (root / "usr" / "bin" / name).write_bytes(source.randbytes(2 * 65536))
    for number in range(4):
        (root / "etc" / f"small{number}").write_bytes(source.randbytes(5000))
    return root


@pytest.fixture(scope="session")
def foreign_squashfs(foreign_root: Path) -> Path:
    """That root as another tool chain would make it: gzip, blocks of 64 KiB, no fragments."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    image = foreign_root.parent / "root.squashfs"
    options = ["-comp", "gzip", "-b", "64K", "-no-fragments", "-no-exports", "-no-xattrs"]
    command = ["mksquashfs", str(foreign_root), str(image), "-no-progress", *options]
    subprocess.run(command, check=True, capture_output=True)
    return image


@pytest.fixture(scope="session")
def foreign_iso(foreign_squashfs: Path, foreign_root: Path) -> Path:
    """An ISO with short names only (no Rock Ridge, no Joliet) around that squashfs."""
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")
    tree = foreign_root.parent / "iso"
    (tree / "CASPER").mkdir(parents=True)
    shutil.copy(foreign_squashfs, tree / "CASPER" / "ROOT.SQF")
    (tree / "CASPER" / "VMLINUZ").write_bytes(random.Random(3).randbytes(100_000))
    image = foreign_root.parent / "foreign.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "--norock", "-o", str(image), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    return image


def fake_kernel(release: str = "6.1.0-37-amd64") -> bytes:
    """Return what begins like a bzImage."""
    content = bytearray(4096)
    content[0x202:0x206] = b"HdrS"
    content[0x20E:0x210] = (0x400).to_bytes(2, "little")
    text = f"{release} (builder@host) #1".encode()
    content[0x600 : 0x600 + len(text)] = text
    return bytes(content)


def imported(
    name: str, *contents: bytes, image: Path | None = None, files: Sequence[str] = ("log",)
) -> Bootlog:
    """Return the bootlog that an import makes of files of such contents and names."""
    sources = [
        Source(file, io.BytesIO(content)) for file, content in zip(files, contents, strict=True)
    ]
    return load(name).bootlog(sources, image)
