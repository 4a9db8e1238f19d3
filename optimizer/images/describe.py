# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Descriptions of an image for printing: the whole image, one file, one span of bytes.

``bootprof layout`` prints these for people, and as JSON with the names of their fields. Strings
hold bytes that are not UTF-8 as surrogates (PEP 383).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from optimizer.images.extents import CONTENT, Role
from optimizer.images.image import Image
from optimizer.images.iso9660 import IsoLayout
from optimizer.images.layout import FileType, Layout


@dataclass(frozen=True)
class BlockCounts:
    """Data blocks of an image.

    Attributes:
        distinct: On the image.
        listed: Of all files, those that are shared counted for each of them.
        holes: Blocks of files that are not on the image.
        stored: Of the listed ones, those that are not compressed.
    """

    distinct: int
    listed: int
    holes: int
    stored: int


@dataclass(frozen=True)
class FragmentCounts:
    """Blocks that hold the tails of several files.

    Attributes:
        blocks: On the image.
        stored: Those of them that are not compressed.
        tails: Files that have a part in one.
    """

    blocks: int
    stored: int
    tails: int


@dataclass(frozen=True)
class TableSummary:
    """One table; see :class:`optimizer.images.layout.Part`."""

    table: str
    offset_bytes: int
    length_bytes: int
    metadata_blocks: int
    inflated_bytes: int | None


@dataclass(frozen=True)
class Summary:
    """An image as a whole.

    Attributes:
        image: Path of the image.
        iso_names: Where the names of the ISO are from; None if it is none.
        format: Format of the file system.
        squashfs_offset_bytes: Where the file system begins.
        squashfs_path: Its file in the ISO; None if it is no file of an ISO.
        size_bytes: Its size without padding.
        compressor: Name of its compressor.
        block_size_bytes: Largest number of a file's bytes in one block.
        mkfs_time: When it was made, in seconds since 1970.
        paths: Number of paths.
        inodes: Number of inodes by the label of their type.
        blocks: Data blocks.
        fragments: Fragment blocks.
        tables: Tables, in their order on the image.
    """

    image: str
    iso_names: str | None
    format: str
    squashfs_offset_bytes: int
    squashfs_path: str | None
    size_bytes: int
    compressor: str
    block_size_bytes: int
    mkfs_time: int
    paths: int
    inodes: dict[str, int]
    blocks: BlockCounts
    fragments: FragmentCounts
    tables: tuple[TableSummary, ...]


@dataclass(frozen=True)
class MetadataBlock:
    """A metadata block: offset and length on the image."""

    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True)
class FilePiece:
    """A piece of a file; see :data:`optimizer.images.layout.FILE_EXTENT`."""

    kind: str
    index: int
    offset_bytes: int
    length_bytes: int
    stored: bool
    file_offset_bytes: int
    file_bytes: int
    inner_offset_bytes: int


@dataclass(frozen=True)
class FileDescription:
    """One path.

    Attributes:
        path: As requested.
        inode: Number of the inode, as a running kernel shows it.
        type: Label of its type.
        size_bytes: Size of the file.
        links: All paths of the inode.
        inode_table_blocks: Metadata blocks that hold the inode.
        extents: Its pieces.
        directory_table_blocks: Metadata blocks of a directory's listing; None for other types.
        target: Of a symbolic link; None for other types.
    """

    path: str
    inode: int
    type: str
    size_bytes: int
    links: list[str]
    inode_table_blocks: list[MetadataBlock]
    extents: list[FilePiece]
    directory_table_blocks: list[MetadataBlock] | None = None
    target: str | None = None


@dataclass(frozen=True)
class OverlappedExtent:
    """An extent of the file system that a span overlaps.

    Attributes:
        kind: Label of its kind.
        index: Which one of its kind; -1 for the index of a table.
        offset_bytes: Where it begins.
        length_bytes: Its length.
        overlap_bytes: How much of it the span overlaps.
        files: Paths of the files that have content in it; None for metadata without any.
    """

    kind: str
    index: int
    offset_bytes: int
    length_bytes: int
    overlap_bytes: int
    files: list[str] | None


@dataclass(frozen=True)
class OverlappedRegion:
    """A region of the ISO that a span overlaps; see :class:`optimizer.images.iso9660.Region`."""

    kind: str
    path: str
    offset_bytes: int
    length_bytes: int
    overlap_bytes: int


@dataclass(frozen=True)
class SpanDescription:
    """Contents of a span of the image.

    Attributes:
        offset_bytes: Where the span begins.
        length_bytes: Its length.
        squashfs: Parts of the file system in it.
        iso: Parts of the ISO in it.
    """

    offset_bytes: int
    length_bytes: int
    squashfs: list[OverlappedExtent]
    iso: list[OverlappedRegion]


# Types of descriptions.
Answer = Summary | FileDescription | SpanDescription


def as_json(answer: Answer) -> dict[str, object]:
    """Return an answer as JSON has it: what does not apply to a file or an extent is left out."""
    found: dict[str, object] = asdict(answer)
    if isinstance(answer, Summary):
        return found
    if isinstance(answer, SpanDescription):
        found["squashfs"] = [_without_none(asdict(row)) for row in answer.squashfs]
    return _without_none(found)


def _without_none(row: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if value is not None}


def summarize(image: Image) -> Summary:
    """Return the description of an image as a whole."""
    layout, place = image.layout(), image.chosen
    pieces, extents = layout.file_extents, layout.extent_map.extents
    types = np.bincount(layout.inodes["type"], minlength=len(FileType) + 1)
    blocks = pieces[pieces["role"] == Role.DATA]
    filled = blocks["extent"] >= 0
    packed = extents[extents["role"] == Role.PACKED]
    return Summary(
        image=layout.name,
        iso_names=image.iso.names if image.iso else None,
        format=layout.format,
        squashfs_offset_bytes=layout.offset_bytes,
        squashfs_path=os.fsdecode(place.path) if place is not None and place.path else None,
        size_bytes=layout.size_bytes,
        compressor=layout.compressor,
        block_size_bytes=layout.block_size_bytes,
        mkfs_time=layout.made_seconds,
        paths=len(layout.paths),
        inodes={kind.label: int(types[kind]) for kind in FileType},
        blocks=BlockCounts(
            distinct=int((extents["role"] == Role.DATA).sum()),
            listed=int(filled.sum()),
            holes=int((~filled).sum()),
            stored=int((blocks["stored"] & filled).sum()),
        ),
        fragments=FragmentCounts(
            blocks=int(packed.size),
            stored=int(packed["stored"].sum()),
            tails=int((pieces["role"] == Role.PACKED).sum()),
        ),
        tables=tuple(
            TableSummary(
                part.label, part.offset_bytes, part.length_bytes, part.blocks, part.inflated_bytes
            )
            for part in layout.parts
        ),
    )


def describe_file(layout: Layout, path: bytes) -> FileDescription:
    """Return inode, metadata blocks and pieces of a path; symbolic links are not followed.

    Raises:
        InputError: The image has no such path.
    """
    index = layout.inode_of(path)
    inode = layout.inodes[index]
    kind = FileType(int(inode["type"]))
    is_directory, is_link = kind == FileType.DIRECTORY, kind == FileType.SYMLINK
    return FileDescription(
        path=os.fsdecode(path),
        inode=int(inode["number"]),
        type=kind.label,
        size_bytes=int(inode["size_bytes"]),
        links=[os.fsdecode(other) for other in layout.paths_of(index)],
        inode_table_blocks=_blocks(layout, layout.inode_extents(index)),
        extents=[
            FilePiece(
                piece_kind(layout, int(piece["kind"]), int(piece["length_bytes"])),
                *(piece[name].item() for name in PIECE_FIELDS),
            )
            for piece in layout.extents_of_inode(index)
        ],
        directory_table_blocks=(
            _blocks(layout, layout.listing_extents(index)) if is_directory else None
        ),
        target=os.fsdecode(layout.symlink_target(index)) if is_link else None,
    )


# Fields of FILE_EXTENT that are those of a FilePiece, in its order.
PIECE_FIELDS = (
    "index",
    "offset_bytes",
    "length_bytes",
    "stored",
    "file_offset_bytes",
    "file_bytes",
    "inner_offset_bytes",
)


def piece_kind(layout: Layout, kind: int, length_bytes: int) -> str:
    """Return the name of a piece of a file: the kind of its extent, or ``hole``."""
    return layout.kinds[kind].label if length_bytes else "hole"


def _blocks(layout: Layout, rows: Sequence[int]) -> list[MetadataBlock]:
    extents = layout.extent_map.extents
    return [
        MetadataBlock(int(extents["offset_bytes"][row]), int(extents["length_bytes"][row]))
        for row in rows
    ]


def describe_span(
    layout: Layout, iso: IsoLayout | None, offset_bytes: int, length_bytes: int
) -> SpanDescription:
    """Return everything that a read of some bytes overlaps."""
    found = layout.overlaps([offset_bytes], [length_bytes])
    extents = layout.extent_map.extents[found["extent"]]
    position, owners = layout.extent_map.owners_of(found["extent"])
    rows = []
    for place, (overlap, extent) in enumerate(zip(found, extents, strict=True)):
        of_place = owners[position == place].tolist()
        files = [os.fsdecode(path) for owner in of_place for path in layout.paths_of(owner)]
        rows.append(
            OverlappedExtent(
                kind=layout.kinds[extent["kind"]].label,
                index=int(extent["index"]),
                offset_bytes=int(extent["offset_bytes"]),
                length_bytes=int(extent["length_bytes"]),
                overlap_bytes=int(overlap["length_bytes"]),
                files=files if files or extent["role"] in CONTENT else None,
            )
        )
    regions = []
    for region in iso.regions if iso else ():
        begin = max(offset_bytes, region.offset_bytes)
        end = min(offset_bytes + length_bytes, region.offset_bytes + region.length_bytes)
        if begin < end:
            path = os.fsdecode(region.path)
            regions.append(
                OverlappedRegion(
                    region.kind, path, region.offset_bytes, region.length_bytes, end - begin
                )
            )
    return SpanDescription(offset_bytes, length_bytes, rows, regions)
