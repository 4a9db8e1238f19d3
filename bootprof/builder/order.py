# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The order of a sort file, for images of any format that can be reordered."""

from __future__ import annotations

import re
from pathlib import Path

from optimizer.formats.sortfile import paths_of_sort_file
from optimizer.images.image import open_image
from optimizer.images.reorder import Reordered, Wanted, reorder

NEGATIVE = re.compile(rb"\s-\d+\s*$")


def wanted_of(sort: Path) -> Wanted:
    """Return the order of a sort file; negative priorities place the files behind all others."""
    content = sort.read_bytes()
    lines = [line for line in content.split(b"\n") if line.strip() and line.lstrip()[:1] != b"#"]
    at_end = bool(lines and NEGATIVE.search(lines[0]))
    return Wanted(paths_of_sort_file(content), place="end" if at_end else "start")


def reorder_image(source: Path, sort: Path, target: Path) -> Reordered:
    """Write a root image with its files in the order of a sort file, without recompressing them.

    Args:
        source: The image.
        sort: Sort file.
        target: Image to write.

    Raises:
        InputError: No order of this image makes a boot faster.
    """
    layout = open_image(source, offset_bytes=0).layout()
    with source.open("rb") as stream, target.open("xb+") as written:
        return reorder(layout, stream, wanted_of(sort), written)
