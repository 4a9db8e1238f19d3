# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof readahead``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bootprof.commands.inputs import (
    add_drive,
    add_output,
    add_path,
    add_squashfs,
    choose_drives,
    find_bootlog,
    load_trace,
    open_chosen,
)
from bootprof.errors import InputError
from optimizer.formats import TRACE_MAGIC

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.drives.models import Drive
    from optimizer.images.image import Image
    from optimizer.images.layout import Layout
    from optimizer.readahead import Plan
    from optimizer.spans import Spans

EPILOG = """\
BOOTLOG is one of these:
  - a bootlog of any image with the same files. From bootlog.events, the list gets the parts of the
    files that were read; from bootlog.list, whole files.
  - the block trace of a boot of this IMAGE
  - a folder written by bootprof profile; its bootlog is used

The list contains the byte ranges of the file system that the boot needs, in ascending order, and of
a squashfs all tables. A gap between two ranges is included if reading through it costs the drive
less than a new request. The program bootprof-readahead reads these ranges at boot, for this file
system only.
`bootprof build --readahead BOOTLOG` makes the list for the image that it builds, and adds list and
program to the image.

examples:
  bootprof readahead live.iso out/profile -o readahead.list
  bootprof readahead live.iso bootlog.events --drive usb-2 > readahead.list
  bootprof readahead live.iso out/profile/blocktrace.tsv -o readahead.list
  bootprof readahead live.iso --tables -o readahead.list
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof readahead``."""
    parser = subparsers.add_parser(
        "readahead",
        help="list the byte ranges that a boot needs, for the readahead program",
        description=(
            "List the byte ranges of the file system in IMAGE that a boot needs, sorted by\n"
            "position, for the program that reads them ahead while the system starts."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="squashfs, EROFS, ISO or disk image")
    add_path(
        parser,
        "bootlog",
        nargs="?",
        metavar="BOOTLOG",
        help="bootlog, block trace or folder of a profile",
    )
    parser.add_argument(
        "--tables", action="store_true", help="list only the tables; needs no bootlog"
    )
    add_output(parser, "list to write")
    add_drive(parser, "drive to optimize the list for")
    add_squashfs(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the list and print a summary of it."""
    from bootprof.files import write_output
    from optimizer.formats.readahead_list import format_list
    from optimizer.readahead import list_of, plan

    if options.tables == (options.bootlog is not None):
        raise InputError(
            "give a bootlog or --tables, but not both",
            hint="bootprof readahead IMAGE BOOTLOG, or bootprof readahead IMAGE --tables",
        )
    drive = choose_drives([options.drive])[0]
    image = open_chosen(options.image, options)
    layout = image.layout()
    planned = plan(layout, wanted(image, options), drive)
    content = format_list(list_of(layout, planned, drive))
    write_output(options.output, content)
    for line in summary(planned, layout, drive):
        print(line, file=sys.stderr)
    return 0


def wanted(image: Image, options: argparse.Namespace) -> Spans:
    """Return what the boot needs, from a bootlog or from a block trace.

    Raises:
        InputError: There is no such file, or it names nothing that is in this image.
    """
    from optimizer.demand import demand_of, touched_by
    from optimizer.readahead import wanted_by_demand, wanted_by_trace, with_kernel_readahead

    layout = image.layout()
    if options.tables:
        return wanted_by_demand(layout, demand_of(layout, {}))
    path = find_bootlog(options.bootlog)
    with path.open("rb") as stream:
        is_trace = stream.read(len(TRACE_MAGIC)) == TRACE_MAGIC
    if is_trace:
        return wanted_by_trace(layout, load_trace(path, image).reads)
    demand = demand_of(layout, touched_by(path, with_kernel_readahead))
    if not demand.files:
        raise InputError(
            f"{path}: none of its files is in {options.image}",
            hint="give a bootlog of this image, or of a build with the same files",
        )
    return wanted_by_demand(layout, demand)


def summary(planned: Plan, layout: Layout, drive: Drive) -> list[str]:
    """Return the lines of the summary of a list."""
    from bootprof.units import quantity

    ranges, gaps = planned.ranges, planned.bridged_gaps
    total = quantity(int(ranges["length_bytes"].sum()), "bytes")
    bridged = quantity(planned.bridged_bytes, "bytes")
    one_pass = quantity(planned.seconds, "seconds")
    apart = quantity(planned.stretch_seconds, "seconds")
    return [
        f"{len(ranges):,} ranges, {total} of {quantity(layout.size_bytes, 'bytes')}",
        f"{gaps:,} {'gap is' if gaps == 1 else 'gaps are'} read too: {bridged}, unneeded",
        f"one pass on {drive.title}: {one_pass}; {apart} without reading the gaps",
    ]
