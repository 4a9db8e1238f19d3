# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files that each backend misses at the beginning of a real boot: a table of docs/matrix.md.

    .venv/bin/python -m bench.early_gap [--write] kmod=FOLDER ebpf=FOLDER fanotify=FOLDER ...

Each folder is a profile of the same image. All backends are compared with the first one, usually
the kernel module, which starts in the initrd before the root is mounted and records most. Use boots
with several backends (``bootprof profile --backend kmod+ebpf+fanotify``), and name the folder once
for each of them: a backend is compared with the first one in its own boot, or, if that boot lacks
it, in the first boot. In that case times cannot be compared, and some paths differ between the
boots.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bootprof import backends
from bootprof.backends import Recording
from bootprof.boot.folder import GUEST
from bootprof.errors import InputError
from bootprof.files import file_digest
from optimizer.formats.blocktrace import read_block_trace
from optimizer.formats.bootlog import read_bootlog
from optimizer.formats.events import Bootlog
from optimizer.order import PSEUDO_FILE_SYSTEMS
from vmtest.matrix.agreement import compare
from vmtest.matrix.document import differences, listing, replace_section, shown, table

TOP = Path(__file__).parent.parent

# What is compared in full with the first backend, initramfs and all.
TRACER = "ebpf"
DOCUMENT = TOP / "docs/matrix.md"


@dataclass(frozen=True)
class Seen:
    """What a backend saw of a boot.

    Attributes:
        name: The backend.
        folder: The profile.
        first_path: Path of the first event of all, in the initramfs perhaps.
        first_ns: Its time in nanoseconds since boot; since power-on for the block trace.
        times_ns: Path → time of its first access in nanoseconds since boot, in the order of the
            bootlog. Files of the image only: nothing of the initramfs, of memory or the kernel.
        log: All that it recorded.
    """

    name: str
    folder: Path
    first_path: bytes
    first_ns: int
    times_ns: dict[bytes, int]
    log: Bootlog


def read_profile(name: str, folder: Path) -> Bootlog:
    """Return the bootlog of a backend in a profile.

    Raises:
        InputError: There is no such profile, or nothing of this backend in it.
    """
    if not (folder / "profile.json").exists():
        raise InputError(f"{folder}: no profile", hint="make one with bootprof profile")
    # Older profiles name all backends there; the bootlog is that of the first one.
    description = json.loads((folder / "profile.json").read_text())
    if description["backend"].split("+")[0] == name:
        path = folder / "bootlog.events"
        with path.open("rb") as stream:
            return read_bootlog(stream, str(path))
    image = Path(description["image"])
    if not image.exists() or file_digest(image) != description["image_sha256"]:
        raise InputError(f"{image}: not the image that was booted", hint="make the profile again")
    with (folder / "blocktrace.tsv").open("rb") as stream:
        trace = read_block_trace(stream, str(folder / "blocktrace.tsv"))
    # Profiles before schema 3 have what the guest sent beside the other files.
    sent = folder / GUEST if (folder / GUEST).is_dir() else folder
    files = {path.name: path for path in sent.iterdir()}
    recording = Recording(files=files, image=image, block_trace=trace)
    return backends.load(name).read(recording)


def seen(name: str, folder: Path) -> Seen:
    """Return the files of the image in a bootlog; errors as in :func:`read_profile`."""
    log = read_profile(name, folder)
    pseudo = [index for index, kind in enumerate(log.file_systems) if kind in PSEUDO_FILE_SYSTEMS]
    events = log.events[~np.isin(log.events["file_system"], pseudo)]
    times_ns: dict[bytes, int] = {}
    for path, time_ns in zip(events["path"].tolist(), events["time_ns"].tolist(), strict=True):
        if log.paths[path].startswith(b"/"):
            times_ns.setdefault(log.paths[path], time_ns)
    first = log.event(0)
    return Seen(name, folder, first.path, first.time_ns, times_ns, log)


def row(reference: Seen, other: Seen) -> list[str]:
    """Return the line of a backend."""
    first, first_ns = next(iter(other.times_ns.items()))
    # Times of the block trace count from power-on, not from the start of the kernel; and no two
    # boots are as fast as each other.
    timed = other.name != "block" and other.folder == reference.folder
    early = [path for path, ns in reference.times_ns.items() if ns < first_ns]
    early_missed = sum(path not in other.times_ns for path in early)
    missed = sum(path not in other.times_ns for path in reference.times_ns)
    more = sum(path not in reference.times_ns for path in other.times_ns)
    return [
        other.name,
        f"{shown(other.first_path)} {other.first_ns / 1e9:.1f} s",
        f"{shown(first)} {first_ns / 1e9:.1f} s",
        f"{len(other.times_ns):,}",
        f"{early_missed} of {len(early)}" if timed else "-",
        f"{missed} of {len(reference.times_ns):,}",
        f"{more:,}",
        f"{other.log.lost:,}",
    ]


def report(logs: list[Seen]) -> str:
    """Return the table, and examples of what is missed."""
    name = logs[0].name
    references = {log.folder: log for log in reversed(logs) if log.name == name}
    pairs = [(references.get(log.folder, logs[0]), log) for log in logs]
    head = ["backend", "first event", "first file of the image", "files", "missed before that"]
    head += ["missed in all", f"not seen by {name}", "lost"]
    text = table(head, [row(reference, log) for reference, log in pairs]) + "\n"
    for reference, log in pairs:
        missed = [path for path in reference.times_ns if path not in log.times_ns]
        if missed:
            text += f"- {log.name} misses: {listing(missed)}\n"
        more = [path for path in log.times_ns if path not in reference.times_ns]
        if more:
            text += f"- {log.name} lists, but {name} does not: {listing(more)}\n"
    for reference, log in pairs:
        if log.name == TRACER and log.folder == reference.folder:
            text += f"\n### {name}+{TRACER}, the same real boot\n\n"
            text += differences(compare(reference.log, log.log), (name, TRACER))
    return text


def main() -> int:
    """Compare profiles, and print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("profiles", nargs="+", metavar="BACKEND=FOLDER")
    parser.add_argument("--write", action="store_true", help="write docs/matrix.md")
    options = parser.parse_args()
    logs = []
    try:
        for word in options.profiles:
            name, found, folder = word.partition("=")
            if not found:
                raise InputError(f"{word}: not BACKEND=FOLDER")
            logs.append(seen(name, Path(folder)))
    except InputError as error:
        print(f"{error.message}; {error.hint}".rstrip("; "), file=sys.stderr)
        return 2
    content = report(logs)
    if options.write:
        replace_section(DOCUMENT, "early-gap", content)
    else:
        print(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
