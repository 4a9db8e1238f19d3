# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead never stalls a boot: a slow drive, read errors, another image, a cut one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootprof.cli import main
from bootprof.process import program, stop, wait_for
from optimizer.images.image import open_image
from tests.builder.media.booting import Booted, Step, attached, boot, build, configure, settings

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "readahead",
    """
[readahead]
what = "tables"
""",
)
# A boot that fails on its own restarts after panic=5; one that hangs would take this.
LONGEST_SECONDS = 240


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readahead")
    (iso,) = build(configure(folder, SETTINGS), output, "--no-sort")
    return iso


@contextlib.contextmanager
def served(image: Path, folder: Path, *options: str) -> Iterator[list[str]]:
    """Serve an image through filters of nbdkit; return what attaches it as a disc."""
    path = folder / "nbd"
    words: list[str | Path] = [program("nbdkit"), "--foreground", "--readonly", "--unix", path]
    filters = [option for option in options if option.startswith("--filter")]
    settings = [option for option in options if not option.startswith("--filter")]
    with (folder / "nbdkit.log").open("wb") as log:
        child = subprocess.Popen([*words, *filters, "file", image, *settings], stderr=log)
        try:
            assert wait_for(path.exists, 20)
            drive = f"file=nbd+unix:///?socket={path},format=raw,media=cdrom,readonly=on"
            yield ["-drive", drive]
        finally:
            stop(child)


def started(found: Booted) -> bool:
    return found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"


def test_a_slow_drive_only_makes_a_boot_slow(image: Path, tmp_path: Path) -> None:
    with served(image, tmp_path, "--filter=delay", "rdelay=3ms") as drive:
        assert started(boot(*drive, folder=tmp_path))


def test_a_boot_with_read_errors_ends_by_itself(image: Path, tmp_path: Path) -> None:
    # From the kernel on: a boot loader that cannot read waits for a key.
    trigger = tmp_path / "fail"
    options = ("--filter=error", "error-pread-rate=5%", f"error-file={trigger}", "error=EIO")
    start = Step(b"Run /init as init process", lambda *_: trigger.touch())
    before = time.monotonic()
    # Where a read fails again and again, there is no root file system: panic=5 restarts.
    with served(image, tmp_path, *options) as drive, contextlib.suppress(AssertionError):
        boot(*drive, folder=tmp_path, steps=[start])
    assert time.monotonic() - before < LONGEST_SECONDS
    assert b"EIO" in (tmp_path / "nbdkit.log").read_bytes()


def test_the_list_of_another_image_is_not_read(image: Path, tmp_path: Path) -> None:
    order, other = tmp_path / "order", tmp_path / "other.iso"
    paths = open_image(image).layout().paths
    order.write_bytes(b"".join(path + b"\n" for path in paths[100:3000:10] if b"\n" not in path))
    assert main(["reorder", str(image), str(order), "-o", str(other)]) == 0
    assert started(boot(*attached(other, "cd"), folder=tmp_path))


def test_a_boot_from_an_image_that_is_cut_ends_by_itself(image: Path, tmp_path: Path) -> None:
    place = open_image(image).chosen
    assert place is not None
    cut = tmp_path / "cut.iso"
    content = image.read_bytes()[: place.offset_bytes + place.size_bytes * 3 // 4]
    cut.write_bytes(content[: len(content) // 2048 * 2048])
    before = time.monotonic()
    with pytest.raises(AssertionError):
        boot(*attached(cut, "cd"), folder=tmp_path)
    assert time.monotonic() - before < LONGEST_SECONDS
