"""``bootprof layout``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import number

if TYPE_CHECKING:
    from optimizer.images.iso9660 import IsoLayout
    from optimizer.images.squashfs.layout import Layout

EPILOG = """\
IMAGE is a squashfs 4.0, an ISO 9660 image with one in it, or a disk image: the squashfs is looked
for, and the largest one is taken (--squashfs-offset takes another one). All offsets count from the
start of IMAGE, as those of a block trace do.

--tsv has one line for each block, hole or tail of each file, and one line for each path that has
none of them (kind -). Its columns:
  path, inode number, type, kind (block, hole, fragment, -), offset and length on the image, 1 if
  stored without compression, offset in the file, bytes of the file in it, offset of these bytes in
  the decompressed block
Tab, newline, carriage return and backslash in a path are a backslash and three octal digits.

Paths are those of the squashfs; symbolic links are not followed.

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
# So many files of one fragment block are printed for people; --json has all of them.
MOST_OWNERS_SHOWN = 12


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof layout``."""
    parser = subparsers.add_parser(
        "layout",
        help="show where the files and tables of an image lie",
        description="Show where the files and the tables of a squashfs lie on an image.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", help="squashfs, ISO or disk image")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="write JSON")
    output.add_argument(
        "--tsv", action="store_true", help="write the extents of all files, or of each --file"
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        type=parse_span,
        metavar="OFFSET[+LENGTH]",
        help="say what lies at an offset, or what a read overlaps (can be repeated)",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        type=os.fsencode,
        metavar="PATH",
        help="show the extents of a file (can be repeated)",
    )
    parser.add_argument(
        "--squashfs-offset",
        type=number,
        metavar="BYTES",
        help="where the squashfs begins in IMAGE (default: find it)",
    )
    parser.set_defaults(run=run)


def parse_span(text: str) -> tuple[int, int]:
    """Read OFFSET or OFFSET+LENGTH; the length is 1 if it is not given."""
    offset, plus, length = text.partition("+")
    return number(offset), number(length) if plus else 1


def run(options: argparse.Namespace) -> int:
    """Read the layout and print what was asked for."""
    from bootprof.errors import InputError
    from optimizer.images.iso9660 import find_squashfs, is_iso, read_iso
    from optimizer.images.squashfs.layout import read_layout

    if options.tsv and options.at:
        raise InputError("--tsv has no form for --at", hint="use --json")
    path = Path(options.image)
    offset_bytes = options.squashfs_offset
    if offset_bytes is None:
        offset_bytes = find_squashfs(path)
    layout = read_layout(path, offset_bytes)
    if options.tsv:
        write_tsv(layout, options.file)
        return 0
    iso = read_iso(path) if is_iso(path) else None
    answer: dict[str, Any] = {}
    if options.json or not (options.at or options.file):
        answer = summary(layout, iso)
    if options.file:
        answer["files"] = [describe_file(layout, file) for file in options.file]
    if options.at:
        answer["at"] = [describe_span(layout, iso, *span) for span in options.at]
    if options.json:
        json.dump(answer, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(text_of(answer)))
    return 0


def summary(layout: Layout, iso: IsoLayout | None) -> dict[str, Any]:
    """Return what there is to say about the image as a whole."""
    import numpy as np

    from optimizer.images.squashfs.layout import InodeType, Kind

    inodes, blocks, superblock = layout.inodes, layout.blocks, layout.superblock
    types = np.bincount(inodes["type"], minlength=len(InodeType) + 1)
    filled = blocks["length_bytes"] > 0
    kinds = layout.extent_map.extents["kind"]
    return {
        "image": layout.name,
        "iso_names": iso.names if iso else None,
        "squashfs_offset_bytes": layout.offset_bytes,
        "squashfs_path": squashfs_path(layout, iso),
        "size_bytes": layout.size_bytes,
        "compressor": superblock.compressor_name,
        "block_size_bytes": layout.block_size_bytes,
        "mkfs_time": superblock.mkfs_time,
        "paths": len(layout.paths),
        "inodes": {label(kind): int(types[kind]) for kind in InodeType},
        "blocks": {
            "distinct": int((kinds == Kind.BLOCK).sum()),
            "listed": int(filled.sum()),
            "holes": int((~filled).sum()),
            "stored": int((blocks["stored"] & filled).sum()),
        },
        "fragments": {
            "blocks": int(layout.fragments.size),
            "stored": int(layout.fragments["stored"].sum()),
            "tails": int((inodes["fragment_bytes"] > 0).sum()),
        },
        "tables": [
            {
                "table": table.kind.label,
                "offset_bytes": table.offset_bytes,
                "length_bytes": table.length_bytes,
                "metadata_blocks": int(table.blocks.size),
                "inflated_bytes": len(table.inflated) or None,
            }
            for table in layout.tables
        ],
    }


def squashfs_path(layout: Layout, iso: IsoLayout | None) -> str | None:
    """Return the squashfs's path in the ISO, None if it is not a file of an ISO."""
    regions = iso.at(layout.offset_bytes) if iso else []
    return next((os.fsdecode(region.path) for region in regions if region.kind == "file"), None)


def label(member: Any) -> str:
    """Return an enumeration member as words."""
    return str(member.name.lower().replace("_", " "))


def describe_file(layout: Layout, path: bytes) -> dict[str, Any]:
    """Return inode, table blocks and extents of one path."""
    from optimizer.images.squashfs.layout import InodeType, Kind

    index = layout.inode_of(path)
    inode = layout.inodes[index]
    answer: dict[str, Any] = {
        "path": os.fsdecode(path),
        "inode": int(inode["number"]),
        "type": label(InodeType(inode["type"])),
        "size_bytes": int(inode["size_bytes"]),
        "links": [os.fsdecode(other) for other in layout.paths_of(index)],
        "inode_table_blocks": table_blocks(layout, Kind.INODE_TABLE, inode, "metadata"),
        "extents": [],
    }
    if inode["type"] == InodeType.DIRECTORY:
        answer["directory_table_blocks"] = table_blocks(
            layout, Kind.DIRECTORY_TABLE, inode, "listing"
        )
    if inode["type"] == InodeType.SYMLINK:
        answer["target"] = os.fsdecode(layout.symlink_target(index))
    for extent in layout.extents_of_inode(index):
        row = {name: extent[name].item() for name in extent.dtype.names or () if name != "kind"}
        hole = not row["length_bytes"]
        answer["extents"].append({"kind": "hole" if hole else label(Kind(extent["kind"])), **row})
    return answer


def table_blocks(layout: Layout, kind: Any, inode: Any, what: str) -> list[dict[str, int]]:
    """Return where the metadata blocks of an inode or of a directory's listing lie."""
    table = layout.table(kind)
    first, last = int(inode[f"first_{what}_block"]), int(inode[f"last_{what}_block"])
    if table is None or first < 0:
        return []
    return [
        {"offset_bytes": int(row["offset_bytes"]), "length_bytes": int(row["length_bytes"])}
        for row in table.blocks[first : last + 1]
    ]


def describe_span(
    layout: Layout, iso: IsoLayout | None, offset_bytes: int, length_bytes: int
) -> dict[str, Any]:
    """Return everything that a read overlaps."""
    from optimizer.images.squashfs.layout import Kind

    found = layout.overlaps([offset_bytes], [length_bytes])
    extents = layout.extent_map.extents[found["extent"]]
    position, owners = layout.extent_map.owners_of(found["extent"])
    rows = []
    for place, (overlap, extent) in enumerate(zip(found, extents, strict=True)):
        row: dict[str, Any] = {
            "kind": Kind(extent["kind"]).label,
            "index": int(extent["index"]),
            "offset_bytes": int(extent["offset_bytes"]),
            "length_bytes": int(extent["length_bytes"]),
            "overlap_bytes": int(overlap["length_bytes"]),
        }
        if extent["kind"] in (Kind.BLOCK, Kind.FRAGMENT):
            row["files"] = [
                os.fsdecode(path)
                for owner in owners[position == place]
                for path in layout.paths_of(int(owner))
            ]
        rows.append(row)
    iso_rows = []
    for region in iso.regions if iso else ():
        begin = max(offset_bytes, region.offset_bytes)
        end = min(offset_bytes + length_bytes, region.offset_bytes + region.length_bytes)
        if begin < end:
            iso_rows.append(
                {
                    "kind": region.kind,
                    "path": os.fsdecode(region.path),
                    "offset_bytes": region.offset_bytes,
                    "length_bytes": region.length_bytes,
                    "overlap_bytes": end - begin,
                }
            )
    return {
        "offset_bytes": offset_bytes,
        "length_bytes": length_bytes,
        "squashfs": rows,
        "iso": iso_rows,
    }


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
    """Yield one line for each extent of each path; plain lists, as there may be a million."""
    from optimizer.formats.text import escape
    from optimizer.images.squashfs.layout import InodeType

    inodes = layout.inodes
    types = [""] + [label(kind) for kind in InodeType]
    numbers, kinds = inodes["number"].tolist(), inodes["type"].tolist()
    firsts, counts = inodes["first_block"].tolist(), inodes["block_count"].tolist()
    sizes, tails = inodes["size_bytes"].tolist(), inodes["fragment_bytes"].tolist()
    blocks = layout.blocks[["offset_bytes", "length_bytes", "stored"]].tolist()
    entries = layout.entries["inode"].tolist()
    step = layout.block_size_bytes
    for index in range(len(entries)) if indices is None else indices:
        inode = entries[index]
        path = escape(layout.paths[index])
        start = b"%s\t%d\t%s\t" % (path, numbers[inode], types[kinds[inode]].encode())
        if not counts[inode] and not tails[inode]:
            yield start + b"-\t0\t0\t0\t0\t0\t0\n"
            continue
        file_offset = 0
        first = firsts[inode]
        for offset, length, stored in blocks[first : first + counts[inode]]:
            held = min(step, sizes[inode] - file_offset)
            kind = b"block" if length else b"hole"
            place = (kind, offset if length else 0, length, stored, file_offset, held)
            yield start + b"%s\t%d\t%d\t%d\t%d\t%d\t0\n" % place
            file_offset += step
        if tails[inode]:
            fragment = layout.fragments[inodes["fragment"][inode]]
            place = (
                b"fragment",
                *(int(fragment[name]) for name in ("offset_bytes", "length_bytes", "stored")),
                file_offset,
                tails[inode],
            )
            inner = int(inodes["fragment_offset_bytes"][inode])
            yield start + b"%s\t%d\t%d\t%d\t%d\t%d\t%d\n" % (*place, inner)


def text_of(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    if "image" in answer:
        yield from summary_text(answer)
    for file in answer.get("files", ()):
        yield from file_text(file)
    for span in answer.get("at", ()):
        yield from span_text(span)


def shown(path: str) -> str:
    """Return a path as a terminal can show it."""
    from optimizer.formats.text import printable

    return printable(path)


def summary_text(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the summary of the image."""
    blocks, fragments = answer["blocks"], answer["fragments"]
    kinds = [f"{count:,} {kind}" for kind, count in answer["inodes"].items() if count]
    image = shown(answer["image"])
    yield f"image       {image}" + (
        f" (ISO, {answer['iso_names']} names)" * bool(answer["iso_names"])
    )
    inside = f"{shown(answer['squashfs_path'])}, " if answer["squashfs_path"] else ""
    yield (
        f"squashfs    {inside}{answer['size_bytes']:,} bytes at {answer['squashfs_offset_bytes']:,}"
    )
    yield f"compressor  {answer['compressor']}, blocks of {answer['block_size_bytes']:,} bytes"
    yield f"paths       {answer['paths']:,}; inodes: {', '.join(kinds)}"
    yield (
        f"blocks      {blocks['distinct']:,} on the image for {blocks['listed']:,} of files, "
        f"{blocks['stored']:,} of them stored; {blocks['holes']:,} holes"
    )
    yield (
        f"fragments   {fragments['blocks']:,} blocks with {fragments['tails']:,} tails, "
        f"{fragments['stored']:,} blocks stored"
    )
    yield ""
    yield f"{'table':<20} {'offset':>15} {'length':>13} {'blocks':>7} {'decompressed':>13}"
    for table in answer["tables"]:
        inflated = f"{table['inflated_bytes']:,}" if table["inflated_bytes"] else "-"
        yield (
            f"{table['table']:<20} {table['offset_bytes']:>15,} {table['length_bytes']:>13,} "
            f"{table['metadata_blocks']:>7,} {inflated:>13}"
        )


def file_text(file: dict[str, Any]) -> Iterator[str]:
    """Yield what is known of one file."""
    yield (
        f"{shown(file['path'])}: {file['type']}, inode {file['inode']}, "
        f"{file['size_bytes']:,} bytes"
    )
    if "target" in file:
        yield f"  target {shown(file['target'])}"
    if len(file["links"]) > 1:
        yield f"  hard links: {', '.join(map(shown, file['links']))}"
    for name in ("inode_table_blocks", "directory_table_blocks"):
        for block in file.get(name, ()):
            table = name.removesuffix("_blocks").replace("_", " ")
            yield f"  {table:<16} {block['length_bytes']:>10,} bytes at {block['offset_bytes']:,}"
    for extent in file["extents"]:
        held = f"file bytes {extent['file_offset_bytes']:,} + {extent['file_bytes']:,}"
        if extent["kind"] == "hole":
            yield f"  {'hole':<16} {'':>10}       {held}"
            continue
        if extent["kind"] == "fragment":
            held += f", {extent['inner_offset_bytes']:,} into the decompressed block"
        stored = ", stored" if extent["stored"] else ""
        yield (
            f"  {extent['kind']:<16} {extent['length_bytes']:>10,} bytes at "
            f"{extent['offset_bytes']:,}: {held}{stored}"
        )


def span_text(span: dict[str, Any]) -> Iterator[str]:
    """Yield what lies at an offset."""
    yield f"{span['length_bytes']:,} bytes at {span['offset_bytes']:,} ({span['offset_bytes']:#x}):"
    for row in span["iso"]:
        path = f" {shown(row['path'])}" if row["path"] else ""
        yield f"  ISO {row['kind']}{path}: {place_text(row)}"
    for row in span["squashfs"]:
        part = ""
        if row["kind"].endswith("table"):
            part = f" block {row['index']:,}" if row["index"] >= 0 else " index"
        yield f"  {row['kind']}{part}: {place_text(row)}"
        files = row.get("files", [])
        for path in files[:MOST_OWNERS_SHOWN]:
            yield f"    {shown(path)}"
        if len(files) > MOST_OWNERS_SHOWN:
            yield f"    and {len(files) - MOST_OWNERS_SHOWN:,} more (--json lists them)"
    if not span["iso"] and not span["squashfs"]:
        yield "  nothing: padding, or outside of the squashfs"


def place_text(row: dict[str, Any]) -> str:
    """Return the words for where something lies and how much of it a read overlaps."""
    place = f"{row['length_bytes']:,} bytes at {row['offset_bytes']:,}"
    return f"{place}, {row['overlap_bytes']:,} of them"
