# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Cost of each recorder for a recorded program, as ratios in one run.

    .venv/bin/python -m bench.overhead [--rounds N] [--write]       (as root)

Prints nanoseconds per open+close and per open+read of 4 KiB+close of a file in the page cache, and
the ratio to the same without a recorder: on this machine's own kernel, and on a Debian kernel in
QEMU, where the kernel module can be loaded. There, each instruction of the emulated processor takes
one nanosecond, so the result does not depend on the load of this machine. Between the two tables,
only ratios can be compared, and with care: with instruction counting, memory accesses cost nothing.
The guest has one processor, so its column "by the clock" includes the work of the recorder.

Times are processor times of the recorded process: on a busy machine, the clock mostly shows how
long the process waited for a processor. A recorder that stops the process (strace) makes it wait,
too; only the last column, by the clock, shows that.

A round runs every recorder once, in an order that changes from round to round. Directly before each
run is a run without a recorder, and the ratio is taken between these two. Figures are medians over
the rounds, with the lowest and highest ratio: if the ranges of two recorders overlap, this machine
does not show which one is cheaper. A recorder that cannot run here is named with the reason.

One process opens one file in a loop. This is the worst case, because the process does nothing else.
It favours fanotify and inotify, which drop an event that equals one in the queue.

Debian packages: strace, python3-bpfcc and the headers of the kernel for bcc, and those of the BPF
tracer (ebpf/Makefile); the kernel and its module are fetched and built as for an image.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bootprof.boot.qemu import EMULATED_PROCESSOR
from bootprof.builder import store
from bootprof.builder.kernelmodule import build_module
from bootprof.errors import BootprofError
from bootprof.process import program
from bootprof.sources import GUEST, TRACER
from vmtest.guest import exit_status, write_initramfs
from vmtest.kernels import GuestKernel, fetch_kernel

TOP = Path(__file__).parent.parent

TRACEFS = Path("/sys/kernel/tracing")
SUITE = "bookworm"
Figures = tuple[float, ...]

NOTES = {
    "nothing": "",
    "kmod": "the kernel module: opens, executions, reads, mappings, faults",
    "ebpf": "bootprof-trace: opens, executions, mappings, page cache",
    "ebpf, opens": "bootprof-trace --operations open",
    "ebpf, perf buffer": "bootprof-trace --perf-buffer",
    "bcc": "bootprof_bcc.py: names as given, no page cache",
    "fanotify": "bootprof-watch: opens and executions",
    "inotify": "bootprof-watch: opens",
    "strace -f": "openat only, with a seccomp filter where strace has one",
}
ON_HOST = [name for name in NOTES if name != "kmod"]
IN_GUEST = ["nothing", "kmod", "ebpf", "fanotify", "inotify"]


class UnavailableError(Exception):
    """A recorder cannot run on this machine."""


class Samples:
    """What was measured of each recorder, and what could not be."""

    def __init__(self, names: Sequence[str]) -> None:
        self.figures: dict[str, list[Figures]] = {name: [] for name in names}
        self.ratios: dict[str, list[Figures]] = {name: [] for name in names}
        self.unavailable: dict[str, str] = {}

    def add(self, name: str, base: Figures, found: Figures) -> None:
        """Add a measurement and its neighbour with nothing recorded."""
        self.figures[name].append(found)
        self.ratios[name].append(tuple(a / b for a, b in zip(found, base, strict=True)))

    def table(self) -> str:
        """Return a table in Markdown, aligned for reading as text."""
        rows = [("recorder", "open+close", "", "open+read+close", "", "by the clock", "what it is")]
        for name, figures in self.figures.items():
            if name in self.unavailable:
                rows.append((name, "not here", "", "", "", "", self.unavailable[name]))
                continue
            if not figures:
                continue
            nanoseconds = [statistics.median(column) for column in zip(*figures, strict=True)]
            ratios = [
                f"{statistics.median(ratio):.2f}x ({min(ratio):.2f}-{max(ratio):.2f})"
                for ratio in zip(*self.ratios[name], strict=True)
            ]
            times = [f"{value:.0f} ns" for value in nanoseconds]
            cells = (times[0], ratios[0], times[1], ratios[1], ratios[2])
            rows.append((name, *cells, NOTES[name]))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        lines.insert(1, "| " + " | ".join("-" * max(3, width) for width in widths))
        return "\n".join(line.rstrip() + " |" for line in lines) + "\n"


@contextlib.contextmanager
def running(command: Sequence[str | Path]) -> Iterator[None]:
    """Have a recorder run that says on a descriptor that it is ready.

    Raises:
        UnavailableError: It cannot run here.
    """
    ready, told = os.pipe()
    process = subprocess.Popen(
        [*command, "--ready-fd", str(told)], pass_fds=[told], stderr=subprocess.PIPE
    )
    os.close(told)
    try:
        with os.fdopen(ready, "rb") as stream:
            if not stream.read():
                assert process.stderr
                raise UnavailableError(process.stderr.read().decode().splitlines()[0])
            yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


@contextlib.contextmanager
def recorded(name: str, build: Path, folder: Path) -> Iterator[list[str]]:
    """Have a recorder run; give the words that go in front of the measured command.

    Raises:
        UnavailableError: It cannot run here.
    """
    trace: list[str | Path] = [build / "bootprof-trace", "-o", build / "events", "--memory", "256"]
    watch: list[str | Path] = [build / "bootprof-watch", "-o", build / "events"]
    commands = {
        "ebpf": trace,
        "ebpf, opens": [*trace, "--operations", "open"],
        "ebpf, perf buffer": [*trace, "--perf-buffer"],
        "fanotify": [*watch, "--backend", "fanotify", folder],
        "inotify": [*watch, "--backend", "inotify", folder],
    }
    if name in commands:
        with running(commands[name]):
            yield []
    elif name == "strace -f":
        if not shutil.which("strace"):
            raise UnavailableError("apt-get install strace")
        version = subprocess.run(["strace", "--help"], capture_output=True, text=True, check=True)
        quick = ["--seccomp-bpf"] if "--seccomp-bpf" in version.stdout else []
        yield ["strace", "-f", *quick, "-e", "trace=openat", "-o", str(build / "strace.out")]
    elif name == "bcc":
        # The command as its child: that is how it says that it is ready.
        yield [sys.executable, str(TOP / "ebpf/bootprof_bcc.py"), "--output", str(build / "events")]
    else:
        yield []


def measure(name: str, build: Path, folder: Path, calls: int) -> Figures:
    """Return ns per open+close and per open+read+close, and by the clock, under a recorder.

    Raises:
        UnavailableError: It cannot run here.
    """
    with recorded(name, build, folder) as words:
        command = [*words, str(build / "overhead"), str(folder / "file"), str(calls)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout:
            raise UnavailableError(done.stderr.splitlines()[0])
        return tuple(float(figure) for figure in done.stdout.split())


@contextlib.contextmanager
def tracefs() -> Iterator[None]:
    """Mount tracefs, which bcc needs, for as long as the bench runs."""
    missing = not (TRACEFS / "events").exists()
    if missing:
        subprocess.run(["mount", "-t", "tracefs", "none", TRACEFS], check=True)
    try:
        yield
    finally:
        if missing:
            subprocess.run(["umount", TRACEFS], check=True)


def build_programs(build: Path) -> None:
    """Build the recorders and what is measured."""
    for folder in (TRACER, GUEST / "watch"):
        words: list[str | Path] = ["make", "-C", folder, f"BUILD={build}"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    source = TOP / "bench/overhead.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", build / "overhead", source], check=True)


def measure_host(build: Path, folder: Path, rounds: int, calls: int) -> Samples:
    """Measure all recorders that this machine's own kernel lets run."""
    samples = Samples(ON_HOST)
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for name in random.sample(ON_HOST, len(ON_HOST)):
            if name in samples.unavailable:
                continue
            base = measure("nothing", build, folder, calls)
            try:
                # Ten times slower; the figure is per call.
                few = calls // 10 if name == "strace -f" else calls
                samples.add(name, base, measure(name, build, folder, few))
            except UnavailableError as error:
                samples.unavailable[name] = str(error)
    print(file=sys.stderr)
    return samples


# What starts and stops a recorder in the guest.
GUEST_RECORDERS: Mapping[str, tuple[str, str]] = {
    "nothing": (":", ":"),
    "kmod": ("insmod /bootprof.ko ranges=1 max_bytes=200000000", "rmmod bootprof"),
    "ebpf": ("background bootprof-trace --memory 256", "ended"),
    "fanotify": ("background bootprof-watch --backend fanotify /w", "ended"),
    "inotify": ("background bootprof-watch --backend inotify /w", "ended"),
}
GUEST_PRELUDE = """
mkdir -p /w
mount -t tmpfs none /w
head -c 4096 /dev/zero > /w/file
mkfifo /ready
background() {
    "$@" --output /tmp/events --ready-fd 3 3> /ready &
    recorder=$!
    read answer < /ready
}
ended() { kill -TERM $recorder; wait $recorder; }
"""


def run_counted(kernel: GuestKernel, script: str, files: Mapping[str, Path]) -> list[str]:
    """Run a script in a guest whose clock counts instructions; return what it wrote to ``$OUT``."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        initramfs = write_initramfs(folder, kernel, files, (), script)
        output, console = folder / "output", folder / "console"
        subprocess.run(
            [
                program("qemu-system-x86_64"),
                *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"),
                *(*EMULATED_PROCESSOR, "-smp", "1", "-m", "1536"),
                *("-nodefaults", "-display", "none", "-no-reboot"),
                *("-serial", f"file:{console}"),
                *("-device", "virtio-serial-pci", "-chardev", f"file,id=out,path={output}"),
                *("-device", "virtserialport,chardev=out,name=overhead"),
                *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
                *("-append", "console=ttyS0 panic=-1 loglevel=7"),
            ],
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=1200,
        )
        text = console.read_text(errors="replace")
        if exit_status(text) != 0:
            raise SystemExit(f"the guest failed:\n{text}")
        return output.read_text().splitlines()


def measure_guest(build: Path, cache: Path, rounds: int, calls: int) -> tuple[str, Samples]:
    """Measure on a Debian kernel in QEMU; return its release too.

    Raises:
        BootprofError: The kernel or the module is not available.
    """
    with store.opened(cache):
        kernel = fetch_kernel(SUITE, cache)
        module = build_module(SUITE, cache, kernel_release=kernel.release)
    script = GUEST_PRELUDE
    order = [name for _ in range(rounds) for name in random.sample(IN_GUEST, len(IN_GUEST))]
    for name in order:
        start, stop = GUEST_RECORDERS[name]
        run = f"overhead /w/file {calls} > $OUT\n"
        script += f"{run}{start}\n{run}{stop}\n"
    files = {
        "bootprof.ko": module.module,
        **{
            f"bin/{name}": build / name for name in ("overhead", "bootprof-trace", "bootprof-watch")
        },
    }
    lines = run_counted(kernel, script, files)
    figures = [tuple(float(figure) for figure in line.split()) for line in lines]
    samples = Samples(IN_GUEST)
    for name, base, found in zip(order, figures[::2], figures[1::2], strict=True):
        samples.add(name, base, found)
    return kernel.release, samples


def main() -> int:
    """Run the bench and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each one runs (7)")
    parser.add_argument("--calls", type=int, default=100_000, help="opens in a run (100000)")
    parser.add_argument("--output", type=Path, default=TOP / "out", help="where the cache is")
    parser.add_argument("--guest-only", action="store_true", help="leave this machine out")
    parser.add_argument("--write", action="store_true", help="write docs/overhead.md too")
    options = parser.parse_args()
    if options.write and options.guest_only:
        parser.error("--write needs all recorders and kernels")
    with tempfile.TemporaryDirectory() as temporary, tracefs():
        build, folder = Path(temporary) / "build", Path(temporary) / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(bytes(4096))
        build_programs(build)
        sections = []
        if not options.guest_only:
            host = measure_host(build, folder, options.rounds, options.calls)
            kernel = os.uname().release.partition("-")[0]
            sections.append(f"## The measuring machine's own kernel, {kernel}\n\n{host.table()}")
        # An emulated processor is so much slower, and there is no noise to be drowned.
        calls = max(1, options.calls // 10)
        try:
            release, guest = measure_guest(build, options.output / "cache", options.rounds, calls)
        except BootprofError as error:
            print(f"no guest: {error.message}", file=sys.stderr)
            return 1
        title = f"## Linux {release} of Debian, in QEMU, a nanosecond an instruction"
        sections.append(f"{title}\n\n{guest.table()}")
    text = (
        "# Cost of recording an open\n\n"
        "Written by `bench/overhead.py --write`; its `--help` explains the tables.\n"
        f"Medians of {options.rounds} rounds; lowest and highest ratio in parentheses.\n\n"
        + "\n".join(sections)
    )
    print(text)
    if options.write:
        (TOP / "docs/overhead.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
