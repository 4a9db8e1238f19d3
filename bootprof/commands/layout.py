# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof layout``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_path, add_squashfs, number, open_chosen
from bootprof.errors import InputError
from optimizer.formats.text import printable

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.images.describe import (
        FileDescription,
        OverlappedExtent,
        OverlappedRegion,
        SpanDescription,
        Summary,
    )
    from optimizer.images.layout import Layout

EPILOG = """\
IMAGE is a squashfs 4.0, an EROFS, or an ISO 9660 or disk image that contains one. If there are
several, the largest is used; --squashfs and --squashfs-offset select another. All offsets are
relative to the start of IMAGE, as in a block trace.

--tsv writes one line for each block, hole or tail of each file, and one line with kind "-" for each
path that has none. The columns are: path, inode number, type, kind (block, hole, fragment or -),
offset and length on the image, 1 if stored uncompressed, offset in the file, number of the file's
bytes in it, and offset of these bytes in the decompressed block. Tab, newline, carriage return and
backslash in a path are written as a backslash and three octal digits.

Paths are those in the file system; symbolic links are not followed.

examples:
  bootprof layout live.iso
  bootprof layout live.iso --file /usr/bin/bash --file /etc/passwd
  bootprof layout live.iso --at 0x8f3000 --at 227328+131072
  bootprof layout filesystem.squashfs --tsv | sort -t $'\\t' -k 5n
  bootprof layout live.iso --json | jq .tables
"""

COLUMNS = (
    "path",
    "inode",
    "type",
    "kind",
    "offset_bytes",
    "length_bytes",
    "stored",
    "file_offset_bytes",
    "file_bytes",
    "inner_offset_bytes",
)
# The text output lists at most this many files of a fragment block; --json lists all.
MOST_OWNERS_SHOWN = 12


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof layout``."""
    parser = subparsers.add_parser(
        "layout",
        help="show where the files and tables of a squashfs or EROFS are on an image",
        description="Show where the files and the tables of a squashfs or EROFS are on an image.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="squashfs, EROFS, ISO or disk image")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead of text")
    output.add_argument(
        "--tsv",
        action="store_true",
        help="print the extents of all files, or of each --file, as tab-separated lines",
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        type=parse_span,
        metavar="OFFSET[+LENGTH]",
        help="show what is at an offset, or what a read overlaps (can be repeated)",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        type=os.fsencode,
        metavar="PATH",
        help="show the extents of a file (can be repeated)",
    )
    add_squashfs(parser)
    parser.set_defaults(run=run)


def parse_span(text: str) -> tuple[int, int]:
    """Parse OFFSET or OFFSET+LENGTH; the length defaults to 1."""
    offset, plus, length = text.partition("+")
    return number(offset), number(length) if plus else 1


def run(options: argparse.Namespace) -> int:
    """Read the layout and print the requested parts."""
    from optimizer.images.describe import as_json, describe_file, describe_span, summarize

    if options.tsv and options.at:
        raise InputError("--tsv cannot be combined with --at", hint="use --json with --at")
    image = open_chosen(options.image, options)
    layout = image.layout()
    if options.tsv:
        write_tsv(layout, options.file)
        return 0
    only_parts = not options.json and (options.at or options.file)
    summary = None if only_parts else summarize(image)
    files = [describe_file(layout, file) for file in options.file]
    spans = [describe_span(layout, image.iso, *span) for span in options.at]
    if not options.json:
        print("\n".join(text_of(summary, files, spans)))
        return 0
    answer = as_json(summary) if summary else {}
    if files:
        answer["files"] = [as_json(file) for file in files]
    if spans:
        answer["at"] = [as_json(span) for span in spans]
    print(json.dumps(answer, indent=2))
    return 0


def write_tsv(layout: Layout, files: list[bytes]) -> None:
    """Write the extents of the given paths, or of all, to standard output."""
    wanted = [layout.index_of(path) for path in files]
    sink = sys.stdout.buffer
    sink.write("\t".join(COLUMNS).encode() + b"\n")
    lines: list[bytes] = []
    for line in tsv_lines(layout, wanted if files else None):
        lines.append(line)
        if len(lines) == 10_000:
            sink.writelines(lines)
            lines.clear()
    sink.writelines(lines)
    sink.flush()


def tsv_lines(layout: Layout, indices: list[int] | None) -> Iterator[bytes]:
    """Yield one line for each piece of each path; plain lists are faster for a million lines."""
    from optimizer.formats.text import escape
    from optimizer.images.describe import piece_kind
    from optimizer.images.layout import FileType

    inodes, pieces = layout.inodes, layout.file_extents
    types = ["", *(kind.label for kind in FileType)]
    numbers, kinds = inodes["number"].tolist(), inodes["type"].tolist()
    firsts = layout.first_file_extent.tolist()
    rows = pieces[["kind", *COLUMNS[4:]]].tolist()
    entries = layout.entries["inode"].tolist()
    for index in range(len(entries)) if indices is None else indices:
        inode = entries[index]
        path = escape(layout.paths[index])
        start = b"%s\t%d\t%s\t" % (path, numbers[inode], types[kinds[inode]].encode())
        if firsts[inode] == firsts[inode + 1]:
            yield start + b"-\t0\t0\t0\t0\t0\t0\n"
        for kind, *place in rows[firsts[inode] : firsts[inode + 1]]:
            label = piece_kind(layout, kind, place[1]).encode()
            yield start + b"%s\t%d\t%d\t%d\t%d\t%d\t%d\n" % (label, *place)


def text_of(
    summary: Summary | None, files: Sequence[FileDescription], spans: Sequence[SpanDescription]
) -> Iterator[str]:
    """Yield the lines of the text output."""
    if summary:
        yield from summary_text(summary)
    for file in files:
        yield from file_text(file)
    for span in spans:
        yield from span_text(span)


def summary_text(summary: Summary) -> Iterator[str]:
    """Yield the summary of the image."""
    blocks, fragments = summary.blocks, summary.fragments
    kinds = [f"{count:,} {kind}" for kind, count in summary.inodes.items() if count]
    names = f" (ISO, {summary.iso_names} names)" if summary.iso_names else ""
    yield f"image       {printable(summary.image)}{names}"
    inside = f"{printable(summary.squashfs_path)}, " if summary.squashfs_path else ""
    place = f"{summary.size_bytes:,} bytes at {summary.squashfs_offset_bytes:,}"
    yield f"{summary.format:<11} {inside}{place}"
    yield f"compressor  {summary.compressor}, blocks of {summary.block_size_bytes:,} bytes"
    yield f"paths       {summary.paths:,}; inodes: {', '.join(kinds)}"
    yield (
        f"blocks      {blocks.distinct:,} on the image for {blocks.listed:,} of files, "
        f"{blocks.stored:,} of them stored; {blocks.holes:,} holes"
    )
    yield (
        f"fragments   {fragments.blocks:,} blocks with {fragments.tails:,} tails, "
        f"{fragments.stored:,} blocks stored"
    )
    yield ""
    yield f"{'table':<20} {'offset':>15} {'length':>13} {'blocks':>7} {'decompressed':>13}"
    for table in summary.tables:
        inflated = f"{table.inflated_bytes:,}" if table.inflated_bytes else "-"
        yield (
            f"{table.table:<20} {table.offset_bytes:>15,} {table.length_bytes:>13,} "
            f"{table.metadata_blocks:>7,} {inflated:>13}"
        )


def file_text(file: FileDescription) -> Iterator[str]:
    """Yield the description of one file."""
    yield f"{printable(file.path)}: {file.type}, inode {file.inode}, {file.size_bytes:,} bytes"
    if file.target is not None:
        yield f"  target {printable(file.target)}"
    if len(file.links) > 1:
        yield f"  hard links: {', '.join(map(printable, file.links))}"
    blocks = (
        ("inode table", file.inode_table_blocks),
        ("directory table", file.directory_table_blocks or []),
    )
    for table, rows in blocks:
        for row in rows:
            yield f"  {table:<16} {row.length_bytes:>10,} bytes at {row.offset_bytes:,}"
    for piece in file.extents:
        held = f"file bytes {piece.file_offset_bytes:,} + {piece.file_bytes:,}"
        if not piece.length_bytes:
            yield f"  {piece.kind:<16} {'':>10}       {held}"
            continue
        if (piece.file_bytes and piece.inner_offset_bytes) or piece.kind == "fragment":
            held += f", {piece.inner_offset_bytes:,} into the decompressed block"
        stored = ", stored" if piece.stored else ""
        yield (
            f"  {piece.kind:<16} {piece.length_bytes:>10,} bytes at "
            f"{piece.offset_bytes:,}: {held}{stored}"
        )


def span_text(span: SpanDescription) -> Iterator[str]:
    """Yield the description of what is at an offset."""
    yield f"{span.length_bytes:,} bytes at {span.offset_bytes:,} ({span.offset_bytes:#x}):"
    for region in span.iso:
        path = f" {printable(region.path)}" if region.path else ""
        yield f"  ISO {region.kind}{path}: {place_text(region)}"
    for extent in span.squashfs:
        part = ""
        if extent.kind.endswith("table"):
            part = f" block {extent.index:,}" if extent.index >= 0 else " index"
        yield f"  {extent.kind}{part}: {place_text(extent)}"
        files = extent.files or []
        for name in files[:MOST_OWNERS_SHOWN]:
            yield f"    {printable(name)}"
        if len(files) > MOST_OWNERS_SHOWN:
            yield f"    and {len(files) - MOST_OWNERS_SHOWN:,} more (--json lists them)"
    if not span.iso and not span.squashfs:
        yield "  nothing: padding, or outside the file system"


def place_text(row: OverlappedExtent | OverlappedRegion) -> str:
    """Return the place of an extent, and how much of it a read overlaps."""
    place = f"{row.length_bytes:,} bytes at {row.offset_bytes:,}"
    return f"{place}, {row.overlap_bytes:,} of them"
