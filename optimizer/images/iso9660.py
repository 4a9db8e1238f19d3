# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Layout of an ISO 9660 image.

The records are parsed by pycdlib; this module turns them into regions of the image: (kind, path,
offset, length), the same terms as in a squashfs layout. ECMA-119 describes the format, SUSP and
RRIP the names of Rock Ridge.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from optimizer.errors import FormatError

if TYPE_CHECKING:
    from pycdlib.dr import DirectoryRecord

# The first 16 sectors are for boot loaders; then come the volume descriptors.
SYSTEM_AREA_BYTES = 32768
PIECE_BYTES = 1 << 20
SECTOR_BYTES = 2048
ISO_MAGIC = b"CD001"
# Of the size of the volume in blocks, in the primary volume descriptor.
VOLUME_BLOCKS_OFFSET_BYTES = 80


@dataclass(frozen=True)
class Region:
    """A run of bytes of the image.

    Attributes:
        kind: "file", "directory", "path table", "volume descriptors", "system area",
            "boot catalog" or "boot image".
        path: Absolute path of a file or directory, otherwise empty.
        offset_bytes: Start on the image.
        length_bytes: Length without padding.
    """

    kind: str
    path: bytes
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True)
class IsoLayout:
    """Contents of an ISO 9660 image.

    Attributes:
        name: Path of the image.
        names: Where the names are from: "Rock Ridge", "Joliet" or "ISO 9660".
        regions: Ascending by offset. Several paths may have one region (hard links), and a file
            of more than 4 GiB has several.
    """

    name: str
    names: str
    regions: tuple[Region, ...]

    def files(self) -> dict[bytes, tuple[Region, ...]]:
        """Return the regions of every file that has content, by path."""
        found: dict[bytes, list[Region]] = {}
        for region in self.regions:
            if region.kind == "file":
                found.setdefault(region.path, []).append(region)
        return {path: tuple(regions) for path, regions in found.items()}

    def at(self, offset_bytes: int) -> list[Region]:
        """Return the regions that hold an offset; there may be several, and none."""
        return [
            region
            for region in self.regions
            if region.offset_bytes <= offset_bytes < region.offset_bytes + region.length_bytes
        ]


def content_pieces(
    stream: BinaryIO, regions: Iterable[Region], limit_bytes: int | None = None
) -> Iterator[bytes]:
    """Yield the content of a file of an image in pieces, none of them empty.

    Args:
        stream: The image. If it ends within a region, the rest of that region is missing.
        regions: Where the file lies.
        limit_bytes: How much of the file at most; None for all of it.
    """
    for region in regions:
        left = region.length_bytes
        if limit_bytes is not None:
            left = min(left, limit_bytes)
            limit_bytes -= left
        stream.seek(region.offset_bytes)
        while left and (data := stream.read(min(left, PIECE_BYTES))):
            left -= len(data)
            yield data


def is_iso(path: str | Path) -> bool:
    """Return whether a file begins like an ISO 9660 image."""
    with Path(path).open("rb") as file:
        file.seek(SYSTEM_AREA_BYTES + 1)
        return file.read(len(ISO_MAGIC)) == ISO_MAGIC


def read_iso(path: str | Path) -> IsoLayout:
    """Read the directories of an ISO 9660 image.

    Raises:
        FormatError: Not an ISO 9660 image, or a truncated or corrupt one.
        OSError: The file cannot be read.
    """
    import pycdlib

    name = os.fspath(path)
    if not is_iso(path):
        raise FormatError(f"{name}: not an ISO 9660 image: no CD001 at {SYSTEM_AREA_BYTES + 1:#x}")
    iso = pycdlib.PyCdlib()
    # pycdlib checks much, but lets KeyError, struct.error and others through for corrupt images.
    try:
        iso.open(name)
        try:
            names, regions = _regions(iso)
        finally:
            iso.close()
    except OSError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f"{name}: the directories of the ISO cannot be read: {reason}",
            "they are damaged, or have extensions that are not supported, such as zisofs",
        ) from error
    _refuse_truncated(name, regions)
    regions.sort(key=lambda region: (region.offset_bytes, region.length_bytes, region.path))
    return IsoLayout(name, names, tuple(regions))


def _refuse_truncated(name: str, regions: list[Region]) -> None:
    """Refuse an image whose end is missing.

    pycdlib silently cuts the length of what reaches over the end, so that it ends exactly there.
    An image that has lost only padding is whole.
    """
    with Path(name).open("rb") as file:
        file.seek(SYSTEM_AREA_BYTES + VOLUME_BLOCKS_OFFSET_BYTES)
        promised_bytes = int.from_bytes(file.read(4), "little") * SECTOR_BYTES
        size_bytes = file.seek(0, os.SEEK_END)
    for region in regions:
        end = region.offset_bytes + region.length_bytes
        if region.kind == "boot image" or end < size_bytes:
            continue
        if end > size_bytes or promised_bytes > size_bytes:
            raise FormatError(
                f"{name}: truncated: {region.kind} {os.fsdecode(region.path)!r} at "
                f"{region.offset_bytes:#x} extends past the end of the image at {size_bytes:#x}",
                "copy or build the image again",
            )


def _regions(iso: Any) -> tuple[str, list[Region]]:
    """Collect all regions of an opened image."""
    block_bytes = iso.pvd.logical_block_size()
    regions = [Region("system area", b"", 0, SYSTEM_AREA_BYTES)]
    volumes = [iso.pvd, *iso.svds]
    descriptors = [*iso.pvds, *iso.svds, *iso.brs, *iso.vdsts]
    end = max(descriptor.extent_location() for descriptor in descriptors) + 1
    length = end * SECTOR_BYTES - SYSTEM_AREA_BYTES
    regions.append(Region("volume descriptors", b"", SYSTEM_AREA_BYTES, length))
    for volume in volumes:
        for place in (volume.path_table_location_le, volume.path_table_location_be):
            size = volume.path_table_size()
            regions.append(Region("path table", b"", place * block_bytes, size))
    if iso.has_rock_ridge():
        names, named = "Rock Ridge", iso.pvd
    elif iso.has_joliet():
        names, named = "Joliet", iso.joliet_vd
    else:
        names, named = "ISO 9660", iso.pvd
    for volume in volumes:
        # All volumes name the same files, but each has directory records of its own.
        style = names if volume is named else ""
        regions += _walk(volume.root_directory_record(), style, block_bytes)
    catalog = iso.eltorito_boot_catalog
    if catalog is not None:
        place = catalog.extent_location()
        regions.append(Region("boot catalog", b"", place * block_bytes, SECTOR_BYTES))
        entries = [catalog.initial_entry]
        entries += [entry for section in catalog.sections for entry in section.section_entries]
        for entry in entries:
            # The part that the firmware loads; the file of a boot loader may be longer.
            place = entry.get_rba() * SECTOR_BYTES
            regions.append(Region("boot image", b"", place, entry.length()))
    return names, regions


def _walk(root: DirectoryRecord, style: str, block_bytes: int) -> Iterator[Region]:
    """Yield the directories below a root, and the files if a style of names is given."""
    waiting = [(b"", root)]
    seen: set[int] = set()
    while waiting:
        path, directory = waiting.pop()
        if directory.extent_location() in seen:
            continue
        seen.add(directory.extent_location())
        place = directory.extent_location() * block_bytes
        length = directory.get_data_length()
        yield Region("directory", path or b"/" if style else b"", place, length)
        for record in directory.children:
            if record.is_dot() or record.is_dotdot() or record.is_symlink():
                continue
            ridge = record.rock_ridge if style == "Rock Ridge" else None
            if ridge is not None and ridge.relocated_record():
                continue  # it is found again at its child link
            child = path + b"/" + _name(record, style)
            moved = ridge.cl_to_moved_dr if ridge is not None else None
            if moved is not None:
                waiting.append((child, moved))
            elif record.is_dir():
                waiting.append((child, record))
            elif style and record.get_data_length():
                # A file of more than 4 GiB is several records of one name, each with its extent.
                place = record.extent_location() * block_bytes
                yield Region("file", child, place, record.get_data_length())


def _name(record: DirectoryRecord, style: str) -> bytes:
    """Return the name of a record, in UTF-8 where it has an encoding at all."""
    if style == "Rock Ridge" and record.rock_ridge is not None:
        return bytes(record.rock_ridge.name())
    identifier = bytes(record.file_identifier())
    if style == "Joliet":
        identifier = identifier.decode("utf-16-be", "surrogatepass").encode(errors="replace")
    # The version number of ISO 9660, and the dot of a name without extension.
    return identifier.rpartition(b";")[0].removesuffix(b".") if b";" in identifier else identifier
