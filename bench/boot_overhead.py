# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Cost of each recorder for a whole boot.

    .venv/bin/python -m bench.boot_overhead [--repeats N] [--write]

Boots the profiling image in QEMU with one processor. Each instruction takes a nanosecond of guest
time, so the result does not depend on the load of this machine. The figure is the time that this
processor was busy from power-on to the boot target, from /proc/uptime and /proc/stat of the guest,
without idle time and waiting for the medium. It includes all work of the recorder. With "nothing",
the same agent runs and starts no recorder.

With instruction counting, memory accesses cost nothing, so these are instructions and not the times
of a real processor; but the recorders and the boot are counted in the same way. Finished boots are
kept in OUTPUT/boot-overhead-boots.json, so that an interrupted bench continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bootprof import backends
from bootprof.boot import qemu
from bootprof.boot.clock import read_guest_clock
from bootprof.boot.harvest import allowed_files
from bootprof.boot.medium import examine
from bootprof.boot.target import parse_target
from bootprof.files import replacing

TOP = Path(__file__).parent.parent
NOTES = {
    "nothing": "",
    "kmod": "the kernel module: opens, executions, reads, mappings, faults",
    "ebpf": "bootprof-trace: opens, executions, mappings, page cache",
    "fanotify": "bootprof-watch: opens and executions",
    "inotify": "bootprof-watch: opens",
}


def boot(image: Path, recorder: str, options: argparse.Namespace) -> float:
    """Boot with a recorder, and return how long the processor was busy in seconds."""
    request = qemu.Request(
        medium=examine(image),
        machine=qemu.Machine(processors=1, accelerator="icount"),
        target=parse_target(options.until),
        agent=recorder,
        allowed=allowed_files(backends.RECORDERS),
        timeout_seconds=options.timeout,
    )
    with tempfile.TemporaryDirectory(prefix="boot-overhead-") as folder:
        result = qemu.boot(request, Path(folder), lambda _: None)
        log = result.files["agent.log"].read_text(errors="replace")
        if recorder != "nothing" and f"{recorder}\tstarted" not in log:
            raise SystemExit(f"{recorder} did not start: {log}")
        clock = read_guest_clock(result.files["processor"].read_bytes(), processors=1)
    assert clock is not None
    assert clock.busy_seconds is not None
    return clock.busy_seconds


def table(found: dict[str, list[float]]) -> str:
    """Return the table in Markdown."""
    base = median(found["nothing"])
    rows = [["recorder", "busy", "", "what it is"]]
    for name in NOTES:
        values = found[name]
        ratios = [value / base - 1 for value in values]
        spread = f" ({min(ratios):+.1%} to {max(ratios):+.1%})"
        rows.append(
            [name, f"{median(values):.2f} s", f"{median(ratios):+.1%}{spread}", NOTES[name]]
        )
    rows.insert(1, ["---"] * 4)
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def build(options: argparse.Namespace) -> Path:
    """Build the profiling image."""
    image: Path = options.output / "boot-overhead.iso"
    command = [sys.executable, "-m", "bootprof", "build", "--profiling", "--no-sort"]
    words: Sequence[str | Path] = ["--output", options.output, "--image", image]
    subprocess.run([*command, *words], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    return image


def main() -> int:
    """Boot, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="boots of each (3)")
    parser.add_argument("--output", type=Path, default=TOP / "out")
    parser.add_argument("--until", default="console:login:")
    parser.add_argument("--timeout", type=float, default=1800)
    parser.add_argument("--write", action="store_true", help="write docs/boot-overhead.md too")
    options = parser.parse_args()
    options.output = options.output.resolve()
    image = build(options)
    kept = options.output / "boot-overhead-boots.json"
    found: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {}
    for number in range(options.repeats):
        for name in NOTES:
            values = found.setdefault(name, [])
            if len(values) <= number:
                print(f"boot {number + 1} with {name}", file=sys.stderr)
                values.append(boot(image, name, options))
                with replacing(kept) as temporary:
                    temporary.write_text(json.dumps(found) + "\n")
    text = (
        "# Cost of recording a whole boot\n\n"
        "Written by `bench/boot_overhead.py --write`; its `--help` explains the table.\n"
        f"The demonstration image to the login prompt; medians of {options.repeats} boots, lowest "
        "and highest in parentheses.\n\n" + table(found)
    )
    print(text)
    if options.write:
        with replacing(TOP / "docs/boot-overhead.md") as temporary:
            temporary.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
