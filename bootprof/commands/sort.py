"""``bootprof sort``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    from optimizer.drives.models import Drive
    from optimizer.order import Arrangement
    from optimizer.place import Placement

HINT = "give a bootlog.list or bootlog.events, or pipe one in"
EPILOG = """\
The bootlog may be plain (bootlog.list) or rich (bootlog.events); its first line tells. Lines that
are no absolute path (pipe:[4711]) are left out and counted.

With --root, the paths are looked up in the directory that the image is made of: symbolic links are
resolved inside it (/lib/x and /usr/lib/x are one file), and what is not there, or is no regular
file, is left out. Without --root, paths are taken as they are, and mksquashfs warns about each one
that it does not find.

excludes:
  Left out are /dev, /proc, /sys and /live/distrib and what lies below them, by whole components of
  the path (/sysroot stays), and, in a rich bootlog, files on file systems that no image holds
  (proc, sysfs, tmpfs, rootfs of the initramfs, ...). A PATTERN adds to that:
    /usr/share/doc     this path and everything below
    /var/lib/*/cache   * and ? match anything but a slash, [a-z] one character, ** anything
    *.pyc              without a slash at the start: at every depth

formats:
  mksquashfs    PATH PRIORITY for mksquashfs -sort FILE; at most 32767 priorities: beyond that many
                files, neighbours share one, and mksquashfs puts equal ones in an order of its own
  gensquashfs   PRIORITY PATH for gensquashfs --sort-file FILE
  list          the ordered paths by themselves: again a plain bootlog

examples:
  bootprof sort bootlog.list > config/distrib.sort
  bootprof sort bootlog.events --root out/root -o config/distrib.sort
  bootprof sort bootlog.events --root out/root --image out/unsorted.iso --place auto --search 20000
  grep -v '^/home/' bootlog.list | bootprof sort --exclude '*.pyc' --place end > hot-at-end.sort
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof sort``."""
    parser = subparsers.add_parser(
        "sort",
        help="turn a bootlog into a sort file",
        description="Turn a bootlog into a sort file: files in the order of first access.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bootlog",
        type=Path,
        nargs="?",
        default=Path("-"),
        metavar="BOOTLOG",
        help="plain or rich bootlog; - or nothing: standard input",
    )
    parser.add_argument(
        "-r",
        "--root",
        type=Path,
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
        help="do not leave out /dev, /proc, /sys, /live/distrib",
    )
    parser.add_argument(
        "--all-file-systems",
        action="store_true",
        help="do not leave out proc, sysfs, tmpfs and the like (rich bootlogs tell)",
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
        help="the files go before all others, or behind them, beside the tables of the image; "
        "auto: where the simulated boot costs less, needs --image (default: %(default)s)",
    )
    parser.add_argument(
        "-i",
        "--image",
        type=Path,
        metavar="IMAGE",
        help="image of this root file system (whatever its order), to simulate the boot on",
    )
    parser.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="CANDIDATES",
        help="simulate so many orders and take the best one, needs --image (default: the order "
        "of first access)",
    )
    parser.add_argument(
        "--drive",
        default="cd-24x",
        metavar="DRIVE",
        help="drive to simulate, or a TOML file, see bootprof compare (default: %(default)s)",
    )
    parser.add_argument(
        "--hard-links",
        choices=("once", "all"),
        help="with --root, list one name of a file, or all that were accessed (default: once for "
        "mksquashfs, where the last name would count, all for the others, which go by name)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write (default: standard output)"
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="no error if no path is left to write"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="do not say how many paths were left out"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sort, and say on standard error what was left out."""
    from bootprof.commands.inputs import open_input
    from bootprof.errors import InputError
    from optimizer.formats.bootlog import distinct_paths
    from optimizer.formats.sortfile import split_expressible
    from optimizer.order import (
        DEFAULT_EXCLUDES,
        PSEUDO_FILE_SYSTEMS,
        arrange,
        compile_excludes,
    )

    patterns = [os.fsencode(pattern) for pattern in options.exclude]
    excluded = compile_excludes(
        patterns if options.no_default_filter else [*DEFAULT_EXCLUDES, *patterns]
    )
    hard_links = options.hard_links or ("once" if options.format == "mksquashfs" else "all")
    skipped: set[bytes] = set()
    with open_input(options.bootlog, hint="give a bootlog.list or bootlog.events") as (
        name,
        stream,
    ):
        arrangement = arrange(
            distinct_paths(
                stream,
                name,
                skip=() if options.all_file_systems else PSEUDO_FILE_SYSTEMS,
                skipped=skipped,
            ),
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
            paths = with_twins(paths, options.root)
    summary = describe(arrangement, len(paths), len(others), len(skipped), options.root)
    if not paths and not options.allow_empty:
        raise InputError(
            f"{name}: nothing to sort: {summary}",
            hint="give a bootlog with absolute paths of files on the image, or --allow-empty",
        )
    write(paths, options)
    if not options.quiet:
        for sentence in said:
            print(f"bootprof: {sentence}", file=sys.stderr)
        print(f"bootprof: {summary}", file=sys.stderr)
    return 0


def simulated(
    paths: Sequence[bytes], stream: BinaryIO, name: str, options: argparse.Namespace
) -> tuple[list[bytes], Literal["start", "end"], tuple[str, ...]]:
    """Choose place and order by simulation; return them, and what to say of them."""
    from bootprof.commands.inputs import choose_drives
    from bootprof.errors import InputError
    from optimizer.formats.bootlog import read_bootlog
    from optimizer.images.iso9660 import find_squashfs
    from optimizer.images.squashfs.layout import read_layout
    from optimizer.place import choose

    if options.image is None or options.search < 0:
        raise InputError(
            "--place auto and --search simulate the boot, which takes an image",
            hint="bootprof sort out/unsorted/bootlog.events --image out/unsorted.iso --place auto",
        )
    if not stream.read(18).startswith(b"#bootprof-bootlog "):
        raise InputError(
            f"{name}: a plain bootlog does not say which parts of a file were read when",
            hint="give bootlog.events, or leave out --place auto and --search",
        )
    stream.seek(0)
    log = read_bootlog(stream, name)
    drive = choose_drives([options.drive])[0]
    chosen = choose(
        paths,
        log,
        read_layout(options.image, find_squashfs(options.image)),
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


def with_twins(paths: Sequence[bytes], root: Path) -> list[bytes]:
    """Put the twins of hot files beside them; one written earlier would draw the content away."""
    from optimizer.duplicates import find_twins
    from optimizer.formats.sortfile import split_expressible

    twins = find_twins(root, [path[1:] for path in paths])
    together = []
    for path in paths:
        found, _ = split_expressible([b"/" + twin for twin in twins.get(path[1:], ())])
        together += [path, *found]
    return together


def write(paths: Sequence[bytes], options: argparse.Namespace) -> None:
    """Write the ordered paths in the format that was asked for."""
    from bootprof.files import open_output
    from optimizer.formats.bootlog import write_plain
    from optimizer.formats.sortfile import gensquashfs_lines, mksquashfs_lines

    def write_to(stream: BinaryIO) -> None:
        if options.format == "list":
            write_plain(stream, paths)
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
        (arrangement.repeated, "further names of a file"),
        (not_expressible, "with a newline, which a sort file cannot hold"),
    )
    left_out = ", ".join(f"{count} {why}" for count, why in counts if count)
    return f"{written} files" + (f"; left out: {left_out}" if left_out else "")
