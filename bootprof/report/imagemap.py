"""Map of an image: of every kind of content where it lies, and how much of it the boot read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.attribution import common
from optimizer.drives.seek import ascending_pass
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.images.squashfs.layout import Kind, Layout

COLUMNS = 400
FILES, FRAGMENTS, TABLES, OUTSIDE = "file data", "fragments", "tables", "outside of the squashfs"


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
        image_bytes: Size of the image; each column stands for an equal part of it.
        lanes: What it holds, by kind.
        knows_need: Whether it is known what the boot needed; otherwise nothing counts as needed.
    """

    image_bytes: int
    lanes: tuple[Lane, ...]
    knows_need: bool


def map_image(
    layout: Layout, image_bytes: int, reads: NDArray[np.void], needed: NDArray[np.void] | None
) -> ImageMap:
    """Make the map of an image.

    Args:
        layout: Its squashfs.
        image_bytes: Its size.
        reads: What the boot read, of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
        needed: What it had to read, likewise; None if that is not known.
    """
    edges = np.linspace(0, image_bytes, COLUMNS + 1)
    was_read = ascending_pass(reads)
    hot = common(was_read, needed if needed is not None else was_read[:0])
    extents = layout.extent_map.extents
    kinds = extents["kind"]
    end = layout.offset_bytes + layout.size_bytes
    parts = {
        FILES: spans(extents[kinds == Kind.BLOCK]),
        FRAGMENTS: spans(extents[kinds == Kind.FRAGMENT]),
        TABLES: spans(extents[(kinds != Kind.BLOCK) & (kinds != Kind.FRAGMENT)]),
        OUTSIDE: np.array(
            [(0, 0, layout.offset_bytes), (0, end, max(image_bytes - end, 0))], READ_DTYPE
        ),
    }
    lanes = []
    for title, held in parts.items():
        held = held[held["length_bytes"] > 0]
        if len(held):
            shares = (held, common(held, was_read), common(held, hot))
            lanes.append(Lane(title, *(in_columns(share, edges) for share in shares)))
    return ImageMap(image_bytes, tuple(lanes), needed is not None)


def spans(extents: NDArray[np.void]) -> NDArray[np.void]:
    """Return extents of an image as if they were reads."""
    found = np.zeros(len(extents), READ_DTYPE)
    for name in ("offset_bytes", "length_bytes"):
        found[name] = extents[name]
    return found


def in_columns(spans: NDArray[np.void], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many bytes of some spans lie between each two edges."""
    ascending = ascending_pass(spans)
    if not len(ascending):
        return np.zeros(len(edges) - 1)
    starts, lengths = ascending["offset_bytes"], ascending["length_bytes"]
    places = np.stack((starts, starts + lengths), axis=1).ravel()
    before = np.stack((np.cumsum(lengths) - lengths, np.cumsum(lengths)), axis=1).ravel()
    return np.diff(np.interp(edges, places, before))
