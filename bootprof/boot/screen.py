# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A picture that the screen of a guest is compared with."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bootprof.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A clock, a cursor and the pointer differ from boot to boot.
MOST_DIFFERENT: Final = 0.02
"""Share of the pixels that may differ."""
NOTICEABLE: Final = 24
"""Of 255: by how much a colour has to differ."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What the screen shall show.

    Attributes:
        path: Where it is from.
        pixels: Shape (height, width, 3), red, green and blue from 0 to 255.
    """

    path: Path
    pixels: NDArray[np.uint8]

    def is_on(self, screen: bytes) -> bool:
        """Return whether a screen (in PPM format) shows the picture."""
        import numpy as np

        try:
            seen = _pixels(screen)
        except (OSError, ValueError, SyntaxError):
            return False
        if seen.shape != self.pixels.shape:
            return False
        differs = np.abs(seen.astype(np.int16) - self.pixels).max(axis=2) > NOTICEABLE
        return float(differs.mean()) <= MOST_DIFFERENT


def read_picture(path: Path) -> Picture:
    """Read a picture in PNG or PPM format.

    Raises:
        InputError: There is none.
    """
    try:
        return Picture(path, _pixels(path.read_bytes()))
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or "neither PNG nor PPM"
        raise InputError(
            f"{path}: no picture to wait for: {reason}",
            hint="profile once with --until seconds:N --screenshot FILE.png, then give that file",
        ) from None


def write_picture(screen: bytes, path: Path) -> None:
    """Write a screen in PNG format."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, _pixels(screen), format="png")
    path.write_bytes(stream.getvalue())


def _pixels(content: bytes) -> NDArray[np.uint8]:
    import numpy as np
    from matplotlib.image import imread

    form = "png" if content.startswith(b"\x89PNG") else "ppm"
    read = np.asarray(imread(io.BytesIO(content), format=form))
    if read.ndim == 2:
        read = np.stack([read] * 3, axis=2)
    if read.dtype != np.uint8:
        read = (read * 255).round().astype(np.uint8)
    return read[:, :, :3]
