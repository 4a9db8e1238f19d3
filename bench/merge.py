# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof merge`` of 1,000 bootlogs of 5,000 files, as a whole process.

    .venv/bin/python -m bench.merge [--profiles N] [--files N] [--repeats N]

Each bootlog shares most of its files with the others, in a different order. The time is compared
with that of awk adding up the ranks of each path, without a merged order or a report. Runs are
interleaved, so that the ratio does not depend on the machine.
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


def write_profiles(folder: Path, profiles: int, files: int) -> list[str]:
    """Write bootlogs that agree roughly; return their paths."""
    source = random.Random(2007)
    known = [
        f"/usr/lib/python3/dist-packages/module{n % 311}/file-{n}.py" for n in range(files * 2)
    ]
    names = []
    for number in range(profiles):
        # Each file is moved by up to a tenth of the list; half of all files are in each profile.
        order = sorted(range(files * 2), key=lambda n: n + source.randrange(files // 5))
        chosen = [known[n] for n in order if n < files * 0.9 or source.random() < 0.09][:files]
        path = folder / f"{number:04}.list"
        path.write_text("\n".join(chosen) + "\n")
        names.append(str(path))
    return names


def timed(command: list[str]) -> float:
    """Run a command; return the wall time in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--profiles", type=int, default=1000)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = write_profiles(Path(folder), options.profiles, options.files)
        lines = sum(Path(name).read_bytes().count(b"\n") for name in names)
        ours, theirs = [], []
        for _ in range(options.repeats):
            ours.append(timed([sys.executable, "-m", "bootprof", "merge", *names]))
            theirs.append(timed(["awk", "{ seen[$0] += FNR } END { print length(seen) }", *names]))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{len(names):,} bootlogs, {lines:,} lines")
        print(f"bootprof merge            {statistics.median(ours):6.2f} s (goal: below 5)")
        print(f"awk, sum of ranks only    {statistics.median(theirs):6.2f} s")
        print(f"merge / awk               {ratio:6.2f}")


if __name__ == "__main__":
    main()
