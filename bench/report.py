# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Time and size of the report of ``bootprof compare`` for a long boot.

    .venv/bin/python -m bench.report [--reads N] [--repeats N]

Two profiles are generated: random reads of a 4 GB image, and a bootlog with the same number of
events of 2,000 processes and 50,000 files. The report is written for a hundredth of them and for
all, alternately in one process; the medians of the times, the sizes, and the ratios of both are
printed. There is no image, because the cost of its map depends on its size and not on the reads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bootprof.commands.inputs import choose_drives, load_build
from bootprof.report.comparison import compare
from bootprof.report.details import gather
from bootprof.report.page import write_report
from optimizer.drives.names import COMPARED_DRIVES
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import EVENT_DTYPE, Bootlog, Operation

IMAGE_BYTES = 4 << 30
BOOT_NS = 120 * 10**9
PROCESSES = 2_000
FILES = 50_000


def write_profile(folder: Path, count: int, seed: int) -> None:
    """Write a profile with this many reads and events."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    reads = np.zeros(count, READ_DTYPE)
    reads["time_ns"] = np.sort(random.integers(0, BOOT_NS, count))
    reads["offset_bytes"] = random.integers(0, IMAGE_BYTES // 4096, count) * 4096
    reads["length_bytes"] = 4096
    with (folder / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, BlockTrace(reads, "gone.iso", IMAGE_BYTES, BOOT_NS))
    events = np.zeros(count, EVENT_DTYPE)
    events["time_ns"] = reads["time_ns"]
    events["pid"] = 1 + random.integers(0, PROCESSES, count)
    events["operation"] = Operation.OPEN
    events["path"] = random.integers(0, FILES, count)
    paths = [b"/usr/share/folder%d/file-%d" % (number % 300, number) for number in range(FILES)]
    with (folder / "bootlog.events").open("wb") as stream:
        write_events(
            stream, Bootlog({"backend": "bench"}, 0, events, [b"init"], [b"overlay"], paths)
        )


def timed(profiles: list[Path], target: Path) -> float:
    """Write the report of two profiles; return the seconds that it took."""
    started = time.perf_counter()
    drives = choose_drives(COMPARED_DRIVES)
    comparison = compare([load_build(profile) for profile in profiles], drives)
    details = [gather(build, drives) for build in comparison.builds]
    write_report(comparison, details, target)
    return time.perf_counter() - started


def main() -> None:
    """Make the profiles, time both reports, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=300_000, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    counts = (options.reads // 100, options.reads)
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for count in counts:
            for seed in (1, 2):
                write_profile(top / f"{count}-{seed}", count, seed)
        seconds: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(options.repeats):
            for count in counts:
                profiles = [top / f"{count}-{seed}" for seed in (1, 2)]
                seconds[count].append(timed(profiles, top / f"{count}.html"))
        sizes = {count: (top / f"{count}.html").stat().st_size for count in counts}
    few, many = counts
    medians = {count: statistics.median(seconds[count]) for count in counts}
    for count in counts:
        print(f"2 x {count:>9,} reads: {medians[count]:6.2f} s  {sizes[count] / 1e3:7.0f} kB")
    print(
        f"ratio: {medians[many] / medians[few]:.1f} in time, {sizes[many] / sizes[few]:.1f} in size"
    )


if __name__ == "__main__":
    main()
