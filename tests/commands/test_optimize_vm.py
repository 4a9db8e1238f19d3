# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The whole of ``bootprof optimize`` on an ISO that nobody prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.any_image import inside
from bench.images.__main__ import build
from bootprof.rewrite import verify
from optimizer.formats.blocktrace import read_block_trace
from optimizer.images.image import open_image

pytestmark = [pytest.mark.vm, pytest.mark.images]
TOP = Path(__file__).parents[2]


def jumps(profile: Path) -> int:
    """Return the number of non-contiguous reads."""
    with (profile / "blocktrace.tsv").open("rb") as stream:
        reads = read_block_trace(stream, str(profile)).reads
    begin = reads["offset_bytes"].astype(np.int64)
    end = begin + reads["length_bytes"].astype(np.int64)
    return int(np.count_nonzero(begin[1:] != end[:-1]))


def test_a_dracut_image_seeks_less_with_all_that_is_added(tmp_path: Path, output: Path) -> None:
    image = output / "images/dracut.iso"
    if not image.exists():
        build("dracut", image.parent)
    target = tmp_path / "faster.iso"
    command = [sys.executable, "-m", "bootprof", "optimize", str(image), "-o", str(target)]
    command += ["--readahead", "--quick-probes", "--cache", str(output / "cache")]
    command += ["--timeout", "850"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = (target.with_suffix(".optimize") / name for name in ("before", "after"))
    # The kernel and udev find the medium, and its label, by its beginning.
    assert jumps(after) * 3 < jumps(before)
    assert inside(target, after)[0] * 3 < inside(image, before)[0]
    files = open_image(target)
    place = files.chosen
    assert place is not None
    squashfs = tmp_path / "squashfs"
    with target.open("rb") as stream:
        stream.seek(place.offset_bytes)
        squashfs.write_bytes(stream.read(place.size_bytes))
    verify(open_image(image), squashfs)
