# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof sort``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from bootprof.commands.inputs import (
    add_drive,
    add_output,
    add_path,
    add_squashfs,
    choose_drives,
    open_chosen,
    open_input,
)
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.drives.models import Drive
    from optimizer.order import Arrangement
    from optimizer.place import Placement

HINT = "give a bootlog.list or bootlog.events, or pipe one in"
EPILOG = """\
BOOTLOG is a bootlog in either format (bootlog.list or bootlog.events), or a sort file of
mksquashfs, genisoimage or gensquashfs, which is read in the order of its priorities. Lines that are
not absolute paths, such as pipe:[4711], are left out and counted.

With --root, each path is looked up in the directory that the image is made from. Symbolic links are
resolved inside it, so that /lib/x and /usr/lib/x are one file. Paths that do not exist there, or
are not regular files, are left out. Without --root, paths are used unchanged. Directories are then
left out only if recognizable by name: a trailing slash, or other paths below them. mksquashfs warns
about each path that it does not find.

excludes:
  /dev, /proc, /sys, /run, /tmp, /var/run, /var/lock, /live/distrib, the media of live systems
  (/cdrom, /lib/live/mount) and everything below them are left out. Whole path components are
  compared: /sysroot is kept. If BOOTLOG is bootlog.events, files on file systems that are not part
  of the image (proc, sysfs, tmpfs, rootfs of the initramfs, the iso9660 medium, ...) are left out
  too. --exclude PATTERN leaves out more:
    /usr/share/doc     this path and everything below
    /var/lib/*/cache   * and ? match anything but a slash, [a-z] one character, ** anything
    *.pyc              no leading slash: at every depth

formats:
  mksquashfs    PATH PRIORITY for mksquashfs -sort FILE. There are 32767 priorities: with more
                files, neighbours share one, and mksquashfs chooses their order
  gensquashfs   PRIORITY PATH for gensquashfs --sort-file FILE
  mkdwarfs      PATH for mkdwarfs --order=explicit:file=FILE, or --hotness-list=FILE; its place is
                the start
  list          only the ordered paths, in the format of bootlog.list

examples:
  bootprof sort bootlog.list > config/distrib.sort
  bootprof sort bootlog.events --root out/root -o config/distrib.sort
  bootprof sort bootlog.events --root out/root --image out/unsorted.iso --place auto --search 20000
  grep -v '^/home/' bootlog.list | bootprof sort --exclude '*.pyc' --place end > hot-at-end.sort
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof sort``."""
    parser = subparsers.add_parser(
        "sort",
        help="turn a bootlog into a sort file",
        description="Turn a bootlog into a sort file: files in the order of first access.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(
        parser,
        "bootlog",
        nargs="?",
        default=Path("-"),
        metavar="BOOTLOG",
        help="bootlog in either format, or sort file; - is standard input (default: -)",
    )
    add_path(
        parser,
        "-r",
        "--root",
        folder=True,
        metavar="DIR",
        help="directory that the image is made from: resolve links, leave out missing paths",
    )
    parser.add_argument(
        "-x",
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out matching paths and everything below them (can be repeated)",
    )
    parser.add_argument(
        "--no-default-filter",
        action="store_true",
        help="keep /dev, /proc, /sys, /run, /tmp and mounted media",
    )
    parser.add_argument(
        "--all-file-systems",
        action="store_true",
        help="keep files on proc, sysfs, tmpfs and similar file systems",
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=("mksquashfs", "gensquashfs", "mkdwarfs", "list"),
        default="mksquashfs",
        help="format to write (default: %(default)s)",
    )
    parser.add_argument(
        "-p",
        "--place",
        choices=("start", "end", "auto"),
        default="start",
        help="start: put the files before all others; end: after all others, next to the tables of "
        "the image; auto: where the simulated boot takes less time, needs --image "
        "(default: %(default)s)",
    )
    add_path(
        parser,
        "-i",
        "--image",
        metavar="IMAGE",
        help="image of this root file system, in any order, for the simulation",
    )
    add_squashfs(parser)
    parser.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="CANDIDATES",
        help="simulate this number of orders and use the best; needs --image (default: 0, which "
        "keeps the order of first access)",
    )
    add_drive(parser, "drive to simulate")
    parser.add_argument(
        "--hard-links",
        choices=("once", "all"),
        help="with --root, list each file once, or under all names that were accessed (default: "
        "once for mksquashfs, which uses the last name; all for the other formats)",
    )
    add_output(parser)
    parser.add_argument(
        "--allow-empty", action="store_true", help="succeed even if no path is left"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print no summary")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sort, and print on standard error what was left out."""
    from optimizer.formats.sortfile import distinct_paths_of, split_expressible
    from optimizer.order import IMAGE_EXCLUDES, NOT_ON_IMAGE, arrange, compile_excludes

    patterns = [os.fsencode(pattern) for pattern in options.exclude]
    excluded = compile_excludes(
        patterns if options.no_default_filter else [*IMAGE_EXCLUDES, *patterns]
    )
    if options.format == "mkdwarfs" and options.place != "start":
        raise InputError(
            f"--place {options.place}: mkdwarfs writes listed files before all others",
            hint="give --place start",
        )
    hard_links = options.hard_links or ("once" if options.format == "mksquashfs" else "all")
    skipped: set[bytes] = set()
    with open_input(options.bootlog, hint="give a bootlog.list or bootlog.events") as (
        name,
        stream,
    ):
        listed = distinct_paths_of(
            stream,
            name,
            skip=() if options.all_file_systems else NOT_ON_IMAGE,
            skipped=skipped,
        )
        arrangement = arrange(
            listed.paths,
            excluded=excluded,
            root=options.root,
            hard_links_once=hard_links == "once",
        )
        paths: list[bytes] = arrangement.paths
        said: tuple[str, ...] = ()
        if options.place == "auto" or options.search:
            stream.seek(0)
            paths, options.place, said = simulated(paths, stream, name, options)
    others: list[bytes] = []
    if options.format != "list":
        paths, others = split_expressible(paths)
        if options.place == "end" and options.root is not None:
            paths = with_duplicates(paths, options.root)
    summary = describe(arrangement, len(paths), len(others), len(skipped), options.root)
    if not paths and not options.allow_empty:
        raise InputError(
            f"{name}: nothing to sort: {summary}",
            hint="give a bootlog with absolute paths of files on the image, or --allow-empty; "
            "bootprof convert turns recordings of other tools into bootlogs",
        )
    write(paths, options)
    if not options.quiet:
        for sentence in (*listed.said, *said):
            print(f"bootprof: {sentence}", file=sys.stderr)
        print(f"bootprof: {summary}", file=sys.stderr)
    return 0


def simulated(
    paths: Sequence[bytes], stream: BinaryIO, name: str, options: argparse.Namespace
) -> tuple[list[bytes], Literal["start", "end"], tuple[str, ...]]:
    """Choose place and order by simulation; return both, and lines that describe the choice."""
    from optimizer.formats import EVENTS_MAGIC
    from optimizer.formats.bootlog import read_bootlog
    from optimizer.place import choose

    if options.image is None or options.search < 0:
        raise InputError(
            "--place auto and --search simulate the boot, which needs --image and a number of "
            "candidates from 0",
            hint="bootprof sort out/unsorted/bootlog.events --image out/unsorted.iso --place auto",
        )
    if stream.read(len(EVENTS_MAGIC)) != EVENTS_MAGIC:
        raise InputError(
            f"{name}: a list of paths does not record when each part of a file was read",
            hint="give bootlog.events, or omit --place auto and --search",
        )
    stream.seek(0)
    log = read_bootlog(stream, name)
    drive = choose_drives([options.drive])[0]
    chosen = choose(
        paths,
        log,
        open_chosen(options.image, options).layout(),
        place=options.place,
        drive=drive,
        candidates=options.search,
    )
    return chosen.paths, chosen.place, describe_placement(chosen, drive, options.search)


def describe_placement(chosen: Placement, drive: Drive, candidates: int) -> tuple[str, ...]:
    """Describe the result of the simulation in seconds, the only quantity that it models."""
    from bootprof.units import quantity

    said = []
    if chosen.costs:
        places = (
            f"at the {name} {quantity(cost.seconds, 'seconds')}"
            for name, cost in chosen.costs.items()
        )
        said.append(f"simulated on {drive.title}: {', '.join(places)}")
    if chosen.found is not None:
        best, first = chosen.found.cost, chosen.found.first
        said.append(
            f"best of {candidates} orders: {quantity(best.seconds, 'seconds')}; order of first "
            f"access: {quantity(first.seconds, 'seconds')}; "
            f"{best.seconds / best.bound_seconds:.2f} times the bound"
        )
    return tuple(said)


def with_duplicates(paths: Sequence[bytes], root: Path) -> list[bytes]:
    """Put duplicates next to their hot file; mksquashfs stores content where it first occurs."""
    from optimizer.duplicates import find_duplicates
    from optimizer.formats.sortfile import split_expressible

    duplicates = find_duplicates(root, [path[1:] for path in paths])
    together = []
    for path in paths:
        found, _ = split_expressible([b"/" + name for name in duplicates.get(path[1:], ())])
        together += [path, *found]
    return together


def write(paths: Sequence[bytes], options: argparse.Namespace) -> None:
    """Write the ordered paths in the requested format."""
    from bootprof.files import open_output
    from optimizer.formats.bootlog import write_list
    from optimizer.formats.sortfile import gensquashfs_lines, mkdwarfs_lines, mksquashfs_lines

    def write_to(stream: BinaryIO) -> None:
        if options.format == "list":
            write_list(stream, paths)
        elif options.format == "mkdwarfs":
            stream.write(b"".join(mkdwarfs_lines(paths)))
        elif options.format == "gensquashfs":
            stream.write(b"".join(gensquashfs_lines(paths, options.place)))
        else:
            stream.write(b"".join(mksquashfs_lines(paths, options.place)))

    with open_output(options.output) as stream:
        write_to(stream)


def describe(
    arrangement: Arrangement, written: int, not_expressible: int, pseudo: int, root: Path | None
) -> str:
    """Return one line that counts the paths written and left out."""
    counts = (
        (pseudo, "on file systems that are not part of an image"),
        (arrangement.excluded, "excluded"),
        (arrangement.not_absolute, "not absolute"),
        (arrangement.missing, f"not in {root}"),
        (arrangement.unreadable, f"in unreadable directories of {root}"),
        (arrangement.not_regular, "not regular files"),
        (arrangement.directories, "directories by name (--root finds all)"),
        (arrangement.repeated, "further names of a file"),
        (not_expressible, "with a newline, which a sort file cannot contain"),
    )
    left_out = ", ".join(f"{count} {why}" for count, why in counts if count)
    return f"{written} files" + (f"; left out: {left_out}" if left_out else "")
