# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The compressors of squashfs, each as a function with limited output.

A block of a squashfs inflates to 8 KiB (metadata) or to at most the block size (data). Every
function here is handed that limit and never allocates much more, whatever the bytes say.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optimizer.errors import FormatError

# Identifiers in the superblock, from fs/squashfs/squashfs_fs.h of the kernel.
COMPRESSORS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}

# Dictionary of an LZMA or XZ stream is at most the block size (1 MiB); a stream that asks its
# decoder for more than this is not from a squashfs.
LZMA_MEMORY_LIMIT_BYTES = 64 << 20

# Frame of zstd, RFC 8878: 1 MiB blocks never need a larger window.
ZSTD_WINDOW_LIMIT_BYTES = 8 << 20

# LZMA-alone header: properties (1 byte), size of the dictionary, size of the content.
LZMA_ALONE_HEADER = struct.Struct("<BIQ")

# Handed a compressed block and the most bytes it may inflate to; raises CorruptBlockError.
Decompress = Callable[[bytes, int], bytes]


@contextmanager
def damaged(name: str, what: str) -> Iterator[None]:
    """Let what an image contains be an error of the image if it cannot be used.

    Args:
        name: The image.
        what: What of it is used in the block.

    Raises:
        FormatError: A ValueError (such as CorruptBlockError) or struct.error was raised.
    """
    try:
        yield
    except (ValueError, struct.error) as error:
        raise FormatError(f"{name}: {what} is corrupt ({error})") from None


class CorruptBlockError(ValueError):
    """A compressed block cannot be decompressed; the caller knows its place."""


def decompressor(compressor: int) -> Decompress:
    """Return the decompressor of a superblock's compressor number.

    Libraries outside the standard library are imported only for the image that needs them.

    Raises:
        KeyError: The number is none of :data:`COMPRESSORS`.
    """
    return {
        "gzip": lambda: _gzip,
        "lzma": lambda: _lzma,
        "xz": lambda: _xz,
        "lzo": _load_lzo,
        "lz4": _load_lz4,
        "zstd": _load_zstd,
    }[COMPRESSORS[compressor]]()


def _gzip(block: bytes, limit_bytes: int) -> bytes:
    # squashfs calls it gzip, but the streams are of zlib (RFC 1950).
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(block, limit_bytes)
        if not stream.eof:
            # The checksum may still be unread when the limit is exactly the size.
            inflated += stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise CorruptBlockError(str(error)) from None
    return _whole(inflated, limit_bytes, stream.eof)


def _lzma_stream(stream: lzma.LZMADecompressor, block: bytes, limit_bytes: int) -> bytes:
    try:
        inflated = stream.decompress(block, limit_bytes)
        if not stream.eof:
            inflated += stream.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise CorruptBlockError(str(error)) from None
    return inflated


def _xz(block: bytes, limit_bytes: int) -> bytes:
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_LIMIT_BYTES)
    return _whole(_lzma_stream(stream, block, limit_bytes), limit_bytes, stream.eof)


def _lzma(block: bytes, limit_bytes: int) -> bytes:
    if len(block) < LZMA_ALONE_HEADER.size:
        raise CorruptBlockError("shorter than an LZMA header")
    size_bytes = LZMA_ALONE_HEADER.unpack_from(block)[2]
    if size_bytes > limit_bytes:
        raise CorruptBlockError(f"inflates to {size_bytes} bytes, more than {limit_bytes}")
    stream = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY_LIMIT_BYTES)
    # Streams with a known size have no end mark, and not every liblzma then reports the end: the
    # size in the header decides.
    inflated = _lzma_stream(stream, block, limit_bytes)
    return _whole(inflated, limit_bytes, len(inflated) == size_bytes)


def _load_lzo() -> Decompress:
    import lzo

    def decompress(block: bytes, limit_bytes: int) -> bytes:
        try:
            inflated: bytes = lzo.decompress(block, False, limit_bytes)
        except (lzo.error, ValueError) as error:
            raise CorruptBlockError(str(error)) from None
        return inflated

    return decompress


def _load_lz4() -> Decompress:
    import lz4.block

    def decompress(block: bytes, limit_bytes: int) -> bytes:
        try:
            inflated: bytes = lz4.block.decompress(block, uncompressed_size=limit_bytes)
        except (lz4.block.LZ4BlockError, ValueError) as error:
            raise CorruptBlockError(str(error)) from None
        return inflated

    return decompress


def _load_zstd() -> Decompress:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT_BYTES)

    def decompress(block: bytes, limit_bytes: int) -> bytes:
        try:
            # The library allocates the size in the frame's header, so check it first.
            promised_bytes = zstandard.frame_content_size(block)
            if promised_bytes > limit_bytes:
                raise CorruptBlockError(f"inflates to {promised_bytes} bytes")
            return reader.decompress(block, max_output_size=limit_bytes)
        except zstandard.ZstdError as error:
            raise CorruptBlockError(str(error)) from None

    return decompress


def _whole(inflated: bytes, limit_bytes: int, at_end: bool) -> bytes:
    if len(inflated) > limit_bytes:
        raise CorruptBlockError(f"inflates to more than {limit_bytes} bytes")
    if not at_end:
        raise CorruptBlockError("ends too early")
    return inflated
