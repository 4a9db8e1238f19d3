# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Measure how far a drive's head travels while a live medium is copied in several orders.

    python -m bench.install_order ISO

The medium is a loop device that bypasses the page cache of a file, with what the ISO holds on an
ext4 file system, as on a stick (not each kernel has iso9660). The kernel's tracepoint
block_rq_issue tells the reads of that device. The root is mounted from it as live-boot does.
Its files are copied as ``bootprof-live install`` does (``windows``), by their positions only, and
by folders, as ``cp -a`` and ``rsync -a`` do. Needs root and tracefs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bootprof.process import run
from bootprof.sources import LIVE_PARTS
from optimizer.drives.seek import totals_of
from optimizer.images.image import open_image
from optimizer.spans import SPAN

TRACING = Path("/sys/kernel/tracing")
ISSUED = re.compile(rb"block_rq_issue: (\d+),(\d+) R\w* \d+ \(.*?\) (\d+) \+ (\d+) ")
PROGRAM = LIVE_PARTS / "install-system.sh"
ORDERS = {
    # As an installation: the sizes are summed up first, which reads all tables.
    "windows": "find . -xdev -printf %s >/dev/null; . {program}; paths_in_order |"
    " tar --create --file=- --no-recursion --files-from=-",
    "by position": "cut -f 3 {order} | tar --create --file=- --no-recursion --files-from=-",
    "by folder": "tar --create --file=- --one-file-system .",
}


def attach(image: Path, *options: str) -> str:
    """Make a loop device."""
    command = ["losetup", "--find", "--show", "--read-only", *options, str(image)]
    return run(command).decode().strip()


def make_medium(iso: Path, folder: Path) -> Path:
    """Write the files of an ISO to an ext4 file system."""
    tree, image = folder / "tree", folder / "medium.img"
    for name in ("live", "install"):
        run(["xorriso", "-osirrox", "on", "-indev", iso, "-extract", f"/{name}", tree / name])
    with image.open("wb") as stream:
        stream.truncate(iso.stat().st_size * 5 // 4 + (64 << 20))
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, image])
    return image


def copy(image: Path, commands: str, folder: Path) -> tuple[float, bytes]:
    """Copy all files; return how long it took (seconds), and what the kernel traced."""
    medium, mount = folder / "medium", folder / "root"
    instance = TRACING / "instances/bootprof-install-order"
    outer, inner = attach(image, "--direct-io=on"), ""
    try:
        subprocess.run(["mount", "-o", "ro", outer, medium], check=True)
        inner = attach(medium / "live/filesystem.squashfs")
        subprocess.run(["mount", "-o", "ro", inner, mount], check=True)
        instance.mkdir(exist_ok=True)
        (instance / "buffer_size_kb").write_text("32768")
        event = instance / "events/block/block_rq_issue"
        minor = int(outer.removeprefix("/dev/loop"))
        (event / "filter").write_text(f"dev == {(7 << 20) | minor}")
        (event / "enable").write_text("1")
        begin = time.monotonic()
        # To a pipe: tar reads nothing if it writes to /dev/null.
        settings = f"boot_files={medium}/install kernel_file={medium}/live/vmlinuz"
        script = f"{settings}; {{ {commands}; }} | cat > /dev/null"
        subprocess.run(["sh", "-c", script], cwd=mount, check=True)
        took = time.monotonic() - begin
        (event / "enable").write_text("0")
        return took, (instance / "trace").read_bytes()
    finally:
        subprocess.run(["umount", mount], check=False)
        for device in filter(None, (inner,)):
            subprocess.run(["losetup", "--detach", device], check=False)
        subprocess.run(["umount", medium], check=False)
        subprocess.run(["losetup", "--detach", outer], check=False)
        if instance.exists():
            instance.rmdir()


def main() -> None:
    """Print a line for each order."""
    iso = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (folder / "medium", folder / "root"):
            path.mkdir()
        paths = open_image(iso).layout().paths_by_position()
        medium = make_medium(iso, folder)
        order = folder / "order"
        order.write_bytes(b"".join(b"-\t-\t." + path + b"\n" for path, *_ in paths))
        print(f"{'order':12} {'reads':>7} {'MB':>7} {'seeks':>7} {'head travel MB':>15} {'s':>6}")
        for title, commands in ORDERS.items():
            took, trace = copy(medium, commands.format(order=order, program=PROGRAM), folder)
            found = [(int(at) * 512, int(count) * 512) for *_, at, count in ISSUED.findall(trace)]
            totals = totals_of(np.array(found, dtype=SPAN))
            megabytes, travel = totals.bytes / 1e6, totals.seek_distance_bytes / 1e6
            seeks = totals.noncontiguous_reads
            print(
                f"{title:12} {totals.reads:7} {megabytes:7.1f} {seeks:7} {travel:15.1f} {took:6.1f}"
            )


if __name__ == "__main__":
    main()
