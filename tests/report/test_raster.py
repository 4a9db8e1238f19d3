# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import base64
import io

import matplotlib.image
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bootprof.report.raster import (
    HEIGHT_PIXELS,
    WIDTH_PIXELS,
    dot_picture,
    png_uri,
    seek_picture,
)

SHARES = st.lists(st.floats(0, 1), min_size=0, max_size=20)


def array(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def test_a_stroke_reaches_from_one_end_to_the_other_and_no_further() -> None:
    picture = seek_picture(array(0.5), array(0.25), array(0.75))
    rows = np.flatnonzero(picture.any(axis=1))
    columns = np.flatnonzero(picture.any(axis=0))
    assert rows[0] == HEIGHT_PIXELS // 4
    assert rows[-1] == HEIGHT_PIXELS * 3 // 4
    assert len(rows) == rows[-1] - rows[0] + 1
    assert columns.tolist() == [WIDTH_PIXELS // 2, WIDTH_PIXELS // 2 + 1]


def test_many_strokes_are_darker_than_one() -> None:
    one = seek_picture(array(0.5), array(0), array(1)).max()
    assert seek_picture(array(*[0.5] * 9), array(*[0] * 9), array(*[1] * 9)).max() > one


def test_a_dot_stands_where_its_read_is_with_the_lowest_offset_at_the_bottom() -> None:
    picture = dot_picture(array(0.25), array(0.1))
    row, column = (int(axis.mean()) for axis in np.nonzero(picture == 255))
    assert abs(row - 0.9 * HEIGHT_PIXELS) <= 2
    assert abs(column - 0.25 * WIDTH_PIXELS) <= 2


def test_one_read_among_300_000_can_be_seen() -> None:
    across, up = np.full(300_001, 0.1), np.full(300_001, 0.1)
    across[-1], up[-1] = 0.9, 0.9
    assert dot_picture(across, up)[: HEIGHT_PIXELS // 2, WIDTH_PIXELS // 2 :].max() >= 90


@settings(max_examples=20)
@given(SHARES)
def test_reads_at_the_edges_are_drawn_inside(shares: list[float]) -> None:
    places = array(*shares)
    for picture in (dot_picture(places, places), seek_picture(places, places, 1 - places)):
        assert picture.shape == (HEIGHT_PIXELS, WIDTH_PIXELS)
        assert picture.any() == bool(shares)


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_png_holds_the_picture(height: int, width: int) -> None:
    rng = np.random.default_rng(height * 100 + width)
    picture = rng.integers(0, 256, (height, width), np.uint8)
    kind, data = png_uri(picture).split(",")
    assert kind == "data:image/png;base64"
    read = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)))
    assert np.array_equal(np.rint(read * 255).astype(np.uint8), picture)
