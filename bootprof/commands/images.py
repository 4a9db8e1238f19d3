"""The options by which a command chooses a squashfs in an image, and what opens it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof import progress

if TYPE_CHECKING:
    from optimizer.images.image import Image


def parse_bytes(text: str) -> int:
    """Read a count of bytes, decimal or with 0x in front."""
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    # Beyond this no image reaches, and 64 bits would not hold offset plus length.
    if not 0 <= number < 1 << 62:
        raise argparse.ArgumentTypeError(f"{text!r} is no count of bytes (try 4096 or 0x1000)")
    return number


def add_squashfs(parser: argparse.ArgumentParser) -> None:
    """Declare ``--squashfs`` and ``--squashfs-offset``."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--squashfs",
        metavar="PATH",
        help="file of the ISO that is the squashfs to look at (default: the largest one)",
    )
    choice.add_argument(
        "--squashfs-offset",
        type=parse_bytes,
        metavar="BYTES",
        help="where the squashfs begins in IMAGE (default: find it)",
    )


def open_chosen(path: Path, options: argparse.Namespace) -> Image:
    """Open an image with the squashfs that the options choose, and print the remarks.

    Raises:
        InputError: The image has no such squashfs.
        FormatError: There is no squashfs in the image, or it is corrupt.
    """
    from optimizer.images.image import open_image

    image = open_image(path, offset_bytes=options.squashfs_offset, squashfs=options.squashfs)
    for remark in image.remarks:
        progress.note(f"bootprof: {remark}")
    return image
