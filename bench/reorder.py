# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof reorder`` of an image, against copying it and against packing it again.

    .venv/bin/python -m bench.reorder IMAGE ORDER [--repeats N] [--repack]

Each run is a whole process. ``cp`` writes a new file each time (--reflink=never). The runs are
interleaved, so that the ratio does not depend on the machine. With --repack, the squashfs is
also unpacked and packed with a sort file, as without reorder; that needs root privileges for the
owners of the files.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from optimizer.images.image import open_image


@dataclass(frozen=True)
class Took:
    """What a process took: seconds by the clock, and of processors."""

    wall: float
    processor: float


def timed(*command: str | Path) -> Took:
    """Run a command, and measure it with its children."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, used)


def median(runs: list[Took]) -> Took:
    """Return the medians of some runs."""
    return Took(
        statistics.median(run.wall for run in runs),
        statistics.median(run.processor for run in runs),
    )


def repack(image: Path, order: Path, folder: Path) -> Took:
    """Unpack the squashfs of an image and pack it by a sort file."""
    opened = open_image(image)
    place = opened.chosen
    assert place is not None
    tree, sort_file, packed = folder / "tree", folder / "sort", folder / "packed"
    quiet = ("-quiet", "-no-progress")
    timed(sys.executable, "-m", "bootprof", "sort", order, "-o", sort_file)
    compressor = opened.layout().compressor
    one = timed("unsquashfs", *quiet, "-o", str(place.offset_bytes), "-dest", tree, image)
    other = timed("mksquashfs", tree, packed, *quiet, "-comp", compressor, "-sort", sort_file)
    return Took(one.wall + other.wall, one.processor + other.processor)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("image", type=Path)
    parser.add_argument("order", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--repack", action="store_true")
    options = parser.parse_args()
    reorder = (sys.executable, "-m", "bootprof", "reorder", options.image, options.order)
    with tempfile.TemporaryDirectory(dir=options.image.parent) as name:
        folder = Path(name)
        copies, ours = [], []
        for _ in range(options.repeats):
            copies.append(timed("cp", "--reflink=never", options.image, folder / "copy"))
            ours.append(timed(*reorder, "-o", folder / "reordered"))
            (folder / "copy").unlink()
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"{options.image.name}, {options.image.stat().st_size / 1e6:,.0f} MB")
        print("                       clock  processor")
        rows = {"cp": median(copies), "bootprof reorder": median(ours)}
        if options.repack:
            rows["unpack, sort, pack"] = repack(options.image, options.order, folder)
        for title, took in rows.items():
            print(f"{title:<20}{took.wall:8.2f}{took.processor:11.2f} s")
        ratio = statistics.median(a.wall / b.wall for a, b in zip(ours, copies, strict=True))
        print(f"reorder / cp        {ratio:8.1f}")
        print(f"memory of reorder   {memory / 1024:8,.0f} MiB")


if __name__ == "__main__":
    main()
