# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The compressors of EROFS, each as a function that returns the first bytes of a cluster.

A cluster is as long as its blocks; what its compressed bytes leave of them is zeros, in front or,
in the oldest form of LZ4, behind. A file may use no more than the start of a cluster that it shares
with others (deduplication), so that the size of the whole is not known.
"""

from __future__ import annotations

import lzma
import zlib

# Window of the largest cluster that the kernel decompresses (Z_EROFS_PCLUSTER_MAX_DSIZE).
LARGEST_CLUSTER_BYTES = 12 << 20
LZ4_LARGEST_RATIO, LZ4_SMALLEST_MATCH = 255, 4
SMALLEST_DICTIONARY_BYTES = 4096


class CorruptClusterError(ValueError):
    """A cluster cannot be decompressed; the caller knows its place."""


def decompress(algorithm: int, cluster: bytes, size_bytes: int, *, leading_zeros: bool) -> bytes:
    """Return the first bytes of a cluster.

    Args:
        algorithm: Number of the compressor, see :data:`optimizer.images.erofs.format.COMPRESSORS`.
        cluster: Its bytes.
        size_bytes: How many bytes to return.
        leading_zeros: Whether LZ4 has zeros in front; all others do.

    Raises:
        CorruptClusterError: It has fewer bytes, or is damaged.
    """
    if size_bytes > LARGEST_CLUSTER_BYTES:
        raise CorruptClusterError(f"inflates to {size_bytes} bytes")
    if algorithm == 0 and not leading_zeros:
        found = _lz4_with_zeros_behind(cluster, size_bytes)
    else:
        data = cluster.lstrip(b"\0")
        if not data:
            raise CorruptClusterError("is empty")
        found = (_lz4, _lzma, _deflate, _zstd)[algorithm](data, size_bytes)
    if len(found) < size_bytes:
        raise CorruptClusterError(f"inflates to {len(found)} bytes instead of {size_bytes}")
    return found[:size_bytes]


def _lz4(data: bytes, size_bytes: int) -> bytes:
    import lz4.block

    most = min(LARGEST_CLUSTER_BYTES, LZ4_LARGEST_RATIO * len(data))
    for limit in (size_bytes, most):
        try:
            found: bytes = lz4.block.decompress(data, uncompressed_size=limit)
        except (lz4.block.LZ4BlockError, ValueError) as error:
            if limit == most:
                raise CorruptClusterError(str(error)) from None
        else:
            break
    return found


def _lz4_with_zeros_behind(cluster: bytes, size_bytes: int) -> bytes:
    """Decode LZ4 up to a size: libraries want to know where the compressed bytes end."""
    found = bytearray()
    place = 0

    def length(low: int) -> int:
        nonlocal place
        if low < 15:
            return low
        while True:
            low += cluster[place]
            place += 1
            if cluster[place - 1] < 255:
                return low

    try:
        while len(found) < size_bytes:
            token = cluster[place]
            place += 1
            literals = length(token >> 4)
            found += cluster[place : place + literals]
            place += literals
            if len(found) >= size_bytes:
                break
            distance = cluster[place] | cluster[place + 1] << 8
            place += 2
            match = length(token & 15) + LZ4_SMALLEST_MATCH
            match = min(match, size_bytes - len(found))
            if not 0 < distance <= len(found):
                raise CorruptClusterError("refers to bytes in front of its start")
            start = len(found) - distance
            if distance < match:
                found += (found[start:] * (match // distance + 1))[:match]
            else:
                found += found[start : start + match]
    except IndexError:
        raise CorruptClusterError("ends too early") from None
    return bytes(found)


def _lzma(data: bytes, size_bytes: int) -> bytes:
    """Decode MicroLZMA: LZMA whose first byte, always 0, holds the inverted properties."""
    properties = data[0] ^ 0xFF
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(SMALLEST_DICTIONARY_BYTES, size_bytes),
            "lc": properties % 9,
            "lp": properties // 9 % 5,
            "pb": properties // 45,
        }
    ]
    try:
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        return stream.decompress(b"\0" + data[1:], size_bytes)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise CorruptClusterError(str(error)) from None


def _deflate(data: bytes, size_bytes: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size_bytes)
    except zlib.error as error:
        raise CorruptClusterError(str(error)) from None


def _zstd(data: bytes, size_bytes: int) -> bytes:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=LARGEST_CLUSTER_BYTES)
    try:
        with reader.stream_reader(data) as stream:
            return stream.read(size_bytes)
    except zstandard.ZstdError as error:
        raise CorruptClusterError(str(error)) from None
