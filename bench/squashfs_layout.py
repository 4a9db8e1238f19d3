# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The layout reader compared with ``unsquashfs -lln`` and dissect.squashfs, on one image.

    .venv/bin/python -m bench.squashfs_layout [--files N] [--compressor NAME] [--repeats N]

Makes a tree of N small files (default: 200,000) with mksquashfs in a temporary folder. Each reader
runs as a separate process, including interpreter start and imports, so that the comparison with a
program in C is fair. Runs are interleaved, and the figure is the ratio of the medians. dissect runs
once, and reads only the contents of a layout.

``unsquashfs -lln`` reads inodes and names, but no block lists; bootprof and dissect also find every
block of every file.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parent.parent

FILES_A_FOLDER = 100

OURS = """
import resource, sys
from optimizer.images.squashfs.layout import read_layout
layout = read_layout(sys.argv[1])
layout.extent_map
print(len(layout.paths), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
# The library for zstd is the one that bootprof depends on; dissect's own is not installed.
DISSECT = """
import sys
from dissect.squashfs import SquashFS, compression

compression.NativeZSTD.module = "zstandard"
count = 0
with open(sys.argv[1], "rb") as file:
    squashfs = SquashFS(file)
    waiting = [("/", squashfs.root)]
    while waiting:
        path, node = waiting.pop()
        count += 1
        node.uid, node.gid, node.mode, node.size, node.inode_number
        if node.is_dir():
            waiting += [(path + "/" + child.name, child) for child in node.iterdir()]
        elif node.is_symlink():
            node.link
        elif node.is_file():
            node.block_list
            if node.header.fragment != 0xFFFFFFFF:
                squashfs._lookup_fragment(node.header.fragment)
print(count)
"""


def make_image(folder: Path, files: int, compressor: str) -> Path:
    """Make a squashfs with this many small files, 100 in a folder."""
    source = random.Random(2007)
    root = folder / "root"
    for number in range(-(-files // FILES_A_FOLDER)):
        place = root / "usr" / "share" / f"package-{number % 97}" / f"part-{number}"
        place.mkdir(parents=True)
        for index in range(min(FILES_A_FOLDER, files - number * FILES_A_FOLDER)):
            name = f"{source.choice(('lib', 'image', 'module', 'icon'))}-{index}.{number % 13}"
            (place / name).write_bytes(source.randbytes(source.randrange(1, 200)))
    image = folder / "image.squashfs"
    command = ["mksquashfs", str(root), str(image), "-comp", compressor, "-b", "128K"]
    subprocess.run([*command, "-no-progress"], check=True, capture_output=True)
    return image


def timed(command: list[str]) -> tuple[float, str]:
    """Run a command; return the wall time in seconds and the last line that it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=TOP)
    return time.perf_counter() - started, done.stdout.rstrip().rpartition("\n")[2]


def main() -> int:
    """Print the times and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--compressor", default="zstd")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-dissect", action="store_true", help="leave out the slow one")
    options = parser.parse_args()
    ours: list[float] = []
    listings: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bootprof-bench-") as folder:
        image = make_image(Path(folder), options.files, options.compressor)
        answer = ""
        for _ in range(options.repeats):
            seconds, answer = timed([sys.executable, "-c", OURS, str(image)])
            ours.append(seconds)
            listings.append(timed(["unsquashfs", "-lln", str(image)])[0])
        paths, memory_mib = answer.split()
        print(f"{paths} paths, {options.compressor}, {image.stat().st_size:,} bytes")
        mine, listing = statistics.median(ours), statistics.median(listings)
        print(f"bootprof         {mine:7.2f} s  ({memory_mib} MiB at most)")
        print(f"unsquashfs -lln  {listing:7.2f} s  {listing / mine:6.2f} x the time of bootprof")
        if not options.no_dissect:
            seconds, count = timed([sys.executable, "-c", DISSECT, str(image)])
            print(
                f"dissect.squashfs {seconds:7.2f} s  {seconds / mine:6.2f} x the time of bootprof"
            )
            if count != paths:
                print(f"dissect found {count} paths", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
