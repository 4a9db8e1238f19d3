"""What every file system format in an image offers to the rest of bootprof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from optimizer.images.squashfs.layout import Layout


@dataclass(frozen=True)
class Format:
    """A file system format: how to recognise it in an image, and how to read its layout.

    Attributes:
        name: As the kernel names it in /proc/filesystems: ``squashfs``.
        magics: What stands at ``magic_offset_bytes``; the first one is what a scan looks for, the
            others belong to relatives that ``measure`` refuses with a reason.
        magic_offset_bytes: From the start of the file system; a multiple of 512.
        measure: Returns the size of the file system in bytes by its superblock. Its arguments are
            the image, its name for messages, the offset of the file system in the image, and the
            number of bytes that it may have (None: to the end of the image). Raises FormatError if
            the superblock makes no sense.
        read: Reads the layout of the file system at an offset of an image. Raises FormatError.
    """

    name: str
    magics: tuple[bytes, ...]
    magic_offset_bytes: int
    measure: Callable[[BinaryIO, str, int, int | None], int]
    read: Callable[[Path, int], Layout]
