"""``bootprof analyze``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import BOOTLOG_NAMES, choose_drives, load_trace, number
from bootprof.errors import InputError

if TYPE_CHECKING:
    pass

SCHEMA_VERSION = 1
JOURNEYS_SHOWN = 8

EPILOG = """\
PROFILE is a folder that bootprof profile wrote, or a bootlog (then give --trace). The trace has to
be of this very IMAGE: size and digest are compared. The bootlog may be of another build with the
same files (--bootlog), because a release image has no profiler in it.

limit: all bytes that the boot must read, in one ascending pass. It is made of
  - data blocks and fragment blocks of touched files: the touched ranges where the bootlog tells
    them (read and fault events, else cache events), else whole files
  - blocks of the tables in which these files are looked up, and what is read at mount
  - what the boot loader read, and the directory records of the ISO that were read
"read limit" leaves out what the bootlog asks for but the trace shows was never read.

causes: docs/commands/analyze.md has the rules by which bytes and seeks get theirs.

examples:
  bootprof analyze live.iso out/profile
  bootprof analyze sorted.iso out/sorted --bootlog out/unsorted/bootlog.events --drive usb-2
  bootprof analyze live.iso bootlog.list --trace blocktrace.tsv --json | jq .ratio
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof analyze``."""
    parser = subparsers.add_parser(
        "analyze",
        help="how far a boot is from the limit, and what causes each byte and seek",
        description=(
            "Compare what a boot read with what it had to read: the modelled time of both, and "
            "the cause of every byte and every seek."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="squashfs, ISO or disk image")
    parser.add_argument("profile", type=Path, metavar="PROFILE", help="folder of a profile")
    parser.add_argument(
        "-b", "--bootlog", type=Path, metavar="FILE", help="bootlog to use (default: PROFILE's)"
    )
    parser.add_argument(
        "-t", "--trace", type=Path, metavar="FILE", help="block trace to use (default: PROFILE's)"
    )
    parser.add_argument(
        "-d",
        "--drive",
        default="cd-24x",
        metavar="DRIVE",
        help="drive to model, or a TOML file, see bootprof compare (default: %(default)s)",
    )
    parser.add_argument(
        "--long-seek",
        type=number,
        default=1_000_000,
        metavar="BYTES",
        help="count seeks over this distance as long (default: %(default)s)",
    )
    parser.add_argument(
        "--squashfs-offset",
        type=number,
        metavar="BYTES",
        help="where the squashfs begins in IMAGE (default: find it)",
    )
    parser.add_argument("-j", "--json", action="store_true", help="print JSON, not the table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Analyze and print."""
    from bootprof.report.as_json import rows_of
    from optimizer.attribution import attribute, common, needed_reads, pass_seconds
    from optimizer.demand import demand_of, touched_by
    from optimizer.drives.seek import figures, modelled_seconds
    from optimizer.images.iso9660 import find_squashfs, is_iso, read_iso
    from optimizer.images.squashfs.layout import read_layout

    drive = choose_drives([options.drive])[0]
    bootlog, trace_file = find_inputs(options)
    trace = load_trace(trace_file, options.image)
    if trace.image_bytes > drive.capacity_bytes:
        raise InputError(
            f"{options.image}: {trace.image_bytes} bytes do not fit on {drive.title}",
            hint="choose another drive with --drive",
        )
    offset_bytes = options.squashfs_offset
    if offset_bytes is None:
        offset_bytes = find_squashfs(options.image)
    layout = read_layout(options.image, offset_bytes)
    iso = read_iso(options.image) if is_iso(options.image) else None
    demand = demand_of(layout, touched_by(bootlog))
    if not demand.files:
        raise InputError(
            f"{bootlog}: none of its files is in {options.image}",
            hint="give the bootlog of a boot of this image, or of a build with the same files",
        )
    found = attribute(trace.reads, layout, demand, drive, iso, options.long_seek)
    must = needed_reads(layout, demand, trace.reads, iso)
    must_and_read = common(must, trace.reads)
    modelled = modelled_seconds(trace.reads, drive)
    limit, read_limit = pass_seconds(must, drive), pass_seconds(must_and_read, drive)
    totals = figures(trace.reads)
    answer: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "image": str(options.image),
        "bootlog": str(bootlog),
        "trace": str(trace_file),
        "drive": drive.name,
        "files": demand.files,
        "missing": [os.fsdecode(path) for path in demand.missing],
        "reads": totals.reads,
        "bytes": totals.bytes,
        "unique_bytes": totals.unique_bytes,
        "needed_bytes": int(must["length_bytes"].sum()),
        "needed_and_read_bytes": int(must_and_read["length_bytes"].sum()),
        "modelled_seconds": modelled,
        "limit_seconds": limit,
        "read_limit_seconds": read_limit,
        "ratio": modelled / limit,
        "read_ratio": modelled / read_limit if read_limit else None,
        "long_seek_bytes": options.long_seek,
        "causes": rows_of(found),
        "journeys": journeys_of(found),
    }
    if options.json:
        print(json.dumps(answer, indent=2, allow_nan=False))
    else:
        print_answer(answer, drive.title)
    return 0


def find_inputs(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the files of bootlog and block trace.

    Raises:
        InputError: One of them is neither given nor in the folder.
    """
    folder = options.profile if options.profile.is_dir() else None
    if not options.profile.exists():
        raise InputError(
            f"{options.profile}: no such file or folder", hint="bootprof profile IMAGE"
        )
    bootlog, trace = options.bootlog, options.trace
    if folder is None:
        if bootlog is not None:
            raise InputError("two bootlogs are given", hint="PROFILE is a folder, with --bootlog")
        bootlog = options.profile
    elif bootlog is None:
        present = [folder / name for name in BOOTLOG_NAMES if (folder / name).exists()]
        if not present:
            raise InputError(
                f"{folder}: holds no bootlog",
                hint="give one with --bootlog: that of the profiling image will do",
            )
        bootlog = present[0]
    if trace is None:
        if folder is None:
            raise InputError("no block trace is given", hint="--trace blocktrace.tsv")
        trace = folder / "blocktrace.tsv"
    for file in (bootlog, trace):
        if not file.is_file():
            raise InputError(f"{file}: no such file", hint="make a profile with bootprof profile")
    return bootlog, trace


def journeys_of(found: Any) -> list[dict[str, Any]]:
    """Return the seek distance between each two causes, the longest first."""
    from optimizer.attribution import Cause

    rows = [
        {
            "from": start.name.lower(),
            "to": end.name.lower(),
            "seek_distance_bytes": int(found.journeys[start, end]),
        }
        for start in Cause
        for end in Cause
        if found.journeys[start, end]
    ]
    return sorted(rows, key=lambda row: -row["seek_distance_bytes"])


def print_answer(answer: dict[str, Any], drive_title: str) -> None:
    """Print the summary and both tables for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from bootprof.units import quantity

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cause")
    columns = ("read", "needed", "seeks", "long", "distance", "positioning", "transfer", "share")
    for column in columns:
        table.add_column(column, justify="right")
    keys = ("seeks", "long_seeks")
    for row in answer["causes"]:
        if not row["bytes"]:
            continue
        seconds = row["positioning_seconds"] + row["transfer_seconds"]
        table.add_row(
            row["title"],
            quantity(row["bytes"], "bytes"),
            quantity(row["needed_bytes"], "bytes"),
            *(quantity(row[key], "") for key in keys),
            quantity(row["seek_distance_bytes"], "bytes"),
            quantity(row["positioning_seconds"], "seconds"),
            quantity(row["transfer_seconds"], "seconds"),
            f"{100 * seconds / answer['modelled_seconds']:.1f} %",
        )
    width = None if sys.stdout.isatty() else 200
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().strip().splitlines():
        print(line.rstrip())
    titles = {row["cause"]: row["title"] for row in answer["causes"]}
    print("\nlongest journeys of the head")
    for row in answer["journeys"][:JOURNEYS_SHOWN]:
        distance = quantity(row["seek_distance_bytes"], "bytes")
        print(f"  {distance:>9}  {titles[row['from']]} -> {titles[row['to']]}")
    read, limit = answer["modelled_seconds"], answer["limit_seconds"]
    print(f"\nmodelled I/O on {drive_title}")
    sizes = {key: quantity(answer[key], "bytes") for key in answer if key.endswith("_bytes")}
    total = quantity(answer["bytes"], "bytes")
    print(f"  this boot    {quantity(read, 'seconds'):>8}  {total} in {answer['reads']:,} reads")
    print(
        f"  limit        {quantity(limit, 'seconds'):>8}  {sizes['needed_bytes']} in one pass, "
        f"for {answer['files']:,} files: this boot takes {answer['ratio']:.2f} times as long"
    )
    if answer["read_ratio"] is not None:
        print(
            f"  read limit   {quantity(answer['read_limit_seconds'], 'seconds'):>8}  "
            f"{sizes['needed_and_read_bytes']} of that were read at all: "
            f"{answer['read_ratio']:.2f} times as long"
        )
    if answer["missing"]:
        print(f"  {len(answer['missing'])} paths are not in the image (--json lists them)")
