# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof analyze``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import (
    add_drive,
    add_path,
    add_squashfs,
    choose_drives,
    find_bootlog,
    find_trace,
    load_trace,
    number,
    open_chosen,
)
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.analysis import Analysis

SCHEMA_VERSION = 1
JOURNEYS_SHOWN = 8

EPILOG = """\
PROFILE is a folder written by bootprof profile, or a bootlog; a bootlog needs --trace as well. The
trace must have been recorded with this IMAGE: size and digest are checked. The bootlog may come
from another build with the same files (--bootlog), because a release image contains no profiler.

limit: the modelled time of one ascending pass over all bytes that the boot needs:
  - data blocks and fragment blocks of touched files: only the touched ranges if the bootlog has
    them (read and fault events, else cache and block events), else whole files
  - the table blocks needed to look up these files, and what is read at mount
  - what the boot loader read, and the ISO directory records that were read
"read limit" excludes what the bootlog names but, according to the trace, was never read.

causes: docs/commands/analyze.md explains how each byte and seek is assigned a cause.

examples:
  bootprof analyze live.iso out/profile
  bootprof analyze sorted.iso out/sorted --bootlog out/unsorted/bootlog.events --drive usb-2
  bootprof analyze live.iso bootlog.list --trace blocktrace.tsv --json | jq .ratio
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof analyze``."""
    parser = subparsers.add_parser(
        "analyze",
        help="show how far a boot is from the limit, and what causes each byte and seek",
        description=(
            "Compare what a boot read with what it needed: the modelled time of both, and the\n"
            "cause of every byte and every seek."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="squashfs, EROFS, ISO or disk image")
    add_path(parser, "profile", metavar="PROFILE", help="folder of a profile")
    add_path(parser, "-b", "--bootlog", metavar="FILE", help="bootlog (default: that of PROFILE)")
    add_path(parser, "-t", "--trace", metavar="FILE", help="block trace (default: that of PROFILE)")
    add_drive(parser, "drive to model")
    parser.add_argument(
        "--long-seek",
        type=number,
        default=1_000_000,
        metavar="BYTES",
        help="count seeks longer than this as long seeks (default: %(default)s)",
    )
    add_squashfs(parser)
    parser.add_argument("-j", "--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Analyze and print."""
    from optimizer.analysis import analyze
    from optimizer.demand import demand_of, touched_by

    drive = choose_drives([options.drive])[0]
    bootlog, trace_file = find_inputs(options)
    image = open_chosen(options.image, options)
    trace = load_trace(trace_file, image)
    if trace.image_bytes > drive.capacity_bytes:
        raise InputError(
            f"{options.image}: {trace.image_bytes} bytes do not fit on {drive.title}",
            hint="choose a larger drive with --drive",
        )
    layout = image.layout()
    demand = demand_of(layout, touched_by(bootlog))
    if not demand.files:
        raise InputError(
            f"{bootlog}: none of its files is in {options.image}",
            hint="give a bootlog of this image, or of a build with the same files",
        )
    found = analyze(trace.reads, layout, image.iso, demand, drive, options.long_seek)
    if options.json:
        inputs = {"image": str(options.image), "bootlog": str(bootlog), "trace": str(trace_file)}
        print(json.dumps(as_json(found, inputs, options.long_seek), indent=2, allow_nan=False))
    else:
        print_analysis(found)
    return 0


def find_inputs(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the files of bootlog and block trace.

    Raises:
        InputError: One of them is neither given nor in the folder.
    """
    is_folder = options.profile.is_dir()
    if not is_folder and options.bootlog is not None:
        raise InputError(
            f"two bootlogs are given: {options.profile} and --bootlog {options.bootlog}",
            hint="with --bootlog, PROFILE must be the folder of a profile",
        )
    if not is_folder and options.profile.exists() and options.trace is None:
        raise InputError("no block trace is given", hint="give one with --trace blocktrace.tsv")
    bootlog = find_bootlog(
        options.bootlog or options.profile,
        hint="give one with --bootlog, for example that of the profiling image",
    )
    return bootlog, find_trace(options.trace or options.profile)


def as_json(found: Analysis, inputs: dict[str, str], long_seek_bytes: int) -> dict[str, object]:
    """Return an analysis as a JSON object; docs/commands/analyze.md describes the keys."""
    from optimizer.analysis import cause_rows, journeys

    totals = found.totals
    return {
        "schema": SCHEMA_VERSION,
        **inputs,
        "drive": found.drive.name,
        "files": found.files,
        "missing": [os.fsdecode(path) for path in found.missing],
        "reads": totals.reads,
        "bytes": totals.bytes,
        "unique_bytes": totals.unique_bytes,
        "needed_bytes": found.needed_bytes,
        "needed_and_read_bytes": found.needed_and_read_bytes,
        "modelled_seconds": found.modelled_seconds,
        "limit_seconds": found.limit_seconds,
        "read_limit_seconds": found.read_limit_seconds,
        "ratio": found.ratio,
        "read_ratio": found.read_ratio,
        "long_seek_bytes": long_seek_bytes,
        "causes": [asdict(row) for row in cause_rows(found.found)],
        "journeys": [
            {
                "from": journey.start.name.lower(),
                "to": journey.end.name.lower(),
                "seek_distance_bytes": journey.seek_distance_bytes,
            }
            for journey in journeys(found.found)
        ],
    }


def print_analysis(found: Analysis) -> None:
    """Print both tables and the summary as text."""
    from bootprof.units import quantity
    from optimizer.analysis import journeys

    print_causes(found)
    print("\nlongest distances from one cause to another")
    for journey in journeys(found.found)[:JOURNEYS_SHOWN]:
        distance = quantity(journey.seek_distance_bytes, "bytes")
        print(f"  {distance:>9}  {journey.start.label} -> {journey.end.label}")
    print(f"\nmodelled I/O on {found.drive.title}")
    read, total = quantity(found.modelled_seconds, "seconds"), found.totals
    print(f"  this boot    {read:>8}  {quantity(total.bytes, 'bytes')} in {total.reads:,} reads")
    needed = quantity(found.needed_bytes, "bytes")
    print(
        f"  limit        {quantity(found.limit_seconds, 'seconds'):>8}  {needed} in one pass, "
        f"for {found.files:,} files: this boot takes {found.ratio:.2f} times as long"
    )
    if found.read_ratio is not None:
        print(
            f"  read limit   {quantity(found.read_limit_seconds, 'seconds'):>8}  "
            f"{quantity(found.needed_and_read_bytes, 'bytes')} of these were read: "
            f"this boot takes {found.read_ratio:.2f} times as long"
        )
    if found.missing:
        print(f"  {len(found.missing)} paths are not in the image (--json lists them)")


def print_causes(found: Analysis) -> None:
    """Print the cost of each cause."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from bootprof.report.details import cost_cells
    from optimizer.analysis import cause_rows

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cause")
    columns = ("read", "needed", "seeks", "long", "distance", "positioning", "transfer", "share")
    for column in columns:
        table.add_column(column, justify="right")
    for row in cause_rows(found.found):
        if not row.bytes:
            continue
        seconds = row.positioning_seconds + row.transfer_seconds
        table.add_row(
            row.title,
            *cost_cells(row),
            f"{100 * seconds / found.modelled_seconds:.1f} %",
        )
    width = None if sys.stdout.isatty() else 200
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().strip().splitlines():
        print(line.rstrip())
