# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Let a kernel patch its own code in a loop, without bootprof: does the emulator lose track of it?

    python -m vmtest.patching --patch key --accelerator tcg --seconds 120

A cycle switches a static branch of the scheduler on and off (``key``), or ftrace for the functions
that the kernel module hooks (``ftrace``), while processes start and open files. When no cycle ends
any more, the machine is saved and loaded again, which changes nothing in the guest, but makes QEMU
translate all code anew: a guest that then goes on had run code that its memory no longer held.
docs/kmod.md ("Lockups of the emulator") has the counts. To try another QEMU, put it first in PATH.
Needs qemu-img (Debian: qemu-utils).
"""

from __future__ import annotations

import argparse
import collections
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bootprof.builder import store
from bootprof.process import run, stop
from bootprof.progress import note
from vmtest.guest import EMULATORS, complaints, has_started, machine, write_initramfs
from vmtest.kernels import fetch_kernel

WORKLOAD = Path(__file__).parents[1] / "tests/kmod/workload.c"
FUNCTIONS = "fd_install security_mmap_file security_bprm_check setup_new_exec do_exit filemap_read"
PATCHES = {
    "key": ("/proc/sys/kernel/sched_schedstats", "1", "0"),
    "ftrace": ("/sys/kernel/tracing/current_tracer", "function", "nop"),
}
SCRIPT = f"""
mount -t tracefs none /sys/kernel/tracing
echo 5 > /proc/sys/kernel/watchdog_thresh
mkdir /w
mount -t tmpfs none /w
(while true; do workload storm /w 2 50; done) > /dev/null 2>&1 &
(while true; do workload storm /w 2 2000; done) > /dev/null 2>&1 &
echo {FUNCTIONS} > /sys/kernel/tracing/set_ftrace_filter
echo 0 > /sys/kernel/tracing/tracing_on
i=0
while true; do
  echo ON > FILE
  echo OFF > FILE
  i=$((i + 1))
  echo "cycle $i"
done
"""
STOPPED_SECONDS = 30.0
"""Without a cycle, which takes 0.05 s by a static branch and 2 s by ftrace."""
SAMPLES = 20
ADDRESSES = 3
RELOAD_SECONDS = 3.0
REGISTER = re.compile(r"RIP=([0-9a-f]{16})")
CYCLE = re.compile(r"^cycle (\d+)$", re.MULTILINE)
PATCH_BYTES = 5


def main() -> int:
    """Boot, count cycles and stops; return 1 if the guest stopped or complained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder with the cache")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--patch", choices=sorted(PATCHES), default="key")
    parser.add_argument("--accelerator", choices=sorted(EMULATORS), default="tcg")
    parser.add_argument("--seconds", type=float, default=120, help="how long to go on")
    options = parser.parse_args()
    cache = options.output / "cache"
    with store.opened(cache):
        kernel = fetch_kernel(options.suite, cache)
    file, on, off = PATCHES[options.patch]
    script = SCRIPT.replace("ON ", f"{on} ").replace("OFF ", f"{off} ").replace("FILE", file)
    with tempfile.TemporaryDirectory(prefix="vmtest-") as name:
        folder = Path(name)
        workload = folder / "workload"
        run(["gcc", "-static", "-O1", "-D_FILE_OFFSET_BITS=64", "-o", workload, WORKLOAD])
        initramfs = write_initramfs(folder, kernel, {"bin/workload": workload}, (), script)
        console = folder / "console"
        command = machine(
            kernel, initramfs, folder / "output", console, 1024, accelerator=options.accelerator
        )
        monitor = folder / "monitor"
        command += ["-monitor", f"unix:{monitor},server=on,wait=off"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", folder / "state", "64M"])
        command += ["-drive", f"if=none,format=qcow2,file={folder / 'state'}"]
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            if not has_started(guest, console):
                note("the guest did not come to its script")
                return 1
            stops, released = watch(guest, console, monitor, options.seconds)
        finally:
            stop(guest, 1)
        text = console.read_text(errors="replace")
    found = complaints(text)
    note(
        f"{kernel.release}, {options.patch}, {options.accelerator}: {cycles(text)} cycles, "
        f"{stops} stops, {released} of them ended by saving and loading, "
        f"{len(found)} complaints of the kernel"
    )
    for line in found[:3]:
        note(line)
    return 1 if stops or found else 0


def cycles(text: str) -> int:
    """Return the number of the last cycle on a console."""
    return int((CYCLE.findall(text) or ["0"])[-1])


def watch(
    guest: subprocess.Popen[bytes], console: Path, monitor: Path, seconds: float
) -> tuple[int, int]:
    """Follow a guest; whenever it stops, try what makes it go on.

    Returns:
        How often it stopped, and how often it went on after it was saved and loaded.
    """
    stops = released = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and guest.poll() is None:
        if goes_on(guest, console, STOPPED_SECONDS) or guest.poll() is not None:
            continue
        stops += 1
        describe(monitor)
        for command in ("stop", "cont"):
            ask(monitor, command, RELOAD_SECONDS)
        if goes_on(guest, console, STOPPED_SECONDS):
            note("it goes on by itself")
            continue
        reload(monitor)
        if goes_on(guest, console, STOPPED_SECONDS):
            released += 1
            note("stopping and continuing the machine changed nothing; saving and loading it did")
        else:
            note("it does not go on after it was saved and loaded either")
    return stops, released


def goes_on(guest: subprocess.Popen[bytes], console: Path, seconds: float) -> bool:
    """Wait for the next cycle; return whether it came."""
    before = cycles(console.read_text(errors="replace"))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and guest.poll() is None:
        time.sleep(0.2)
        if cycles(console.read_text(errors="replace")) > before:
            return True
    return False


def ask(monitor: Path, command: str, seconds: float = 0.2) -> str:
    """Return what QEMU's monitor answers to a command within some time."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        time.sleep(0.1)
        connection.sendall(f"{command}\n".encode())
        time.sleep(seconds)
        return connection.recv(1 << 20).decode(errors="replace")


def describe(monitor: Path) -> None:
    """Note at which addresses the processors are found, and which bytes memory holds there."""
    found: collections.Counter[str] = collections.Counter()
    for _ in range(SAMPLES):
        found.update(REGISTER.findall(ask(monitor, "info registers -a")))
    for address, count in found.most_common(ADDRESSES):
        held = ask(monitor, f"x/{PATCH_BYTES}xb 0x{address}").partition(f"{address}: ")[2]
        note(f"{address}, {count} of {2 * SAMPLES} samples: memory holds {held.splitlines()[:1]}")


def reload(monitor: Path) -> None:
    """Save the machine and load it again: all stays as it is, but for the translated code."""
    for command in ("stop", "savevm same", "loadvm same", "cont"):
        ask(monitor, command, RELOAD_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
