# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Map of an image: of every kind of content where it lies, and how much of it the boot read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.images.extents import Role
from optimizer.images.layout import Layout
from optimizer.spans import Spans, common, make_spans, merge, spans_of

COLUMNS = 400
FILES, FRAGMENTS, TABLES, OUTSIDE = "file data", "fragments", "tables", "outside the squashfs"


@dataclass(frozen=True, eq=False)
class Lane:
    """One kind of content. Arrays have shape (:data:`COLUMNS`,): a value for each part.

    Attributes:
        title: What it is.
        held_bytes: How much of it lies there.
        read_bytes: How much of that was read by the boot, each byte once.
        needed_bytes: How much of that had to be read.
    """

    title: str
    held_bytes: NDArray[np.float64]
    read_bytes: NDArray[np.float64]
    needed_bytes: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageMap:
    """Where everything lies on an image.

    Attributes:
        image_bytes: Size of the image; each column represents an equal part of it.
        lanes: What it holds, by kind.
        knows_need: Whether it is known what the boot needed; otherwise nothing counts as needed.
    """

    image_bytes: int
    lanes: tuple[Lane, ...]
    knows_need: bool


def map_image(layout: Layout, image_bytes: int, reads: Spans, needed: Spans | None) -> ImageMap:
    """Make the map of an image.

    Args:
        layout: Its squashfs.
        image_bytes: Its size.
        reads: Reads of the boot, of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
        needed: What it needed, of the same type; None if unknown.
    """
    edges = np.linspace(0, image_bytes, COLUMNS + 1)
    was_read = merge(reads)
    hot = common(was_read, needed if needed is not None else was_read[:0])
    extents = layout.extent_map.extents
    end = layout.offset_bytes + layout.size_bytes
    parts = {
        FILES: spans_of(extents[extents["role"] == Role.DATA]),
        FRAGMENTS: spans_of(extents[extents["role"] == Role.PACKED]),
        TABLES: spans_of(extents[~layout.is_content]),
        OUTSIDE: make_spans([0, end], [layout.offset_bytes, max(image_bytes - end, 0)]),
    }
    lanes = []
    for title, held in parts.items():
        held = held[held["length_bytes"] > 0]
        if len(held):
            shares = (held, common(held, was_read), common(held, hot))
            lanes.append(Lane(title, *(in_columns(share, edges) for share in shares)))
    return ImageMap(image_bytes, tuple(lanes), needed is not None)


def in_columns(spans: Spans, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many bytes of some spans lie between each two edges."""
    ascending = merge(spans)
    if not len(ascending):
        return np.zeros(len(edges) - 1)
    starts, lengths = ascending["offset_bytes"], ascending["length_bytes"]
    places = np.stack((starts, starts + lengths), axis=1).ravel()
    before = np.stack((np.cumsum(lengths) - lengths, np.cumsum(lengths)), axis=1).ravel()
    return np.diff(np.interp(edges, places, before))
