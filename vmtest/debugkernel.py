# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Load, record and unload the module on a kernel with lockdep and KASAN, which Debian has not.

    python -m vmtest.debugkernel --output out --cycles 100

The kernel is built from Debian's package linux-source-6.1: 10 to 20 minutes for the first time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from bootprof.builder import store
from bootprof.process import run
from bootprof.progress import note, step
from bootprof.sources import KERNEL_MODULE
from vmtest.guest import complaints, run_guest
from vmtest.kernels import GuestKernel, fetch_kernel

SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")
FRAGMENT = Path(__file__).with_name("debug.config")
WORKLOAD = Path(__file__).parents[1] / "tests/kmod/workload.c"
# Under emulation, KASAN makes a cycle several times as long.
CYCLE_SECONDS = 30
SCRIPT = """
grep -q kasan_report /proc/kallsyms
grep -q lockdep_init /proc/kallsyms
mkdir /w
mount -t tmpfs none /w
i=0
while [ $i -lt {cycles} ]; do
    insmod /bootprof.ko ranges=1
    workload storm /w 2 200
    [ $(grep -c storm /sys/kernel/debug/bootprof/bootlog.list) -eq 23 ]
    while ! rmmod bootprof 2> /dev/null; do :; done
    i=$((i + 1))
    echo "cycle $i"
done
# lockdep switches itself off after its first report.
grep -q "debug_locks: *1" /proc/lockdep_stats
echo $i > $OUT
"""
SIGNS = ("INFO: possible", "suspicious RCU", "INFO: trying to register", "lockdep is turned off")


def build_kernel(folder: Path) -> GuestKernel:
    """Build the kernel in a folder, or bring it up to date.

    Args:
        folder: Where source and result are kept.
    """
    tree = folder / SOURCE.name.removesuffix(".tar.xz")
    make: list[str | Path] = ["make", "--directory", tree, f"-j{os.cpu_count() or 1}"]
    log = folder / "build.log"
    if not (tree / "Makefile").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(["tar", "--extract", "--file", SOURCE, "--directory", folder])
    configured = folder / FRAGMENT.name
    if not configured.exists() or configured.read_bytes() != FRAGMENT.read_bytes():
        run([*make, "tinyconfig"], log_file=log)
        merge = "scripts/kconfig/merge_config.sh"
        run(["sh", merge, "-m", ".config", FRAGMENT], cwd=tree, log_file=log)
        run([*make, "olddefconfig"], log_file=log)
        shutil.copy(FRAGMENT, configured)
    with step("kernel with lockdep and KASAN") as update:
        run([*make, "bzImage", "modules"], log_file=log, progress=update)
        run([*make, "modules_install", f"INSTALL_MOD_PATH={folder / 'root'}"], log_file=log)
    release = run([*make, "--silent", "kernelrelease"]).decode().split()[-1]
    with store.opened(folder / "cache"):
        busybox = fetch_kernel("bookworm", folder / "cache").busybox
    modules = folder / "root/lib/modules" / release
    return GuestKernel(release, tree / "arch/x86/boot/bzImage", modules, busybox)


def build_module(folder: Path) -> Path:
    """Build the module for this kernel."""
    source = folder / "kmod"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(KERNEL_MODULE, source)
    tree = folder / SOURCE.name.removesuffix(".tar.xz")
    run(["make", "--directory", tree, f"M={source}", "modules"], log_file=folder / "module.log")
    return source / "bootprof.ko"


def main() -> int:
    """Build, boot, and count the cycles; return 1 if the kernel complained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    parser.add_argument("--cycles", type=int, default=100)
    options = parser.parse_args()
    folder = options.output.resolve() / "debug-kernel"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to("../cache")
    kernel = build_kernel(folder)
    module = build_module(folder)
    workload = folder / "workload"
    run(["gcc", "-static", "-O1", "-D_FILE_OFFSET_BITS=64", "-o", workload, WORKLOAD])
    with step(f"{options.cycles} cycles on {kernel.release} with lockdep and KASAN"):
        result = run_guest(
            kernel,
            SCRIPT.format(cycles=options.cycles),
            files={"bootprof.ko": module, "bin/workload": workload},
            modules=[],
            timeout_seconds=max(300, CYCLE_SECONDS * options.cycles),
        )
    reported = [line for line in result.console.splitlines() if any(map(line.count, SIGNS))]
    found = [*complaints(result.console), *reported]
    done = result.console.count("\ncycle ")
    # Without a complaint of the kernel, the end of the console shows why the script failed.
    for line in found or (result.console.splitlines()[-20:] if result.status else ()):
        note(line)
    note(f"{done} cycles, {len(found)} complaints of the kernel, status {result.status}")
    return 0 if result.status == 0 and not found else 1


if __name__ == "__main__":
    sys.exit(main())
