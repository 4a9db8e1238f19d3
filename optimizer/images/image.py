# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images: opens an ISO, a disk image, or a file system by itself.

:func:`open_image` finds the file systems in an image, chooses the one that holds the root of the
live system, and reads its layout on request. :func:`check_trace` checks that a block trace belongs
to an image.

To add a format: write a folder next to this module with a :class:`Format`, and add it to
:data:`FORMATS`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from optimizer.errors import FormatError, InputError
from optimizer.formats.blocktrace import BlockTrace
from optimizer.formats.text import printable
from optimizer.images.erofs import FORMAT as EROFS
from optimizer.images.iso9660 import IsoLayout, is_iso, read_iso
from optimizer.images.layout import Format, Layout
from optimizer.images.squashfs import FORMAT as SQUASHFS

FORMATS: tuple[Format, ...] = (SQUASHFS, EROFS)

# Partitions and the clusters of any file system begin on a multiple of this.
SCAN_STEP_BYTES = 512
SCAN_CHUNK_BYTES = 4 << 20
# A disk image may hold the magic number thousands of times.
MOST_REMARKS = 8
# What split(1) and others append to the name of each part: .aa, .00, .part1, -001.
_PART = re.compile(rb"[-._](?:part-?)?(?:\d{1,4}|[a-z]{2})\Z")


@dataclass(frozen=True)
class FileSystem:
    """A file system in an image.

    Attributes:
        format: Its format.
        offset_bytes: Where it begins.
        size_bytes: Its size by its superblock.
        path: Path of the file in the ISO; empty for a bare file system and in a disk image.
    """

    format: Format
    offset_bytes: int
    size_bytes: int
    path: bytes = b""

    def __str__(self) -> str:
        """Return a name for messages: path or offset, and size."""
        where = printable(self.path) if self.path else f"offset {self.offset_bytes}"
        return f"{where} ({self.size_bytes} bytes)"


@dataclass(frozen=True, eq=False)
class Image:
    """An image that was opened.

    Attributes:
        path: Of the image.
        size_bytes: Its size.
        iso: The ISO 9660 file system of the image; None if it has none that can be read.
        places: The file systems in the image, ascending by offset; empty in an ISO of plain files.
        chosen: The requested one, or the largest; None if there is none.
        remarks: Sentences about unexpected findings: several file systems to choose from,
            ignored files that start like one, an ISO that cannot be read.
    """

    path: Path
    size_bytes: int
    iso: IsoLayout | None
    places: tuple[FileSystem, ...]
    chosen: FileSystem | None
    remarks: list[str]
    _layouts: dict[int, Layout] = field(default_factory=dict, repr=False)

    def layout(self, place: FileSystem | None = None) -> Layout:
        """Return the layout of a file system of the image, which is read once.

        Args:
            place: One of ``places``; None for the chosen one.

        Raises:
            FormatError: The image has none, or it is corrupt.
        """
        wanted = place or self.chosen
        if wanted is None:
            raise _nothing_found(self.path, self.remarks)
        known = self._layouts.get(wanted.offset_bytes)
        if known is None:
            try:
                known = wanted.format.read(self.path, wanted.offset_bytes)
            except FormatError as error:
                if len(self.places) > 1:
                    error.hint += "; or choose another file system of the image with --squashfs"
                raise
            self._layouts[wanted.offset_bytes] = known
        return known

    def layouts(self) -> tuple[Layout, ...]:
        """Return the layouts of all file systems of the image.

        A corrupt one is ignored and added to ``remarks`` if another one can be read.

        Raises:
            FormatError: None of them can be read.
        """
        found: list[Layout] = []
        failed: list[FormatError] = []
        for place in self.places:
            try:
                found.append(self.layout(place))
            except FormatError as error:
                failed.append(error)
        if failed and not found:
            raise failed[0]
        self.remarks.extend(f"{error.message}: passed over" for error in failed)
        return tuple(found)

    def sha256(self) -> str:
        """Return the SHA-256 digest of the image in hexadecimal, which is computed once."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def open_image(
    path: str | Path, *, offset_bytes: int | None = None, squashfs: str | bytes | None = None
) -> Image:
    """Open an image and find the file systems in it.

    Without a choice the largest file system is chosen, which is the root of a live system. The
    files of an ISO are looked at first; if none of them holds a file system, or the ISO's
    directories cannot be read, every 512th byte of the image is. That finds the partitions of a
    disk image, and files of a file system in it that are in one piece.

    Args:
        path: The image.
        offset_bytes: Choose the file system that begins there.
        squashfs: Choose the file system in this file of the ISO (an absolute path).

    Raises:
        InputError: Both choices are given, or the ISO has no such file system.
        FormatError: There is neither a file system nor an ISO, or the chosen one is corrupt.
        OSError: The file cannot be read.
    """
    if offset_bytes is not None and squashfs is not None:
        raise InputError(
            "both the offset and the path of a squashfs are given",
            hint="give one of the two options",
        )
    name = os.fspath(path)
    remarks: list[str] = []
    with Path(path).open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        iso, iso_error = _read_iso(name, remarks)
        if offset_bytes is not None:
            places = [_place_at(file, name, offset_bytes, iso)]
        else:
            places = _find_places(file, name, iso, remarks)
    if not places and iso is None:
        raise iso_error or _nothing_found(path, remarks)
    chosen = max(places, key=lambda place: (place.size_bytes, -place.offset_bytes), default=None)
    if squashfs is not None:
        chosen = _choose(name, places, os.fsencode(squashfs))
    elif len(places) > 1:
        listed = [str(place) for place in places[:MOST_REMARKS]]
        listed += ["..."] if len(places) > MOST_REMARKS else []
        remarks.append(
            f"{name}: holds {len(places)} file systems, {', '.join(listed)}: the largest is used"
        )
    return Image(Path(path), size_bytes, iso, tuple(places), chosen, remarks)


def check_trace(image: Image, trace: BlockTrace, name: str = "block trace") -> None:
    """Make sure that a block trace was recorded of an image: its size, its digest if it is known.

    Args:
        image: The image.
        trace: The block trace.
        name: What to call the trace in an error.

    Raises:
        InputError: It was recorded of another image.
    """
    same = image.size_bytes == trace.image_bytes
    if same and trace.image_sha256:
        same = image.sha256() == trace.image_sha256
    if not same:
        raise InputError(
            f"{name}: belongs to another image than {image.path}: {printable(trace.image)},"
            f" {trace.image_bytes} bytes",
            hint="after rebuilding an image, profile it again",
        )


def _read_iso(name: str, remarks: list[str]) -> tuple[IsoLayout | None, FormatError | None]:
    """Return the ISO of an image, and why there is none though it begins like one."""
    if not is_iso(name):
        return None, None
    try:
        return read_iso(name), None
    except FormatError as error:
        remarks.append(f"{error.message}; the image is searched for file systems instead")
        return None, error


def _nothing_found(path: str | Path, remarks: list[str]) -> FormatError:
    reasons = "".join(f"; {remark}" for remark in remarks)
    return FormatError(
        f"{os.fspath(path)}: no squashfs found: neither a squashfs, nor an ISO or disk image "
        f"that holds one{reasons}",
        hint="live systems with another root file system (erofs, ext4) have no layout to read",
    )


def _choose(name: str, places: list[FileSystem], path: bytes) -> FileSystem:
    wanted = b"/" + path.lstrip(b"/")
    found = next((place for place in places if place.path == wanted), None)
    if found is None:
        known = ", ".join(map(str, places)) or "none"
        raise InputError(
            f"{name}: no squashfs {printable(wanted)} in the image",
            hint=f"it contains {known}; select one without a path with --squashfs-offset",
        )
    return found


def _place_at(file: BinaryIO, name: str, offset_bytes: int, iso: IsoLayout | None) -> FileSystem:
    """Return the file system at an offset.

    Raises:
        FormatError: None begins there.
    """
    begins = [kind for kind in FORMATS if _begins_like(file, kind, offset_bytes)]
    kind = begins[0] if begins else FORMATS[0]
    size_bytes = kind.measure(file, name, offset_bytes, None)
    files = [region for region in (iso.at(offset_bytes) if iso else ()) if region.kind == "file"]
    return FileSystem(kind, offset_bytes, size_bytes, files[0].path if files else b"")


def _find_places(
    file: BinaryIO, name: str, iso: IsoLayout | None, remarks: list[str]
) -> list[FileSystem]:
    for kind in FORMATS:
        if _begins_like(file, kind, 0) and iso is None:
            return [FileSystem(kind, 0, kind.measure(file, name, 0, None))]
    if iso is not None:
        places = _places_in_iso(file, iso, remarks)
        if places:
            return places
    # What a file of the ISO begins with was looked at with the file's length in mind.
    known = {regions[0].offset_bytes for regions in iso.files().values()} if iso else set()
    return [place for place in _scan(file, name, remarks) if place.offset_bytes not in known]


def _begins_like(file: BinaryIO, kind: Format, offset_bytes: int) -> bool:
    begin = offset_bytes + kind.magic_offset_bytes
    # A file system refuses to seek far beyond the end.
    if begin >= file.seek(0, os.SEEK_END):
        return False
    file.seek(begin)
    return file.read(max(map(len, kind.magics))).startswith(kind.magics)


def _places_in_iso(file: BinaryIO, iso: IsoLayout, remarks: list[str]) -> list[FileSystem]:
    """Return the files of an ISO that hold a file system, and remark on those that seem to."""
    places: dict[int, FileSystem] = {}
    passed_over: list[str] = []
    for path, regions in iso.files().items():
        offset_bytes = regions[0].offset_bytes
        for kind in FORMATS:
            if offset_bytes in places or not _begins_like(file, kind, offset_bytes):
                continue
            length_bytes = sum(region.length_bytes for region in regions)
            try:
                size_bytes = kind.measure(file, iso.name, offset_bytes, length_bytes)
            except FormatError as error:
                parts = _parts_of(path, iso)
                passed_over.append(
                    f"{printable(path)} is the first of {parts} parts of a split {kind.name}; "
                    "only one in a single file can be read"
                    if parts > 1
                    else f"{printable(path)} begins like a {kind.name}, but is passed over: "
                    f"{error.message}"
                )
            else:
                places[offset_bytes] = FileSystem(kind, offset_bytes, size_bytes, path)
    _remark(remarks, passed_over)
    return [places[offset] for offset in sorted(places)]


def _parts_of(path: bytes, iso: IsoLayout) -> int:
    """Return how many files have the name of this one but for a number or letters at the end."""
    stem = _PART.sub(b"", path)
    if stem == path:
        return 1
    return sum(1 for other in iso.files() if _PART.sub(b"", other) == stem != other)


def _remark(remarks: list[str], more: list[str]) -> None:
    remarks += more[:MOST_REMARKS]
    if len(more) > MOST_REMARKS:
        remarks.append(f"and {len(more) - MOST_REMARKS} more that are passed over")


def _scan(file: BinaryIO, name: str, remarks: list[str]) -> Iterator[FileSystem]:
    """Yield what looks like a whole file system; what lies inside one is skipped."""
    size_bytes = file.seek(0, os.SEEK_END)
    passed_over: list[str] = []
    # Looking for holes moves the file position, which a buffered file must not see.
    holes = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        position = _next_data(holes, 0, size_bytes)
        while position < size_bytes:
            file.seek(position)
            chunk = file.read(SCAN_CHUNK_BYTES)
            following = position + SCAN_CHUNK_BYTES
            for offset_bytes, kind in _candidates(chunk, position):
                try:
                    length_bytes = kind.measure(file, name, offset_bytes, None)
                except FormatError as error:
                    passed_over.append(f"what begins like a {kind.name} is none: {error.message}")
                    continue
                yield FileSystem(kind, offset_bytes, length_bytes)
                end = offset_bytes + length_bytes
                following = -(-end // SCAN_STEP_BYTES) * SCAN_STEP_BYTES
                break
            position = _next_data(holes, following, size_bytes)
    finally:
        os.close(holes)
    if not remarks:
        _remark(remarks, passed_over)


def _candidates(chunk: bytes, position: int) -> list[tuple[int, Format]]:
    """Return where in an image file systems seem to begin, by a chunk of it; ascending."""
    words = np.frombuffer(chunk, "<u4", len(chunk) // 4)[:: SCAN_STEP_BYTES // 4]
    found = []
    for kind in FORMATS:
        magic = int.from_bytes(kind.magics[0], "little")
        for index in np.flatnonzero(words == magic).tolist():
            offset_bytes = position + index * SCAN_STEP_BYTES - kind.magic_offset_bytes
            if offset_bytes >= 0:
                found.append((offset_bytes, kind))
    return sorted(found, key=lambda item: item[0])


def _next_data(descriptor: int, position: int, size_bytes: int) -> int:
    """Return where data begins at or behind a position, so that holes are not read."""
    try:
        found = os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: only a hole up to the end. Other errors: a device without holes.
        return size_bytes if error.errno == errno.ENXIO else position
    return found // SCAN_STEP_BYTES * SCAN_STEP_BYTES
