# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The file of a readahead list: what is written is read, what is damaged is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.formats.readahead_list import (
    RANGE_DTYPE,
    SUPERBLOCK_BYTES,
    ReadaheadList,
    format_list,
    parse_list,
)

ranges_strategy = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.booleans()), max_size=30
)


@given(ranges_strategy, st.binary(min_size=SUPERBLOCK_BYTES, max_size=SUPERBLOCK_BYTES))
def test_a_list_reads_back_as_it_was_written(
    steps: list[tuple[int, int, bool]], superblock: bytes
) -> None:
    rows, end = [], 0
    for gap, length, tables in steps:
        rows.append((end + gap, length, tables))
        end += gap + length
    written = ReadaheadList(superblock, end, "cd-24x", np.array(rows, RANGE_DTYPE))
    found = parse_list(io.BytesIO(format_list(written)), "list")
    assert found.superblock == superblock
    assert (found.squashfs_bytes, found.drive) == (end, "cd-24x")
    assert found.ranges.tolist() == rows


GOOD = format_list(
    ReadaheadList(
        bytes(SUPERBLOCK_BYTES), 9000, "usb-2", np.array([(0, 10, 0), (20, 5, 1)], RANGE_DTYPE)
    )
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readahead list"),
        (b"/etc/passwd\n", "not a readahead list"),
        (GOOD[:-8], "line 7"),
        (GOOD.replace(b"20\t5\ttables\n", b""), "the header announces 2 ranges, but 1 follow"),
        (GOOD.replace(b"20\t5", b"9\t5"), "line 7: overlaps or precedes"),
        (GOOD.replace(b"20\t5", b"20\t0"), "line 7: overlaps or precedes"),
        (GOOD.replace(b"20\t5", b"20\t-5"), "line 7: not a range"),
        (GOOD.replace(b"20\t5", b"8999\t5"), "past the end"),
        (GOOD.replace(b"#drive: usb-2\n", b""), "header"),
        (GOOD.replace(b"#superblock: 00", b"#superblock: "), "superblock"),
        (GOOD.replace(b"#superblock: 00", b"#superblock: xx"), "header"),
    ],
)
def test_a_damaged_list_is_refused_with_its_place(content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as refused:
        parse_list(io.BytesIO(content), "some.list")
    assert "some.list" in refused.value.message
