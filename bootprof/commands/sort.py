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
BOOTLOG has either format (bootlog.list or bootlog.events), or is a sort file of mksquashfs,
genisoimage or gensquashfs, which is read in the order of its priorities. Lines that are no absolute
path (pipe:[4711]) are left out and counted.

With --root, the paths are looked up in the directory that the image is made of: symbolic links are
resolved inside it (/lib/x and /usr/lib/x are one file), and what is not there, or is no regular
file, is left out. Without --root, paths are used unchanged: of directories only those are left out
whose names tell (a slash at the end, or other paths below), and mksquashfs warns about each path
that it does not find.

excludes:
  /dev, /proc, /sys, /run, /tmp, /var/run, /var/lock, /live/distrib, the media of live systems
  (/cdrom, /lib/live/mount) and everything below them are left out, by whole components of the path
  (/sysroot stays). So are files on file systems that the image does not hold (proc, sysfs, tmpfs,
  rootfs of the initramfs, the iso9660 medium, ...), if BOOTLOG is bootlog.events. --exclude PATTERN
  leaves out more:
    /usr/share/doc     this path and everything below
    /var/lib/*/cache   * and ? match anything but a slash, [a-z] one character, ** anything
    *.pyc              without a slash at the start: at every depth

formats:
  mksquashfs    PATH PRIORITY for mksquashfs -sort FILE; at most 32767 priorities: beyond that many
                files, neighbours share one, and mksquashfs orders files of equal priority itself
  gensquashfs   PRIORITY PATH for gensquashfs --sort-file FILE
  list          the ordered paths alone, as a bootlog.list

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
        help="bootlog of either format, or sort file (default, and -: standard input)",
    )
    add_path(
        parser,
        "-r",
        "--root",
        folder=True,
        metavar="DIR",
        help="directory that the image is made of: resolve links, leave out what is not there",
    )
    parser.add_argument(
        "-x",
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out matching paths and all below (can be repeated)",
    )
    parser.add_argument(
        "--no-default-filter",
        action="store_true",
        help="do not leave out /dev, /proc, /sys, /run, /tmp and mounted media",
    )
    parser.add_argument(
        "--all-file-systems",
        action="store_true",
        help="do not leave out files on proc, sysfs, tmpfs and their like",
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=("mksquashfs", "gensquashfs", "list"),
        default="mksquashfs",
        help="what to write (default: %(default)s)",
    )
    parser.add_argument(
        "-p",
        "--place",
        choices=("start", "end", "auto"),
        default="start",
        help="put the files before all others (start), behind them and beside the tables of the "
        "image (end), or where the simulated boot costs less (auto, needs --image) "
        "(default: %(default)s)",
    )
    add_path(
        parser,
        "-i",
        "--image",
        metavar="IMAGE",
        help="image of this root file system, in any order, to simulate the boot on",
    )
    add_squashfs(parser)
    parser.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="CANDIDATES",
        help="simulate this many orders and use the best one; needs --image (default: keep the "
        "order of first access)",
    )
    add_drive(parser, "drive to simulate")
    parser.add_argument(
        "--hard-links",
        choices=("once", "all"),
        help="with --root, list one name of each file, or all names that were accessed (default: "
        "once for mksquashfs, which uses the last name; all for the other formats)",
    )
    add_output(parser)
    parser.add_argument(
        "--allow-empty", action="store_true", help="succeed even if no path is left to write"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print no summary")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sort, and say on standard error what was left out."""
    from optimizer.formats.sortfile import distinct_paths_of, split_expressible
    from optimizer.order import IMAGE_EXCLUDES, NOT_ON_IMAGE, arrange, compile_excludes

    patterns = [os.fsencode(pattern) for pattern in options.exclude]
    excluded = compile_excludes(
        patterns if options.no_default_filter else [*IMAGE_EXCLUDES, *patterns]
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
            "bootprof convert makes a bootlog of what other tools recorded",
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
    """Choose place and order by simulation; return them, and what to say of them."""
    from optimizer.formats.bootlog import read_bootlog
    from optimizer.place import choose

    if options.image is None or options.search < 0:
        raise InputError(
            "--place auto and --search simulate the boot, which needs an image",
            hint="bootprof sort out/unsorted/bootlog.events --image out/unsorted.iso --place auto",
        )
    if not stream.read(18).startswith(b"#bootprof-bootlog "):
        raise InputError(
            f"{name}: a list of paths does not say which parts of a file were read when",
            hint="give bootlog.events, or leave out --place auto and --search",
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
    """Say what the simulation found, in times alone, which is what it is good for."""
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
            f"best of {candidates} orders: {quantity(best.seconds, 'seconds')}, the order of first "
            f"access {quantity(first.seconds, 'seconds')}; "
            f"{best.seconds / best.bound_seconds:.2f} times the bound of one pass"
        )
    return tuple(said)


def with_duplicates(paths: Sequence[bytes], root: Path) -> list[bytes]:
    """Put duplicates beside their hot file; mksquashfs stores content where it meets it first."""
    from optimizer.duplicates import find_duplicates
    from optimizer.formats.sortfile import split_expressible

    duplicates = find_duplicates(root, [path[1:] for path in paths])
    together = []
    for path in paths:
        found, _ = split_expressible([b"/" + name for name in duplicates.get(path[1:], ())])
        together += [path, *found]
    return together


def write(paths: Sequence[bytes], options: argparse.Namespace) -> None:
    """Write the ordered paths in the format that was asked for."""
    from bootprof.files import open_output
    from optimizer.formats.bootlog import write_list
    from optimizer.formats.sortfile import gensquashfs_lines, mksquashfs_lines

    def write_to(stream: BinaryIO) -> None:
        if options.format == "list":
            write_list(stream, paths)
        elif options.format == "gensquashfs":
            stream.write(b"".join(gensquashfs_lines(paths, options.place)))
        else:
            stream.write(b"".join(mksquashfs_lines(paths, options.place)))

    with open_output(options.output) as stream:
        write_to(stream)


def describe(
    arrangement: Arrangement, written: int, not_expressible: int, pseudo: int, root: Path | None
) -> str:
    """Say in one line what became of the paths."""
    counts = (
        (pseudo, "on file systems that no image holds"),
        (arrangement.excluded, "excluded"),
        (arrangement.not_absolute, "not absolute"),
        (arrangement.missing, f"not in {root}"),
        (arrangement.unreadable, f"in closed directories of {root}"),
        (arrangement.not_regular, "not regular files"),
        (arrangement.directories, "directories by their names (--root tells all)"),
        (arrangement.repeated, "further names of a file"),
        (not_expressible, "with a newline, which a sort file cannot hold"),
    )
    left_out = ", ".join(f"{count} {why}" for count, why in counts if count)
    return f"{written} files" + (f"; left out: {left_out}" if left_out else "")
