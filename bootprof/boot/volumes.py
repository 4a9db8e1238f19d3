# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files of an image, read without mounting it: of its ISO 9660 and of its FAT file systems.

mtools reads FAT, as it writes it for the builder: within limits of time and size, since what it
reads is foreign.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bootprof.errors import BootprofError, FormatError, InputError, ToolError
from bootprof.process import run
from optimizer.formats.text import printable

if TYPE_CHECKING:
    from optimizer.images.iso9660 import Region

MENU_LIMIT_BYTES: Final = 1 << 20
FILE_LIMIT_BYTES: Final = 2 << 30
TOOL_SECONDS: Final = 60
MOST_FILES: Final = 20_000
CHUNK_BYTES: Final = 1 << 20
# In the boot sector of FAT12 and FAT16, and of FAT32.
_FAT_MARKS = ((54, b"FAT"), (82, b"FAT32"))
_SIGNATURE = b"\x55\xaa"


@dataclass(frozen=True)
class Volume:
    """A file system of an image whose files can be read.

    Attributes:
        image: The image.
        offset_bytes: Where the file system begins.
        names: The paths of all files, by their lower case (FAT has no other, and menus for ISO
            images are written as if these had none either).
        regions: Of an ISO, where the files lie; None for FAT.
    """

    image: Path
    offset_bytes: int
    names: Mapping[str, str]
    regions: Mapping[str, tuple[Region, ...]] | None = field(default=None, repr=False)

    def find(self, path: str) -> str | None:
        """Return the path of a file as the file system has it; None if it has none."""
        return self.names.get(path.lower())

    def copy(self, path: str, target: Path) -> None:
        """Copy a file to a new file of the host.

        Args:
            path: As :meth:`find` returns it.
            target: Where to.

        Raises:
            FormatError: It cannot be read, or it is larger than :data:`FILE_LIMIT_BYTES`.
        """
        if self.regions is None:
            try:
                self._copy_of_fat(path, target, FILE_LIMIT_BYTES)
            except ToolError as error:
                raise FormatError(
                    f"{self.image}: {printable(path)} cannot be read: {error.hint}"
                ) from None
            return
        size_bytes = sum(region.length_bytes for region in self.regions[path])
        if size_bytes > FILE_LIMIT_BYTES:
            raise FormatError(f"{self.image}: {printable(path)} has {size_bytes} bytes")
        with target.open("xb") as stream:
            for data in self._pieces(self.regions[path], size_bytes):
                stream.write(data)

    def head(self, path: str, limit_bytes: int) -> bytes:
        """Return the beginning of a file; nothing if it cannot be read.

        Args:
            path: As :meth:`find` returns it.
            limit_bytes: How much of it at most; no more of it is read.
        """
        if self.regions is not None:
            return b"".join(self._pieces(self.regions[path], limit_bytes))
        with tempfile.TemporaryDirectory(prefix="bootprof-") as folder:
            target = Path(folder) / "head"
            # The kernel ends mcopy at the limit, with this much written.
            with contextlib.suppress(ToolError):
                self._copy_of_fat(path, target, limit_bytes)
            return target.read_bytes() if target.exists() else b""

    def _pieces(self, regions: Sequence[Region], limit_bytes: int) -> Iterator[bytes]:
        """Yield the content of a file of an ISO, up to a limit."""
        from optimizer.images.iso9660 import content_pieces

        with self.image.open("rb") as stream:
            yield from content_pieces(stream, regions, limit_bytes)

    def _copy_of_fat(self, path: str, target: Path, limit_bytes: int) -> None:
        source = f"{self.image.resolve()}@@{self.offset_bytes}"
        limits = (f"--fsize={limit_bytes}", f"--cpu={TOOL_SECONDS}")
        run(["prlimit", *limits, "mcopy", "-n", "-i", source, f"::{path}", target])

    def text(self, path: str) -> str | None:
        """Return the beginning of a file as text; None if there is no such file."""
        found = self.find(path)
        if found is None:
            return None
        return self.head(found, MENU_LIMIT_BYTES).decode(errors="replace")


def volumes(image: Path) -> tuple[Volume, ...]:
    """Return the file systems of an image that boot menus can be in.

    Raises:
        InputError: There is no such image.
        FormatError: It is an ISO whose directories are damaged.
    """
    from optimizer.images.iso9660 import is_iso, read_iso
    from optimizer.images.partitions import partition_offsets

    if not image.is_file():
        raise InputError(f"{image}: no such image")
    found = []
    if is_iso(image):
        files = {
            path.decode(errors="surrogateescape"): regions
            for path, regions in read_iso(image).files().items()
        }
        names = {path.lower(): path for path in files}
        found.append(Volume(image, 0, names, files))
    found += [
        Volume(image, offset_bytes, _fat_names(image, offset_bytes))
        for offset_bytes in sorted({0, *partition_offsets(image).values()})
        if begins_like_fat(image, offset_bytes)
    ]
    return tuple(found)


def begins_like_fat(image: Path, offset_bytes: int) -> bool:
    """Return whether a FAT file system seems to begin at an offset of an image."""
    with image.open("rb") as stream:
        stream.seek(offset_bytes)
        sector = stream.read(512)
    marked = any(sector[place : place + len(mark)] == mark for place, mark in _FAT_MARKS)
    return sector[510:] == _SIGNATURE and marked


def _fat_names(image: Path, offset_bytes: int) -> dict[str, str]:
    source = f"{image.resolve()}@@{offset_bytes}"
    try:
        limit = f"--cpu={TOOL_SECONDS}"
        listing = run(["prlimit", limit, "mdir", "-/", "-b", "-a", "-i", source, "::"])
    except ToolError:
        return {}
    paths = [
        line.removeprefix("::")
        for line in listing.decode(errors="replace").splitlines()[:MOST_FILES]
        if line.startswith("::") and not line.endswith("/")
    ]
    return {path.lower(): path for path in paths}


@contextlib.contextmanager
def free_folder(needed_bytes: int) -> Iterator[Path]:
    """Give a temporary folder that has room for so many bytes.

    Raises:
        BootprofError: It has none.
    """
    with tempfile.TemporaryDirectory(prefix="bootprof-") as folder:
        if shutil.disk_usage(folder).free < needed_bytes:
            raise BootprofError(
                f"{folder}: less than {needed_bytes >> 20} MiB are free",
                hint="set TMPDIR to a folder with more room",
            )
        yield Path(folder)
