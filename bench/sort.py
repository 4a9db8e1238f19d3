# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof sort`` compared with the Perl one-liner of 2007, on the same list, as whole processes.

    .venv/bin/python -m bench.sort [--repeats N]

The list has 1,000,000 lines with 196,000 distinct paths (what a long desktop boot gives when
every open is a line). Runs of both are interleaved, so that a busy machine slows both; the figure
is the median of the ratios of neighbouring runs. The outputs are compared too: the order of paths
must be the same.

The flaws of the one-liner are checked too: its priorities leave the range of mksquashfs after
32,767 + 32,769 files, and it escapes nothing.
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

LINES = 1_000_000
DISTINCT = 196_000
# The original with uniq and map_index of MDK::Common written out; it printed the priority first.
ONE_LINER = r"""
my %seen;
my $i = 0;
print map { (32767 - $i++) . " $_" }
    grep { !m,^/(?:dev|proc|sys|live/distrib), }
    grep { !$seen{$_}++ } <>;
"""


def write_list(path: Path) -> None:
    """Write a bootlog whose paths are as long and as deep as those of a Debian desktop."""
    source = random.Random(2007)
    words = ("lib", "share", "python3", "locale", "icons", "x86_64-linux-gnu", "systemd", "gtk-4.0")
    folders = [
        "/usr/" + "/".join(f"{source.choice(words)}{source.randrange(40)}" for _ in range(depth))
        for depth in source.choices((1, 2, 3, 4), k=8000)
    ]
    folders += ["/proc/sys/kernel", "/sys/devices/pci0000:00", "/dev/input"]
    paths = [
        f"{source.choice(folders)}/{source.choice(words)}-{number}.so.{number % 9}"
        for number in range(DISTINCT)
    ]
    lines = paths + source.choices(paths, k=LINES - DISTINCT)
    source.shuffle(lines)
    path.write_text("\n".join(lines) + "\n")


def timed(command: list[str], source: Path, target: Path) -> float:
    """Run a command from one file into another; return the wall time in seconds."""
    with source.open("rb") as stdin, target.open("wb") as stdout:
        started = time.perf_counter()
        subprocess.run(command, stdin=stdin, stdout=stdout, check=True)
        return time.perf_counter() - started


def compare_outputs(ours: Path, original: Path) -> tuple[int, int]:
    """Check that both list the same paths in the same order.

    Returns:
        Lowest priority of ours, and of the original.
    """
    mine = [line.rsplit(b" ", 1) for line in ours.read_bytes().splitlines()]
    theirs = [line.split(b" ", 1) for line in original.read_bytes().splitlines()]
    if [b"/" + path for path, _ in mine] != [path for _, path in theirs]:
        sys.exit("the two orders differ")
    return int(mine[-1][1]), int(theirs[-1][0])


def main() -> None:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="default: %(default)s")
    repeats = parser.parse_args().repeats
    commands = {
        "bootprof sort": [sys.executable, "-m", "bootprof", "sort", "--quiet"],
        "Perl one-liner": ["perl", "-e", ONE_LINER],
    }
    with tempfile.TemporaryDirectory() as folder:
        bootlog = Path(folder) / "bootlog.list"
        write_list(bootlog)
        outputs = {name: Path(folder) / name for name in commands}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for repeat in range(repeats):
            # The one that goes first changes, so that neither always finds warm caches.
            for name in list(commands)[:: 1 if repeat % 2 else -1]:
                seconds[name].append(timed(commands[name], bootlog, outputs[name]))
        lowest = compare_outputs(*outputs.values())
    ours, original = seconds.values()
    print(f"{LINES:,} lines, {DISTINCT:,} distinct paths, median of {repeats} interleaved runs")
    for (name, times), priority in zip(seconds.items(), lowest, strict=True):
        print(
            f"  {name:15} {statistics.median(times):.2f} s "
            f"({min(times):.2f} to {max(times):.2f}), lowest priority {priority}"
        )
    ratios = [theirs / mine for mine, theirs in zip(ours, original, strict=True)]
    print(
        f"  ratio: bootprof sort is {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
