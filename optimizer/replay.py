# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The reads that the demand of a boot would cause on an image as it lies.

Unlike :mod:`optimizer.simulate`, which places files itself, this takes an image that exists: of two
images with the same files, it shows what the order of one gains over the other. A block is read
when its first byte is needed, whole, in pages, and stays in memory. Kernel readahead, firmware,
boot loader and initrd are not modelled.
"""

from __future__ import annotations

import numpy as np

from optimizer.errors import InputError
from optimizer.formats.blocktrace import READ_DTYPE, Reads
from optimizer.formats.events import Bootlog
from optimizer.images.layout import Layout
from optimizer.kernel import PAGE_BYTES
from optimizer.simulate import needs
from optimizer.spans import Spans, spans_of


def reads_of_demand(layout: Layout, bootlog: Bootlog, ahead: Spans | None = None) -> Reads:
    """Return the reads of a boot from an image, at time 0, in the order of need.

    Args:
        layout: The image.
        bootlog: Events of the boot, as for :func:`optimizer.simulate.make_workload`.
        ahead: Spans of the image that are read ahead of everything else; None if none are.

    Raises:
        InputError: The image has none of the files.
    """
    needed: dict[int, None] = {}
    looked_up: set[int] = set()
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    for need in needs(layout, bootlog):
        for path in need.paths:
            if path not in looked_up:
                looked_up.add(path)
                needed.update(dict.fromkeys(layout.lookup_extents(path)))
        if need.inode < 0:
            continue
        if need.inode not in pieces:
            needed.update(dict.fromkeys(layout.mapping_extents(need.inode)))
            rows = layout.extents_of_inode(need.inode)
            pieces[need.inode] = rows[["file_offset_bytes", "file_bytes", "extent"]].tolist()
        needed.update(
            (extent, None)
            for start, size, extent in pieces[need.inode]
            if start < need.end and need.start < start + size
        )
    if not needed:
        raise InputError(
            f"{layout.name}: contains none of the files of the bootlog",
            hint="give a profile of this image",
        )
    extents = layout.extent_map.extents[np.array(list(needed), np.int64)]
    spans = spans_of(extents) if ahead is None else np.concatenate((ahead, spans_of(extents)))
    return _in_pages(spans["offset_bytes"].tolist(), spans["length_bytes"].tolist())


def _in_pages(offsets: list[int], lengths: list[int]) -> Reads:
    """Return reads of whole pages; what was read stays in memory."""
    known: set[int] = set()
    found: list[tuple[int, int]] = []
    for offset, length in zip(offsets, lengths, strict=True):
        for page in range(offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)):
            if page in known:
                continue
            known.add(page)
            if found and found[-1][1] == page:
                found[-1] = (found[-1][0], page + 1)
            else:
                found.append((page, page + 1))
    reads = np.zeros(len(found), READ_DTYPE)
    pages = np.array(found, np.int64).reshape(-1, 2)
    reads["offset_bytes"] = pages[:, 0] * PAGE_BYTES
    reads["length_bytes"] = (pages[:, 1] - pages[:, 0]) * PAGE_BYTES
    return reads
