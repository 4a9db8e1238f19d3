"""``bootprof readahead``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import choose_drives, find_bootlog, load_trace, number
from bootprof.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.drives.models import Drive
    from optimizer.images.squashfs.layout import Layout
    from optimizer.readahead import Plan

EPILOG = """\
BOOTLOG is a bootlog, plain or rich, of any image with these files; or the block trace of a boot of
this very IMAGE; or a folder that bootprof profile wrote, whose bootlog is taken. A rich bootlog
tells which parts of a file were read, a plain one makes its files wanted as a whole.

The list has the byte ranges of the squashfs that the boot wants, and all of its tables, ascending;
a gap is read too where that costs the drive less than a new request. It is for the program
bootprof-readahead, which takes it for this squashfs only. `bootprof build --readahead BOOTLOG`
makes the list for the image that it builds, and brings both into it.

examples:
  bootprof readahead live.iso out/profile -o readahead.list
  bootprof readahead live.iso bootlog.events --drive usb-2 > readahead.list
  bootprof readahead live.iso out/profile/blocktrace.tsv -o readahead.list
  bootprof readahead live.iso --tables -o readahead.list
"""
TRACE_MAGIC = b"#bootprof-blocktrace "


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof readahead``."""
    parser = subparsers.add_parser(
        "readahead",
        help="the byte ranges that a boot wants, for the readahead program",
        description=(
            "Write the list of byte ranges of the squashfs in IMAGE that a boot wants, sorted by "
            "position, for the program that reads them ahead while the system starts."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="squashfs, ISO or disk image")
    parser.add_argument(
        "bootlog",
        type=Path,
        nargs="?",
        metavar="BOOTLOG",
        help="bootlog, block trace or folder of a profile",
    )
    parser.add_argument(
        "--tables", action="store_true", help="the tables alone, which takes no bootlog"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="list to write (default: standard output)"
    )
    parser.add_argument(
        "-d",
        "--drive",
        default="cd-24x",
        metavar="DRIVE",
        help="drive to weigh gaps for, or a TOML file, see bootprof compare (default: %(default)s)",
    )
    parser.add_argument(
        "--squashfs-offset",
        type=number,
        metavar="BYTES",
        help="where the squashfs begins in IMAGE (default: find it)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the list and say what is in it."""
    from bootprof.files import write_output
    from optimizer.images.iso9660 import find_squashfs
    from optimizer.images.squashfs.layout import read_layout
    from optimizer.readahead import ReadaheadList, format_list, plan, read_superblock_bytes

    drive = choose_drives([options.drive])[0]
    offset_bytes = options.squashfs_offset
    if offset_bytes is None:
        offset_bytes = find_squashfs(options.image)
    layout = read_layout(options.image, offset_bytes)
    planned = plan(layout, wanted(layout, options), drive)
    with options.image.open("rb") as stream:
        superblock = read_superblock_bytes(stream, layout)
    content = format_list(ReadaheadList(superblock, layout.size_bytes, drive.name, planned.ranges))
    write_output(options.output, content)
    for line in summary(planned, layout, drive):
        print(line, file=sys.stderr)
    return 0


def wanted(layout: Layout, options: argparse.Namespace) -> NDArray[Any]:
    """Return what the boot wants, from a bootlog or from a block trace.

    Raises:
        InputError: There is no such file, or nothing in it is of this image.
    """
    from optimizer.demand import demand_of, touched_by
    from optimizer.readahead import wanted_by_demand, wanted_by_trace, with_kernel_readahead

    path = options.bootlog
    if options.tables == (path is not None):
        raise InputError(
            "either a bootlog or --tables",
            hint="bootprof readahead IMAGE BOOTLOG, or bootprof readahead IMAGE --tables",
        )
    if options.tables:
        return wanted_by_demand(layout, demand_of(layout, {}))
    path = find_bootlog(path)
    with path.open("rb") as stream:
        is_trace = stream.read(len(TRACE_MAGIC)) == TRACE_MAGIC
    if is_trace:
        return wanted_by_trace(layout, load_trace(path, options.image).reads)
    demand = demand_of(layout, with_kernel_readahead(touched_by(path)))
    if not demand.files:
        raise InputError(
            f"{path}: none of its files is in {options.image}",
            hint="give the bootlog of a boot of this image, or of a build with the same files",
        )
    return wanted_by_demand(layout, demand)


def summary(planned: Plan, layout: Layout, drive: Drive) -> list[str]:
    """Return the lines that say what is in a list."""
    from bootprof.units import quantity

    ranges = planned.ranges
    total = quantity(int(ranges["length_bytes"].sum()), "bytes")
    bridged = quantity(planned.bridged_bytes, "bytes")
    one_pass = quantity(planned.seconds, "seconds")
    apart = quantity(planned.stretch_seconds, "seconds")
    return [
        f"{len(ranges):,} ranges, {total} of {quantity(layout.size_bytes, 'bytes')}",
        f"{planned.stretches - len(ranges):,} gaps are read through: {bridged} that nobody wants",
        f"one pass on {drive.title}: {one_pass}; without reading through gaps {apart}",
    ]
