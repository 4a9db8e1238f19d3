# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof convert``."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_output, add_path, open_input, share
from bootprof.errors import InputError
from bootprof.files import STANDARD_STREAM, write_output
from bootprof.imports import Import, Source, load, names, recognise

if TYPE_CHECKING:
    from pathlib import Path

    from bootprof.commands.inputs import Parsers
    from optimizer.formats.events import Bootlog

HINT = "give the file that the tool wrote"
EPILOG = """\
formats:
  {names}
  The format is detected from the content of the file. --formats describes each format, and how to
  record it.

Logs of block reads need the image that was booted (--image): a squashfs, an ISO or a disk image
from any builder. Each file gets a confidence from the blocks that were read:
  1      all of it was read, by reads that started in this file
  0.5    all of it was read, but possibly as kernel readahead behind another file
  0.33   its block was requested, but the block holds other files too
  0.17   its block was read, but possibly as kernel readahead
  less   only a part of it was read
--threshold sets the lowest confidence that is written; --confidence writes a table of all files.

examples:
  strace -f -tt -y -o boot.strace chroot out/root /usr/bin/app
  bootprof convert boot.strace --root out/root -o bootlog.list
  bootprof convert trace.10 trace.11 trace.12 -o bootlog.list     (strace -ff -o trace)
  bootprof convert out/profile/blocktrace.tsv --image live.iso --confidence all.tsv
  blkparse -i sda | bootprof convert - --image live.iso --events
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof convert``."""
    parser = subparsers.add_parser(
        "convert",
        help="turn recordings of other tools into a bootlog",
        description="Turn a recording of strace, perf, fatrace, opensnoop, inotifywait, the audit\n"
        "system, ureadahead, e4rat, blktrace or the kernel log into a bootlog.",
        epilog=EPILOG.format(names=", ".join(names())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(
        parser,
        "files",
        nargs="*",
        metavar="FILE",
        help="recording, or - for standard input; several files with strace -ff",
    )
    parser.add_argument(
        "-f",
        "--from",
        choices=names(),
        metavar="FORMAT",
        dest="format",
        help="format of the recording (default: detected)",
    )
    parser.add_argument("--formats", action="store_true", help="print the formats and exit")
    add_path(
        parser,
        "-i",
        "--image",
        metavar="IMAGE",
        help="image that was booted, to map block reads to files",
    )
    add_path(
        parser,
        "--root",
        folder=True,
        metavar="DIR",
        help="directory that was recorded as a root (chroot): write paths relative to it, leave "
        "out files outside",
    )
    parser.add_argument(
        "-e",
        "--events",
        action="store_true",
        help="write every event (events format) instead of the distinct paths",
    )
    # Former name of --events, for existing scripts.
    parser.add_argument("-r", "--rich", dest="events", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "-t",
        "--threshold",
        type=share,
        metavar="NUMBER",
        help="leave out files with less confidence than this, from 0 to 1 (default: 0.15; 0 keeps "
        "all)",
    )
    add_path(
        parser,
        "-c",
        "--confidence",
        metavar="FILE",
        help="write a table with path, confidence, bytes covered and size of every file touched",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert and write."""
    if options.formats:
        print_formats()
        return 0
    if not options.files:
        raise InputError("no file to convert is given", hint=HINT)
    if options.files.count(STANDARD_STREAM) > 1:
        raise InputError(
            "- is given twice, but standard input can be read only once", hint="use files"
        )
    with ExitStack() as stack:
        sources = [Source(*stack.enter_context(open_input(file, HINT))) for file in options.files]
        item = load(options.format) if options.format else recognise(sources)
        bootlog, table = converted(item, sources, options)
    if options.root is not None:
        bootlog = below(bootlog, options.root)
    if table is not None:
        write_output(options.confidence, table)
    write_output(options.output, encoded(bootlog, events=options.events))
    report(item, bootlog, guessed=options.format is None)
    return 0


def converted(
    item: Import, sources: Sequence[Source], options: argparse.Namespace
) -> tuple[Bootlog, bytes | None]:
    """Return the bootlog, and the table of confidences if it is requested."""
    if not item.needs_image and options.confidence is None and options.threshold is None:
        return item.bootlog(sources), None
    if item.needs_image and options.image is None:
        raise InputError(
            f"{sources[0].name}: read as {item.name}, which contains block reads only",
            hint="give the booted image with --image to map the reads to files",
        )
    located = item.located(sources, options.image)
    table = io.BytesIO()
    if options.confidence is not None:
        located.write_confidence(table)
    return (
        located.bootlog(options.threshold),
        table.getvalue() if options.confidence is not None else None,
    )


def below(bootlog: Bootlog, root: Path) -> Bootlog:
    """Return the events of files below a directory, with paths relative to it."""
    import numpy as np

    # strace -y prints resolved paths of open files, and the argument of chroot(2) unresolved.
    prefixes = {os.fsencode(path).rstrip(b"/") + b"/" for path in (root.resolve(), root.absolute())}
    numbers: dict[bytes, int] = {}
    new = np.full(len(bootlog.paths), -1, np.int64)
    for place, path in enumerate(bootlog.paths):
        for prefix in prefixes:
            if path.startswith(prefix):
                new[place] = numbers.setdefault(path[len(prefix) - 1 :], len(numbers))
                break
    kept = new[bootlog.events["path"]] >= 0
    events = bootlog.events[kept]
    events["path"] = new[events["path"]]
    return replace(bootlog, events=events, paths=list(numbers))


def print_formats() -> None:
    """Print the formats that can be read."""
    for item in map(load, names()):
        image = " (--image)" if item.needs_image else ""
        print(f"{item.name:12} {item.summary}{image}")
        print(f"{'':12} gives {item.gives}; recorded by: {item.record}")


def encoded(bootlog: Bootlog, *, events: bool) -> bytes:
    """Return a bootlog as bytes in either format."""
    from optimizer.formats.bootlog import write_events, write_list
    from optimizer.order import PSEUDO_FILE_SYSTEMS

    content = io.BytesIO()
    if events:
        write_events(content, bootlog)
        return content.getvalue()
    pseudo = [system in PSEUDO_FILE_SYSTEMS for system in bootlog.file_systems]
    numbers = bootlog.events[["path", "file_system"]].tolist()
    paths = dict.fromkeys(bootlog.paths[path] for path, system in numbers if not pseudo[system])
    write_list(content, (path for path in paths if path.startswith(b"/")))
    return content.getvalue()


def report(item: Import, bootlog: Bootlog, *, guessed: bool) -> None:
    """Print on standard error what was found, and what is missing."""
    from bootprof.progress import note

    of = f", read as {item.name}" if guessed else ""
    note(f"bootprof: {len(bootlog.events):,} events of {len(bootlog.paths):,} files{of}")
    if bootlog.lost:
        note(f"bootprof: {bootlog.lost:,} records are missing or have no path")
    if "lengths" in bootlog.header:
        note(f"bootprof: {bootlog.header['lengths']}")
    below = int(bootlog.header.get("files_below_threshold", "0"))
    if below:
        threshold = bootlog.header["confidence_threshold"]
        note(f"bootprof: left out {below:,} files with a confidence below {threshold}")
