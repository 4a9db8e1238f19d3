# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The compressors of squashfs as mksquashfs calls them, with the options that an image records.

Sources: the *_wrapper.h files of squashfs-tools for the options behind the superblock, which are
only written where they differ from the defaults.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable

from optimizer.images.squashfs.decompress import COMPRESSORS, LZMA_ALONE_HEADER

# Returns the compressed block, whatever its size.
Compress = Callable[[bytes], bytes]

GZIP_OPTIONS = struct.Struct("<IHH")
XZ_OPTIONS = struct.Struct("<II")
LZ4_OPTIONS = struct.Struct("<II")
ZSTD_OPTIONS = struct.Struct("<I")
LZO_OPTIONS = struct.Struct("<II")
GZIP_LEVEL, GZIP_WINDOW = 9, 15
LZ4_HIGH = 1
ZSTD_LEVEL, ZSTD_STRONGEST = 15, 22
LZO_LEVEL = 8
# Of the LZMA-alone header: the size of the content, which mksquashfs fills in.
LZMA_SIZE_OFFSET = 5


def compressor(number: int, options: bytes, block_size_bytes: int) -> Compress:
    """Return a compressor.

    Args:
        number: Its number in the superblock.
        options: What the image records behind the superblock; empty for the defaults.
        block_size_bytes: Block size of the image.

    Raises:
        KeyError: The number is none of a compressor.
        ValueError: The options make no sense.
    """
    return {
        "gzip": _gzip,
        "lzma": _lzma,
        "xz": _xz,
        "lzo": _lzo,
        "lz4": _lz4,
        "zstd": _zstd,
    }[COMPRESSORS[number]](options, block_size_bytes)


def strongest_options(number: int, options: bytes) -> bytes:
    """Return the options of the highest level; the given ones if nothing is stronger.

    Args:
        number: As for :func:`compressor`.
        options: As for :func:`compressor`.
    """
    name = COMPRESSORS[number]
    strong = {"zstd": ZSTD_OPTIONS.pack(ZSTD_STRONGEST), "lz4": LZ4_OPTIONS.pack(1, LZ4_HIGH)}
    return strong.get(name, options)


def _fields(options: bytes, layout: struct.Struct, *defaults: int) -> tuple[int, ...]:
    if not options:
        return defaults
    if len(options) < layout.size:
        raise ValueError(f"compression options of {len(options)} bytes")
    return layout.unpack_from(options)


def _gzip(options: bytes, _: int) -> Compress:
    level, window, _strategies = _fields(options, GZIP_OPTIONS, GZIP_LEVEL, GZIP_WINDOW, 0)
    if not (1 <= level <= 9 and 9 <= window <= 15):
        raise ValueError(f"gzip level {level}, window {window}")

    def compress(data: bytes) -> bytes:
        stream = zlib.compressobj(level, wbits=window)
        return stream.compress(data) + stream.flush()

    return compress


def _lzma(_options: bytes, block_size_bytes: int) -> Compress:
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 5, "dict_size": block_size_bytes}]

    def compress(data: bytes) -> bytes:
        packed = bytearray(lzma.compress(data, lzma.FORMAT_ALONE, filters=filters))
        struct.pack_into("<Q", packed, LZMA_SIZE_OFFSET, len(data))
        assert len(packed) > LZMA_ALONE_HEADER.size
        return bytes(packed)

    return compress


def _xz(options: bytes, block_size_bytes: int) -> Compress:
    dictionary, _flags = _fields(options, XZ_OPTIONS, block_size_bytes, 0)
    if not 8192 <= dictionary <= 1 << 20:
        raise ValueError(f"xz dictionary of {dictionary} bytes")
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary}]

    def compress(data: bytes) -> bytes:
        return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)

    return compress


def _lzo(options: bytes, _: int) -> Compress:
    import lzo

    _algorithm, level = _fields(options, LZO_OPTIONS, 4, LZO_LEVEL)

    def compress(data: bytes) -> bytes:
        packed: bytes = lzo.compress(data, level or 1, False)
        return packed

    return compress


def _lz4(options: bytes, _: int) -> Compress:
    import lz4.block

    _version, flags = _fields(options, LZ4_OPTIONS, 1, 0)
    mode = "high_compression" if flags & LZ4_HIGH else "default"

    def compress(data: bytes) -> bytes:
        packed: bytes = lz4.block.compress(data, mode=mode, store_size=False)
        return packed

    return compress


def _zstd(options: bytes, _: int) -> Compress:
    import zstandard

    (level,) = _fields(options, ZSTD_OPTIONS, ZSTD_LEVEL)
    if not 1 <= level <= 22:
        raise ValueError(f"zstd level {level}")

    def compress(data: bytes) -> bytes:
        # An object of its own for each block: threads cannot share one.
        return zstandard.ZstdCompressor(level=level).compress(data)

    return compress
