# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Slowdown of the emulated processor compared with the real one, for the work of a boot.

    .venv/bin/python -m bench.processor [--rounds N]

The same static program runs here and in a guest under TCG, with the options of a boot. Each kind of
work is timed separately. The last line is their geometric mean, which bench/boot.py uses for
--drive-scale: a drive that is slower by the same factor takes the same share of the boot as on a
real machine.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from bootprof.builder import store
from vmtest.guest import run_guest
from vmtest.kernels import fetch_kernel

TOP = Path(__file__).parent.parent

KINDS = ("sorting and hashing", "starting a process", "opening and reading", "touching pages")


def main() -> int:
    """Run the program at both places, and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each kind of work (10)")
    parser.add_argument("--output", type=Path, default=TOP / "out", help="where the cache is")
    options = parser.parse_args()
    cache = options.output / "cache"
    with store.opened(cache):
        kernel = fetch_kernel("bookworm", cache)
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / "processor"
        source = TOP / "bench/processor.c"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
        here = subprocess.run(
            [program, str(options.rounds)], capture_output=True, text=True, check=True
        ).stdout
        run = run_guest(
            kernel,
            f"/bin/processor {options.rounds} > $OUT\n",
            files={"bin/processor": program},
        )
    ratios = []
    guest = run.output.decode()
    for kind, real, emulated in zip(KINDS, here.split(), guest.split(), strict=True):
        ratio = float(emulated) / float(real)
        ratios.append(ratio)
        print(
            f"{kind}: {float(real) / 1e6:.2f} ms here, {float(emulated) / 1e6:.2f} ms emulated, "
            f"{ratio:.1f}x"
        )
    print(f"mean: {math.prod(ratios) ** (1 / len(ratios)):.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
