# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree unpacked from a tar archive, compressed or not.

Nothing in an archive leads out of the tree: see :mod:`bootprof.builder.roottree`. Python's own
unpacker refuses the absolute links that every root has (``tarfile.data_filter``), and GNU tar
follows a link that an earlier archive left in place of a folder.

Format: POSIX pax, with extended attributes as GNU tar and star write them (``SCHILY.xattr.``).
"""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, Self

import zstandard

from bootprof.builder.roottree import Attributes, RootTree
from bootprof.errors import FormatError, InputError

PART_BYTES = 1 << 20
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
XATTR = "SCHILY.xattr."
HeaderError, EOFHeaderError = tarfile.HeaderError, tarfile.EOFHeaderError  # type: ignore[attr-defined]
# Limits of owners, times and device numbers.
MOST = {"uid": 1 << 32, "gid": 1 << 32, "mtime": 1 << 40, "devmajor": 1 << 12, "devminor": 1 << 20}
DAMAGED = (
    *(tarfile.TarError, zlib.error, lzma.LZMAError, zstandard.ZstdError),
    *(EOFError, ValueError, OverflowError),
)


class Member(tarfile.TarInfo):
    """An entry; a damaged one is an error, where tarfile takes it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Read the next entry.

        Raises:
            EOFHeaderError: The archive ends here.
            ValueError: It is damaged, or ends without the mark of its end.
        """
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ValueError(str(error)) from None


def unpack(archive: Path, tree: RootTree, *, whiteouts: bool = False) -> int:
    """Unpack an archive into a root tree.

    Args:
        archive: The archive: plain, or compressed by gzip, bzip2, xz or zstd.
        tree: Root tree; what an entry meets there is replaced, but folders are kept.
        whiteouts: Whether names with ``.wh.`` in front remove entries of earlier archives, as in
            the layers of a container image.

    Returns:
        The time of the newest entry, in seconds since 1970.

    Raises:
        FormatError: It is no tar archive, or damaged.
        InputError: It contains an entry that cannot be created.
    """
    if whiteouts:
        remove_whiteouts(archive, tree)
    newest = 0
    folders: dict[str, Attributes] = {}
    with opened(archive) as members:
        for member in members:
            path = path_of(member, archive)
            if whiteouts and name_of(path).startswith(WHITEOUT):
                continue
            attributes = attributes_of(member, archive)
            newest = max(newest, int(member.mtime))
            if member.isdir():
                if path:
                    tree.make_folder(path)
                folders[path] = attributes
            elif not path:
                raise FormatError(f"{archive}: an entry without a name")
            else:
                make(member, path, members, tree)
                if not member.islnk():
                    tree.set_attributes(path, attributes)
    # Folders last: adding an entry changes the time of its folder.
    for path in sorted(folders, reverse=True):
        tree.set_attributes(path, folders[path])
    return newest


def remove_whiteouts(archive: Path, tree: RootTree) -> None:
    """Remove from a tree what a layer says that earlier ones shall not leave.

    Format: opencontainers/image-spec, layer.md: ``.wh..wh..opq`` empties its folder, ``.wh.NAME``
    removes NAME. Both come before the layer's own entries, wherever they are in it.

    Raises:
        InputError: A name is no name.
    """
    with opened(archive) as members:
        paths = [path_of(member, archive) for member in members]
    marks = [path for path in paths if name_of(path).startswith(WHITEOUT)]
    for path in marks:
        if name_of(path) == OPAQUE:
            folder = path.rpartition("/")[0]
            for name in tree.listing(folder):
                tree.remove(f"{folder}/{name}")
    for path in marks:
        name = name_of(path).removeprefix(WHITEOUT)
        if name in ("", ".", ".."):
            raise InputError(f"{archive}: refused, because an entry is called {path!r:.80}")
        # Two of these in front are notes of the tool that made the layer.
        if not name.startswith(WHITEOUT):
            tree.remove(f"{path.rpartition('/')[0]}/{name}")


def name_of(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def make(member: tarfile.TarInfo, path: str, members: tarfile.TarFile, tree: RootTree) -> None:
    """Make an entry that is no folder."""
    if member.isreg():
        content = members.extractfile(member)
        assert content is not None
        tree.write_file(path, parts(content, member.size))
    elif member.issym():
        tree.make_link(path, member.linkname)
    elif member.islnk():
        found = tree.status(member.linkname)
        if found is None or stat.S_ISDIR(found.st_mode):
            raise tree.error(path, f"a hard link to {member.linkname}, which is no file before it")
        if member.linkname.strip("/") != path:
            tree.make_hard_link(path, member.linkname)
    elif member.isfifo():
        tree.make_node(path, stat.S_IFIFO)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        tree.make_node(path, kind, os.makedev(member.devmajor, member.devminor))
    else:
        raise tree.error(path, f"an entry of the unknown type {member.type!r}")


@contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive for reading from its start to its end.

    Raises:
        FormatError: It is no tar archive, or damaged.
    """
    with archive.open("rb") as file:
        stream: IO[bytes] = file
        form: Literal["r|*", "r|"] = "r|*"
        if file.peek(4)[:4] == ZSTD_MAGIC:
            stream, form = zstandard.ZstdDecompressor().stream_reader(file), "r|"
        try:
            with tarfile.open(fileobj=stream, mode=form, tarinfo=Member) as members:
                yield members
        except DAMAGED as error:
            raise FormatError(f"{archive}: no tar archive, or a damaged one: {error}") from None
        except OSError as error:
            # Those of gzip and bzip2 have no number.
            if error.errno is not None:
                raise
            raise FormatError(f"{archive}: no tar archive, or a damaged one: {error}") from None


def path_of(member: tarfile.TarInfo, archive: Path) -> str:
    """Return the path of an entry in the tree; empty for the tree itself.

    Raises:
        InputError: It has a NUL or ``..`` in it, as no tool writes it.
    """
    found = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in found or "\0" in member.name or "\0" in member.linkname:
        raise InputError(f"{archive}: refused, because an entry is called {member.name!r:.80}")
    return "/".join(found)


def attributes_of(member: tarfile.TarInfo, archive: Path) -> Attributes:
    """Return the attributes of an entry.

    Raises:
        FormatError: A number is out of its range.
    """
    for name, most in MOST.items():
        if not 0 <= getattr(member, name) < most:
            raise FormatError(f"{archive}: {member.name!r:.80}: {name} is out of range")
    xattrs = tuple(
        (name.removeprefix(XATTR), value.encode(errors="surrogateescape"))
        for name, value in sorted(member.pax_headers.items())
        if name.startswith(XATTR)
    )
    # pax writes nanoseconds as a decimal fraction, which tarfile makes a float of.
    seconds, _, fraction = member.pax_headers.get("mtime", str(int(member.mtime))).partition(".")
    mtime_ns = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
    return Attributes(stat.S_IMODE(member.mode), (member.uid, member.gid), mtime_ns, xattrs)


def parts(content: IO[bytes], size_bytes: int) -> Iterator[bytes]:
    """Read the content of an entry.

    Raises:
        EOFError: The archive ends before it does.
    """
    left = size_bytes
    while left:
        part = content.read(min(left, PART_BYTES))
        if not part:
            raise EOFError("it ends within an entry")
        left -= len(part)
        yield part
