# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Let a kernel patch its own functions in a loop, without bootprof: does the emulator lock up?

    python -m vmtest.patching --suite bookworm --accelerator tcg --cycles 300

A cycle switches ftrace on and off for the functions that the kernel module hooks, while processes
open files. docs/kmod.md ("Lockups of the emulator") has the counts. To try another QEMU, put it
first in PATH.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bootprof.builder import store
from bootprof.process import run
from bootprof.progress import note, step
from vmtest.guest import EMULATORS, complaints, run_guest
from vmtest.kernels import fetch_kernel

WORKLOAD = Path(__file__).parents[1] / "tests/kmod/workload.c"
FUNCTIONS = "fd_install security_mmap_file security_bprm_check setup_new_exec do_exit filemap_read"
# The watchdog reports after twice its threshold.
SCRIPT = f"""
mount -t tracefs none /sys/kernel/tracing
echo 5 > /proc/sys/kernel/watchdog_thresh
mkdir /w
mount -t tmpfs none /w
(while [ ! -e /tmp/done ]; do workload storm /w 2 50; done) > /dev/null 2>&1 &
(while [ ! -e /tmp/done ]; do workload storm /w 2 2000; done) > /dev/null 2>&1 &
cd /sys/kernel/tracing
echo {FUNCTIONS} > set_ftrace_filter
echo 0 > tracing_on
i=0
while [ $i -lt CYCLES ]; do
  echo function > current_tracer
  echo nop > current_tracer
  i=$((i + 1))
  read seconds _ < /proc/uptime
  echo "cycle $i at $seconds"
done
touch /tmp/done
wait
"""


def main() -> int:
    """Boot, and count the cycles; return 1 if the guest did not come to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder with the cache")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--accelerator", choices=sorted(EMULATORS), default="tcg")
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--limit", type=float, default=600, help="seconds for all cycles")
    parser.add_argument("--console", type=Path, help="file for what the guest printed")
    options = parser.parse_args()
    cache = options.output / "cache"
    with store.opened(cache):
        kernel = fetch_kernel(options.suite, cache)
    with tempfile.TemporaryDirectory(prefix="vmtest-") as name:
        workload = Path(name) / "workload"
        run(["gcc", "-static", "-O1", "-D_FILE_OFFSET_BITS=64", "-o", workload, WORKLOAD])
        with step(f"{options.cycles} cycles on {kernel.release}, {options.accelerator}"):
            result = run_guest(
                kernel,
                SCRIPT.replace("CYCLES", str(options.cycles)),
                files={"bin/workload": workload},
                timeout_seconds=options.limit,
                accelerator=options.accelerator,
            )
    if options.console is not None:
        options.console.write_text(result.console)
    found = complaints(result.console)
    cycles = [line for line in result.console.splitlines() if line.startswith("cycle ")]
    note(f"{len(cycles)} cycles, {len(found)} complaints of the kernel; {''.join(cycles[-1:])}")
    for line in found[:3]:
        note(line)
    return 0 if result.status == 0 and not found else 1


if __name__ == "__main__":
    sys.exit(main())
