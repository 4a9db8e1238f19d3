# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Contents of the files of an EROFS, decompressed, and their extended attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from optimizer.images.erofs.clusters import Place
from optimizer.images.erofs.decompress import CorruptClusterError, decompress
from optimizer.images.erofs.extents import (
    SHARED_COUNT_OFFSET_BYTES,
    XATTR_ENTRY_BYTES,
    XATTR_HEADER_BYTES,
)
from optimizer.images.erofs.format import Content, Feature
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.source import Source

# Clusters of the packed inode that are kept decompressed: neighbours there are often of one folder.
MOST_KEPT = 8

XattrEntry = tuple[int, bytes, bytes]
"""Number of the name's prefix, rest of the name, value."""


class Reader:
    """Reads what the files of an image hold.

    Args:
        layout: Of the image.
        file: The image.
    """

    def __init__(self, layout: ErofsLayout, file: BinaryIO) -> None:
        self.layout = layout
        superblock = layout.superblock
        self.content = Content(
            Source(file, layout.name, layout.offset_bytes), superblock.size_bytes
        )
        rows = layout.runs.rows
        self._rows = rows
        self._first = np.searchsorted(rows["inode"], np.arange(layout.every_inode.size + 1))
        self._leading_zeros = bool(superblock.features & Feature.LEADING_ZEROS)
        self._xattr_bytes = superblock.xattr_block << superblock.block_bits
        self._kept: dict[int, bytes] = {}
        first, end = (
            self._first[layout.packed : layout.packed + 2] if layout.packed >= 0 else (0, 0)
        )
        self._packed = rows[first:end]

    def pieces(self, inode: int) -> Iterator[bytes]:
        """Yield the content of a file, directory or link, given as its row in ``every_inode``.

        Raises:
            FormatError: A cluster is damaged.
        """
        for row in self._rows[self._first[inode] : self._first[inode + 1]]:
            if row["place"] == Place.PACKED:
                yield from self._from_packed(int(row["offset_bytes"]), int(row["file_bytes"]))
            elif row["place"] == Place.HOLE:
                yield bytes(int(row["file_bytes"]))
            else:
                yield self._inflate(row)

    def raw(self, inode: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield what decides about the content of a file: its runs, and the bytes of each."""
        fields = ["file_offset_bytes", "file_bytes", "place", "algorithm", "length_bytes"]
        for row in self._rows[self._first[inode] : self._first[inode + 1]]:
            described = repr([int(row[name]) for name in fields]).encode()
            if row["place"] == Place.PACKED:
                yield described, repr(int(row["offset_bytes"])).encode()
            elif row["place"] == Place.HOLE:
                yield described, b""
            else:
                yield described, self._stored(row)

    def xattrs(self, inode: int) -> list[XattrEntry]:
        """Return the extended attributes of an inode, in the order of their names.

        Raises:
            FormatError: One is not within the file system.
        """
        row = self.layout.every_inode[inode]
        size = int(row["xattr_bytes"])
        if not size:
            return []
        begin = int(row["body_bytes"]) - size
        data = self.content.span(begin, size, "xattrs")
        count = data[SHARED_COUNT_OFFSET_BYTES]
        place = XATTR_HEADER_BYTES + 4 * count
        ids = data[XATTR_HEADER_BYTES:place]
        found = []
        for offset in range(0, len(ids) - 3, 4):
            number = int.from_bytes(ids[offset : offset + 4], "little")
            found.append(self._xattr(self._xattr_bytes + 4 * number))
        while place + XATTR_ENTRY_BYTES <= size:
            if not any(data[place : place + XATTR_ENTRY_BYTES]):
                break
            entry = self._xattr(begin + place)
            found.append(entry)
            place += -(-(XATTR_ENTRY_BYTES + len(entry[1]) + len(entry[2])) // 4) * 4
        return sorted(found)

    def _xattr(self, at: int) -> XattrEntry:
        head = self.content.span(at, XATTR_ENTRY_BYTES, "xattr")
        size = int.from_bytes(head[2:], "little")
        body = self.content.span(at + XATTR_ENTRY_BYTES, head[0] + size, "xattr")
        return head[1], body[: head[0]], body[head[0] :]

    def cluster(self, row: np.void) -> tuple[bytes, int]:
        """Return a cluster decompressed, and the length of its compressed bytes without zeros.

        Args:
            row: A run, compressed and in blocks.

        Raises:
            FormatError: It is damaged.
        """
        return self._inflate(row), len(self._stored(row).strip(b"\0"))

    def _stored(self, row: np.void) -> bytes:
        return self.content.span(
            int(row["offset_bytes"]), int(row["length_bytes"]), "content of a file"
        )

    def _inflate(self, row: np.void) -> bytes:
        data, size = self._stored(row), int(row["file_bytes"])
        if row["interlaced"]:
            # Bytes lie at their place in a block of the file, in the one block of the cluster.
            turn = int(row["file_offset_bytes"]) % len(data)
            data = data[turn:] + data[:turn]
        if row["algorithm"] < 0:
            if len(data) < size:
                self._fail(row, "is shorter than its part of the file")
            return data[:size]
        try:
            return decompress(int(row["algorithm"]), data, size, leading_zeros=self._leading_zeros)
        except (CorruptClusterError, IndexError) as error:
            self._fail(row, str(error))
            raise

    def _fail(self, row: np.void, message: str) -> None:
        self.content.source.fail(f"cluster at {int(row['offset_bytes']):#x}: {message}")

    def _from_packed(self, offset: int, size: int) -> Iterator[bytes]:
        starts = self._packed["file_offset_bytes"]
        number = int(np.searchsorted(starts, offset, side="right")) - 1
        while size > 0:
            if number not in self._kept:
                if len(self._kept) >= MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[number] = self._inflate(self._packed[number])
            inner = offset - int(starts[number])
            data = self._kept[number][inner : inner + size]
            yield data
            offset, size, number = offset + len(data), size - len(data), number + 1
