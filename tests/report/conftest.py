# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A real image, a boot of it, and the profile of that."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation

BLOCK = 131072


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A squashfs with two files of two blocks and one that is all fragment."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root, path = tmp_path / "root", tmp_path / "live.squashfs"
    (root / "etc").mkdir(parents=True)
    random = np.random.default_rng(1)
    (root / "hot").write_bytes(random.bytes(2 * BLOCK))
    (root / "cold").write_bytes(random.bytes(2 * BLOCK))
    (root / "etc" / "small").write_bytes(random.bytes(1000))
    subprocess.run(["mksquashfs", root, path, "-no-progress"], check=True, capture_output=True)
    return path


@pytest.fixture
def profile(image: Path, tmp_path: Path) -> Path:
    """A profile of a boot that read all of the image but its first block, and needed /hot."""
    folder = tmp_path / "profile"
    folder.mkdir()
    size_bytes = image.stat().st_size
    reads = np.array([(5, BLOCK, size_bytes - BLOCK), (10**9, 0, 4096)], READ_DTYPE)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    trace = BlockTrace(reads, image.name, size_bytes, 2 * 10**9, digest)
    with (folder / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, trace)
    events = [
        (10**9, 1, b"init", b"squashfs", b"/hot"),
        (2 * 10**9, 7, b"sh", b"squashfs", b"/hot"),
        (3 * 10**9, 7, b"sh", b"squashfs", b"/etc/small"),
        (4 * 10**9, 7, b"sh", b"proc", b"/proc/cmdline"),
    ]
    rows = [
        Event(time_ns, pid, command, Operation.OPEN, 0, 0, 0, 1, 1, file_system, path)
        for time_ns, pid, command, file_system, path in events
    ]
    with (folder / "bootlog.events").open("wb") as stream:
        write_events(stream, Bootlog.of({"backend": "test"}, rows, lost=3))
    described = {"image": str(image), "image_sha256": digest}
    (folder / "profile.json").write_text(json.dumps(described))
    return folder
