"""What it costs a program to be traced: the BPF tracer against the other ways.

    .venv/bin/python bench/ebpf_overhead.py [--rounds N]       (as root)

Prints nanoseconds per open+close and per open+read of 4 KiB+close of a file in the page cache, and
the ratio to the same without a tracer. These are times of the processor, spent by the traced
process: on a machine with other work, the clock mostly tells how long it waited for its turn. A
tracer that stops the process (strace) makes it wait too, which only the clock shows: last column.

A round runs every tracer once, in an order that changes from round to round; right before each run
stands one without a tracer, and the ratio is taken between these neighbours. Figures are medians
over the rounds, with the lowest and highest ratio: where the ranges of two tracers overlap, this
machine cannot tell which one is cheaper. What cannot run here is named with the reason.

The file is opened by one process in a loop: the worst that can be, because it does nothing else.
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
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parent.parent
TRACEFS = Path("/sys/kernel/tracing")
Figures = tuple[float, ...]

TRACERS = {
    "untraced": "",
    "ebpf": "bootprof-trace: opens, executions, maps, page cache",
    "ebpf, opens": "bootprof-trace --operations open",
    "ebpf, perf buffer": "bootprof-trace --perf-buffer",
    "bcc": "bootprof_bcc.py: names as given, no page cache",
    "fanotify": "FAN_OPEN on the file system, descriptor for each event",
    "inotify": "IN_OPEN on the one folder",
    "strace -f": "openat only, seccomp filter where strace has one",
}


class UnavailableError(Exception):
    """A tracer cannot run on this machine."""


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop a tracer at the end."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


@contextlib.contextmanager
def traced(name: str, build: Path, folder: Path) -> Iterator[list[str]]:
    """Have a tracer run; give the words that go in front of the measured command.

    Raises:
        UnavailableError: It cannot run here.
    """
    if name == "untraced":
        yield []
        return
    if name == "strace -f":
        if not shutil.which("strace"):
            raise UnavailableError("apt-get install strace")
        version = subprocess.run(["strace", "--help"], capture_output=True, text=True, check=True)
        quick = ["--seccomp-bpf"] if "--seccomp-bpf" in version.stdout else []
        yield ["strace", "-f", *quick, "-e", "trace=openat", "-o", str(build / "strace.out")]
        return
    words: dict[str, list[str | Path]] = {
        "ebpf": [build / "bootprof-trace"],
        "ebpf, opens": [build / "bootprof-trace", "--operations", "open"],
        "ebpf, perf buffer": [build / "bootprof-trace", "--perf-buffer"],
    }
    if name in words:
        ready, told = os.pipe()
        process = subprocess.Popen(
            [*words[name], "-o", build / "events", "--memory", "256", "--ready-fd", str(told)],
            pass_fds=[told],
            stderr=subprocess.PIPE,
        )
        os.close(told)
        with ended(process), os.fdopen(ready, "rb") as stream:
            if not stream.read():
                assert process.stderr
                raise UnavailableError(process.stderr.read().decode().splitlines()[0])
            yield []
        return
    if name == "bcc":
        # The command as its child: that is how it says that it is ready.
        yield [sys.executable, str(TOP / "ebpf/bootprof_bcc.py"), "--output", str(build / "events")]
        return
    process = subprocess.Popen(
        [build / "ebpf_overhead", name, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with ended(process):
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            assert process.stderr
            raise UnavailableError(process.stderr.read().decode().strip())
        yield []


def measure(name: str, build: Path, folder: Path, calls: int) -> Figures:
    """Return ns per open+close and per open+read+close, and by the clock, under a tracer.

    Raises:
        UnavailableError: It cannot run here.
    """
    with traced(name, build, folder) as words:
        command = [
            *words,
            str(build / "ebpf_overhead"),
            "measure",
            str(folder / "file"),
            str(calls),
        ]
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


def main() -> int:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each one runs (7)")
    parser.add_argument("--calls", type=int, default=100_000, help="opens in a run (100000)")
    options = parser.parse_args()
    figures: dict[str, list[Figures]] = {name: [] for name in TRACERS}
    ratios: dict[str, list[Figures]] = {name: [] for name in TRACERS}
    unavailable: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary, tracefs():
        build, folder = Path(temporary) / "build", Path(temporary) / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(bytes(4096))
        make: list[str | Path] = ["make", "-C", TOP / "ebpf", f"BUILD={build}"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        source = TOP / "bench/ebpf_overhead.c"
        subprocess.run(["gcc", "-O2", "-o", build / "ebpf_overhead", source], check=True)
        for number in range(options.rounds):
            print(f"\rround {number + 1} of {options.rounds}", end="", file=sys.stderr, flush=True)
            for name in random.sample(list(TRACERS), len(TRACERS)):
                if name in unavailable:
                    continue
                # Ten times slower; the figure is per call.
                calls = options.calls // 10 if name == "strace -f" else options.calls
                base = measure("untraced", build, folder, options.calls)
                try:
                    found = measure(name, build, folder, calls)
                except UnavailableError as error:
                    unavailable[name] = str(error)
                    continue
                figures[name].append(found)
                ratios[name].append(tuple(a / b for a, b in zip(found, base, strict=True)))
    print(file=sys.stderr)
    print(f"kernel {os.uname().release}, median of {options.rounds} rounds")
    print(f"{'':18}{'open+close':>28}{'open+read+close':>28}{'by the clock':>20}")
    for name, note in TRACERS.items():
        if name in unavailable:
            print(f"{name:18}not here: {unavailable[name]}")
            continue
        nanoseconds = [statistics.median(column) for column in zip(*figures[name], strict=True)]
        cells = [
            f"{statistics.median(ratio):.2f}x ({min(ratio):.2f}-{max(ratio):.2f})"
            for ratio in zip(*ratios[name], strict=True)
        ]
        line = "".join(
            f"{nanosecond:8.0f} ns {cell:>17}"
            for nanosecond, cell in zip(nanoseconds[:2], cells[:2], strict=True)
        )
        print(f"{name:18}{line}{cells[2]:>20}  {note}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
