# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Recompress an initrd: smaller for the boot loader to read, faster for the kernel to unpack.

The initrd is the largest file that a live system reads, because it holds every driver (42 of the
75 MB that the demonstration image reads). A boot loader reads all of it before the kernel runs, so
only its size matters.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: archives in cpio's
"newc" format one after the other, each plain or compressed, with zeros between them.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bootprof.errors import FormatError

NEWC_MAGICS = (b"070701", b"070702")
HEADER_BYTES = 110
TRAILER = b"TRAILER!!!"
# Many times what an initrd with all drivers and firmware has.
UNPACKED_LIMIT_BYTES = 1 << 30
# 17 % smaller than level 3, in less than a minute.
ZSTD_LEVEL = 19
# Files of kernel modules, by their path below the folder "kernel" of their release.
MODULE = re.compile(rb"(?:usr/)?lib/modules/[^/]+/(kernel/.+\.ko(?:\.[a-z0-9]+)?)")
DRIVER = re.compile(rb"(?:usr/)?lib/modules/([^/]+/kernel/.+)\.ko(?:\.[a-z0-9]+)?")
DEPENDENCIES = re.compile(rb"(?:usr/)?lib/modules/[^/]+/modules\.dep")


@dataclass(frozen=True)
class Entry:
    """One file of a cpio archive.

    Attributes:
        name: Its path.
        start: Where its header begins, in bytes.
        content: Where its content begins.
        end: Where the next header begins.
        size_bytes: Size of its content.
        links: Number of its hard links.
    """

    name: bytes
    start: int
    content: int
    end: int
    size_bytes: int
    links: int


def unpack_zstd(data: bytes) -> bytes:
    """Unpack Zstandard."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as stream:
            return bytes(stream.read(UNPACKED_LIMIT_BYTES + 1))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def unpack_gzip(data: bytes) -> bytes:
    """Unpack gzip, and leave what follows it."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, UNPACKED_LIMIT_BYTES + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None


def unpack_xz(data: bytes) -> bytes:
    """Unpack xz or lzma, and leave what follows it."""
    try:
        return lzma.LZMADecompressor().decompress(data, UNPACKED_LIMIT_BYTES + 1)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None


def unpack_bzip2(data: bytes) -> bytes:
    """Unpack bzip2, and leave what follows it."""
    try:
        return bz2.BZ2Decompressor().decompress(data, UNPACKED_LIMIT_BYTES + 1)
    except OSError as error:
        raise ValueError(str(error)) from None


# First bytes of each format that initramfs-tools and dracut write, except LZ4 and LZO.
UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x28\xb5\x2f\xfd": unpack_zstd,
    b"\x1f\x8b": unpack_gzip,
    b"\xfd7zXZ\0": unpack_xz,
    b"\x5d\0\0": unpack_xz,
    b"BZh": unpack_bzip2,
}


def repack(
    initrd: bytes, name: str, leave_out: Sequence[str] = (), keep: Sequence[str] = ()
) -> bytes:
    """Recompress an initrd, without the drivers that finding the root does not need.

    Args:
        initrd: The initrd.
        name: Its name, for errors.
        leave_out: Folders below the modules' ``kernel``, as ``drivers/net``, or modules, as
            ``drivers/block/rbd``: left out unless another module needs them. They are still in the
            root tree, and loaded from there.
        keep: Folders or modules of these that stay, as ``drivers/scsi/sd_mod``.

    Returns:
        The new initrd; archives that were not compressed (processor microcode) are unchanged.

    Raises:
        FormatError: It is no initrd, or its compression is not supported.
    """
    import zstandard

    kept = trimmed(list(archives(initrd, name)), name, leave_out, keep)
    # The number of threads is a part of the result, so it does not come from the machine.
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=2)
    return b"".join(
        compressor.compress(data) if compressed else data + bytes(-len(data) % 4)
        for data, compressed in kept
    )


def archives(initrd: bytes, name: str) -> Iterator[tuple[bytes, bool]]:
    """Take an initrd apart into its archives, unpacked; True for those that were compressed."""
    position = 0
    while position < len(initrd):
        if initrd[position] == 0:
            following = re.compile(rb"[^\0]").search(initrd, position)
            if following is None:
                return
            position = following.start()
        if initrd[position : position + 6] in NEWC_MAGICS:
            end = list(entries(initrd, name, position))[-1].end
            yield initrd[position:end], False
            position = end
            continue
        for magic, unpack in UNPACKERS.items():
            if initrd.startswith(magic, position):
                try:
                    unpacked = unpack(initrd[position:])
                except ValueError as error:
                    raise FormatError(f"{name}: at byte {position}: {error}") from None
                if len(unpacked) > UNPACKED_LIMIT_BYTES:
                    raise FormatError(
                        f"{name}: at byte {position}: unpacks to more than "
                        f"{UNPACKED_LIMIT_BYTES >> 20} MiB, which no initrd does"
                    )
                yield unpacked, True
                return
        raise FormatError(
            f"{name}: at byte {position}: neither a cpio archive nor in a known compression format",
            hint='set initrd.compressor to "keep"',
        )


def entries(archive: bytes, name: str, position: int = 0) -> Iterator[Entry]:
    """Walk through a cpio archive, its trailer included."""
    while True:
        header = archive[position : position + HEADER_BYTES]
        try:
            if header[:6] not in NEWC_MAGICS:
                raise ValueError
            links, size_bytes, name_bytes = (
                int(header[start : start + 8], 16) for start in (38, 54, 94)
            )
        except ValueError:
            raise FormatError(f"{name}: byte {position} of an archive: no header there") from None
        content = (position + HEADER_BYTES + name_bytes + 3) & ~3
        end = (content + size_bytes + 3) & ~3
        path = archive[position + HEADER_BYTES : position + HEADER_BYTES + name_bytes - 1]
        yield Entry(path, position, content, end, size_bytes, links)
        if path == TRAILER:
            return
        position = end


def trimmed(
    parts: Sequence[tuple[bytes, bool]], name: str, leave_out: Sequence[str], keep: Sequence[str]
) -> list[tuple[bytes, bool]]:
    """Return the archives of an initrd without some drivers, as :func:`repack` describes."""
    gone = unneeded([data for data, _ in parts], name, leave_out, keep)
    return [(without(data, name, gone), compressed) for data, compressed in parts]


def unneeded(
    parts: Sequence[bytes], name: str, leave_out: Sequence[str], keep: Sequence[str]
) -> set[bytes]:
    """Return the modules of an initrd's archives that are left out, as ``kernel/...``."""
    modules: dict[bytes, Entry] = {}
    needs: dict[bytes, list[bytes]] = {}
    for archive in parts:
        for entry in entries(archive, name):
            if match := MODULE.fullmatch(entry.name):
                modules[match[1]] = entry
            elif DEPENDENCIES.fullmatch(entry.name):
                text = archive[entry.content : entry.content + entry.size_bytes]
                for line in text.splitlines():
                    module, _, others = line.partition(b":")
                    needs[module] = others.split()
    unwanted, wanted = below_kernel(leave_out), below_kernel(keep)
    # A hard link may hold the content of others.
    gone = {
        module
        for module, entry in modules.items()
        if module.startswith(unwanted) and not module.startswith(wanted) and entry.links == 1
    }
    for module in modules.keys() - gone:
        gone.difference_update(needs.get(module, ()))
    return gone


def without(archive: bytes, name: str, gone: set[bytes]) -> bytes:
    """Return a cpio archive without some kernel modules."""
    return b"".join(
        archive[entry.start : entry.end]
        for entry in entries(archive, name)
        if not ((match := MODULE.fullmatch(entry.name)) and match[1] in gone)
    )


def drivers_in(paths: Iterable[bytes]) -> set[bytes]:
    """Return which of these paths are kernel modules, as ``RELEASE/kernel/...`` without suffix."""
    return {
        match[1]
        for path in paths
        if (match := DRIVER.fullmatch(path.removeprefix(b"./").strip(b"/")))
    }


def below_kernel(paths: Sequence[str]) -> tuple[bytes, ...]:
    """Return the path prefixes of modules for folders or names of modules."""
    return tuple(
        b"kernel/" + path.strip("/").removesuffix(".ko").encode() + end
        for path in paths
        for end in (b"/", b".ko")
    )
