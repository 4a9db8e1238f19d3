# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How an EROFS is packed again with the needed files first.

Where clusters hold needed and other files alike, moving them gains nothing. mkfs.erofs packs the
tree again, with a farm, and with the options that the image was made with.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from optimizer.errors import FormatError
from optimizer.images.erofs.entries import tree_entries
from optimizer.images.erofs.farm import remove_farm
from optimizer.images.erofs.layout import ErofsLayout, read_layout
from optimizer.images.erofs.survey import options_of
from optimizer.images.reorder import Repacking, Wanted, content_bytes, needed_inodes

PROGRAM = "mkfs.erofs"
# A root tree compresses to a third; one of zeros is no root.
MOST_TIMES = 30
HINT = "install erofs-utils 1.8 or newer (Debian 13)"


def check_size(layout: ErofsLayout) -> None:
    """Check that the contents of an image are not more than any compressor makes of its size.

    Raises:
        FormatError: They would fill the disk.
    """
    total = content_bytes(layout)
    if total > MOST_TIMES * layout.size_bytes:
        raise FormatError(
            f"{layout.name}: its files have {total / 1e9:.1f} GB, more than {MOST_TIMES} times the "
            "image, which is not unpacked",
            hint="copy or build the image again",
        )


def repacking_of(layout: ErofsLayout, source: BinaryIO, wanted: Wanted) -> Repacking | None:
    """See :func:`optimizer.images.reorder.repacking`.

    Ranges of the image do not tell which files of a cluster were needed: it takes paths.
    """

    def finish(stream: BinaryIO, name: Path) -> None:
        remove_farm(read_layout(name), stream)

    if not wanted.paths:
        return None
    check_size(layout)
    needed = needed_inodes(layout, wanted).inodes
    return Repacking(
        program=PROGRAM,
        needs=("--mkfs-time", *layout.compressor.split("+")),
        hint=HINT,
        arguments=tuple(options_of(layout, source)),
        entries=lambda: tree_entries(layout, source, needed),
        finish=finish,
    )
