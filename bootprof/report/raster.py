# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reads and seeks as pixels: 300,000 marks are too many for SVG, but not for a bitmap.

The pictures are grey, to be used as masks for a colour of the page.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from bootprof.report.plotdata import STROKE_INK, stroke_ink

WIDTH_PIXELS = 1200
HEIGHT_PIXELS = 640
# Of these many reads dots become smaller, and their ink thinner.
CROWD = 5_000
MULTITUDE = 50_000

Grey = NDArray[np.uint8]


def seek_picture(
    across: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> Grey:
    """Draw vertical strokes; overlapping strokes are more opaque.

    Args:
        across: Place of each stroke as a share of the width, from 0 to 1; shape (strokes,).
        start: Height of one end as a share of the height, 0 at the bottom; same shape.
        end: Height of the other end; same shape.

    Returns:
        Shape (:data:`HEIGHT_PIXELS`, :data:`WIDTH_PIXELS`), 255 where the ink is thickest.
    """
    columns = pixels(across, WIDTH_PIXELS)
    tops = pixels(1 - np.maximum(start, end), HEIGHT_PIXELS)
    bottoms = pixels(1 - np.minimum(start, end), HEIGHT_PIXELS)
    # Where strokes begin and end; their sum downwards is how many cross each pixel.
    edges = np.zeros((HEIGHT_PIXELS + 1, WIDTH_PIXELS + 1), np.int64)
    for shift in (0, 1):
        np.add.at(edges, (tops, columns + shift), 1)
        np.add.at(edges, (bottoms + 1, columns + shift), -1)
    strokes = np.cumsum(edges, axis=0)[:HEIGHT_PIXELS, :WIDTH_PIXELS]
    ink = stroke_ink(len(across))
    drawn: Grey = np.rint(255 * STROKE_INK * (1 - (1 - ink) ** strokes)).astype(np.uint8)
    return drawn


def dot_picture(across: NDArray[np.float64], up: NDArray[np.float64]) -> Grey:
    """Draw dots.

    Args:
        across: Place of each dot as a share of the width, from 0 to 1; shape (dots,).
        up: Its height as a share of the height, 0 at the bottom; same shape.

    Returns:
        Shape (:data:`HEIGHT_PIXELS`, :data:`WIDTH_PIXELS`), 255 where a dot is.
    """
    counts = np.zeros((HEIGHT_PIXELS, WIDTH_PIXELS), np.int64)
    np.add.at(counts, (pixels(1 - up, HEIGHT_PIXELS), pixels(across, WIDTH_PIXELS)), 1)
    crowd = len(across)
    ink = 1.0 if crowd < CROWD else 0.8 if crowd < MULTITUDE else 0.4
    radius = 3.2 if crowd < CROWD else 2.2 if crowd < MULTITUDE else 1.0
    centre = 255 * (1 - (1 - ink) ** counts) if ink < 1 else 255.0 * (counts > 0)
    reach = int(np.ceil(radius))
    padded = np.pad(centre, reach)
    drawn = np.zeros_like(centre)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            # Pixels on the edge of a dot are covered in part.
            covered = np.clip(radius + 0.5 - np.hypot(down, right), 0, 1)
            if covered:
                rows = slice(reach + down, reach + down + HEIGHT_PIXELS)
                columns = slice(reach + right, reach + right + WIDTH_PIXELS)
                np.maximum(drawn, covered * padded[rows, columns], out=drawn)
    return np.rint(drawn).astype(np.uint8)


def pixels(shares: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the pixel of each share of 1; what is outside goes to the edge."""
    return np.clip((shares * count).astype(np.int64), 0, count - 1)


def png_uri(picture: Grey) -> str:
    """Return a picture as a data URI of a PNG; the W3C recommendation describes the chunks.

    Args:
        picture: Shape (height, width).
    """
    height, width = picture.shape
    rows = np.zeros((height, width + 1), np.uint8)  # before each row its filter, 0: none
    rows[:, 1:] = picture
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(file).decode()
