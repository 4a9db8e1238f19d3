# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""From block reads to files: what counts as read, and with what confidence."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.blockmap import (
    CAME_ALONG,
    DEFAULT_THRESHOLD,
    SHARED,
    FileMap,
    FoundFiles,
    find_files,
    map_files,
)
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.images.iso9660 import IsoLayout, Region
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout

MakeImage = Callable[..., Path]

BLOCK_BYTES = 131072
SMALL_FILES = 8


@pytest.fixture(scope="module")
def layout(make_image: MakeImage, tmp_path_factory: pytest.TempPathFactory) -> SquashfsLayout:
    root = tmp_path_factory.mktemp("blockmap")
    source = random.Random(5)
    for name, blocks in (("a-cold", 2), ("b-hot", 1), ("c-behind", 1), ("d-big", 6), ("e-end", 1)):
        (root / name).write_bytes(source.randbytes(blocks * BLOCK_BYTES))
    (root / "f-same").write_bytes((root / "e-end").read_bytes())
    os.link(root / "b-hot", root / "b-hot-too")
    with (root / "g-sparse").open("wb") as file:
        file.seek(3 * BLOCK_BYTES)
        file.write(source.randbytes(BLOCK_BYTES))
    for number in range(SMALL_FILES):
        (root / f"small{number}").write_bytes(source.randbytes(1500))
    (root / "empty").write_bytes(b"")
    return read_layout(make_image(root, "-b", str(BLOCK_BYTES)))


@pytest.fixture(scope="module")
def files(layout: SquashfsLayout) -> FileMap:
    return map_files([layout])


def reads_of(*places: tuple[int, int]) -> NDArray[np.void]:
    return np.array([(10 * i, *place) for i, place in enumerate(places)], READ_DTYPE)


def pieces(layout: SquashfsLayout, path: bytes) -> list[tuple[int, int]]:
    """Offset and length on the image of every piece of a file."""
    rows = layout.extents_of(path)
    return [(int(r["offset_bytes"]), int(r["length_bytes"])) for r in rows if r["length_bytes"]]


def confidence(files: FileMap, found: FoundFiles, path: bytes) -> float:
    number = [file.path for file in files.files].index(path)
    return float(found.findings["confidence"][number])


def names(files: FileMap, found: FoundFiles) -> list[bytes]:
    return [files.files[number].path for number in found.order()]


def test_every_file_with_content_is_mapped_once_whatever_its_names(files: FileMap) -> None:
    paths = [file.path for file in files.files]
    small = [b"/small%d" % number for number in range(SMALL_FILES)]
    expected = [b"/a-cold", b"/b-hot", b"/c-behind", b"/d-big", b"/e-end", b"/f-same", b"/g-sparse"]
    assert sorted(paths) == sorted(expected + small)


def test_a_file_that_was_read_whole_and_on_purpose_counts_1(
    layout: SquashfsLayout, files: FileMap
) -> None:
    found = find_files(files, reads_of(*pieces(layout, b"/b-hot")))
    assert confidence(files, found, b"/b-hot") == 1
    assert names(files, found) == [b"/b-hot"]


def test_a_block_that_was_cut_off_was_not_read(layout: SquashfsLayout, files: FileMap) -> None:
    (start, length), _ = pieces(layout, b"/a-cold")
    found = find_files(files, reads_of((start, length - 1)))
    assert confidence(files, found, b"/a-cold") == 0
    assert names(files, found) == []


def test_a_block_may_come_in_several_reads(layout: SquashfsLayout, files: FileMap) -> None:
    ((start, length),) = pieces(layout, b"/b-hot")
    middle = length // 2
    found = find_files(files, reads_of((start + middle, length - middle), (start, middle)))
    assert confidence(files, found, b"/b-hot") == 1
    assert found.touches["read"].tolist() == [0]


def test_the_neighbour_that_readahead_brought_counts_less(
    layout: SquashfsLayout, files: FileMap
) -> None:
    ((start, length),) = pieces(layout, b"/b-hot")
    ((behind, more),) = pieces(layout, b"/c-behind")
    assert start + length == behind
    found = find_files(files, reads_of((start, length + more)))
    assert confidence(files, found, b"/b-hot") == 1
    assert confidence(files, found, b"/c-behind") == CAME_ALONG
    again = find_files(files, reads_of((start, length), (behind, more)))
    assert confidence(files, again, b"/c-behind") == CAME_ALONG, "one read that was cut in two"
    jump = find_files(files, reads_of((start, length), (0, 512), (behind, more)))
    assert confidence(files, jump, b"/c-behind") == 1, "the reader went there"


def test_a_read_begins_on_the_page_before_what_it_is_for(
    layout: SquashfsLayout, files: FileMap
) -> None:
    ((start, length),) = pieces(layout, b"/e-end")
    aligned = start // 4096 * 4096
    found = find_files(files, reads_of((aligned, start - aligned + length)))
    assert confidence(files, found, b"/e-end") == pytest.approx(SHARED)


def test_a_large_file_of_which_only_the_head_was_read_ahead_is_below_the_threshold(
    layout: SquashfsLayout, files: FileMap
) -> None:
    places = pieces(layout, b"/d-big")
    ((start, length),) = pieces(layout, b"/c-behind")
    found = find_files(files, reads_of((start, length + places[0][1])))
    assert 0 < confidence(files, found, b"/d-big") == pytest.approx(CAME_ALONG / 36)
    assert confidence(files, found, b"/d-big") < DEFAULT_THRESHOLD


def test_what_is_more_than_readahead_brings_was_read_on_purpose(
    layout: SquashfsLayout, files: FileMap
) -> None:
    places = pieces(layout, b"/d-big")
    start = places[0][0] - 8192
    found = find_files(files, reads_of((start, places[-1][0] + places[-1][1] - start)))
    assert confidence(files, found, b"/d-big") == 1


def test_files_of_one_fragment_block_share_what_it_says(
    layout: SquashfsLayout, files: FileMap
) -> None:
    extents = layout.extent_map.extents
    fragment = extents[extents["kind"] == Kind.FRAGMENT][0]
    place = int(fragment["offset_bytes"]), int(fragment["length_bytes"])
    found = find_files(files, reads_of(place))
    for number in range(SMALL_FILES):
        value = confidence(files, found, b"/small%d" % number)
        assert value == pytest.approx(SHARED)


def test_small_blocks_of_one_page_share_what_it_says_unless_a_larger_one_explains_the_read(
    make_image: MakeImage, tmp_path: Path
) -> None:
    source = random.Random(6)
    for number in range(3):
        (tmp_path / f"small{number}").write_bytes(source.randbytes(600))
    (tmp_path / "zlarge").write_bytes(source.randbytes(20_000))
    image = read_layout(make_image(tmp_path, "-no-fragments"))
    mapped = map_files([image])
    only = find_files(mapped, reads_of((0, 512), (0, 2048)))
    assert confidence(mapped, only, b"/small0") == pytest.approx(SHARED)
    more = find_files(mapped, reads_of((0, 512), (0, 24_576)))
    assert confidence(mapped, more, b"/small0") == pytest.approx(CAME_ALONG * SHARED)
    assert confidence(mapped, more, b"/zlarge") == 1
    loop = find_files(mapped, reads_of((0, 2048)), exact=True)
    assert confidence(mapped, loop, b"/small0") == 1


def test_files_of_one_content_share_what_it_says(layout: SquashfsLayout, files: FileMap) -> None:
    found = find_files(files, reads_of(*pieces(layout, b"/e-end")))
    for path in (b"/e-end", b"/f-same"):
        assert confidence(files, found, path) == pytest.approx(SHARED)


def test_holes_are_not_waited_for(layout: SquashfsLayout, files: FileMap) -> None:
    found = find_files(files, reads_of(*pieces(layout, b"/g-sparse")))
    assert confidence(files, found, b"/g-sparse") == 1
    number = [file.path for file in files.files].index(b"/g-sparse")
    assert found.findings["bytes_total"][number] == BLOCK_BYTES
    assert found.touches["file_offset_bytes"].tolist() == [3 * BLOCK_BYTES]


def test_files_come_in_the_order_of_their_first_block(
    layout: SquashfsLayout, files: FileMap
) -> None:
    big = pieces(layout, b"/d-big")
    (cold, hot) = pieces(layout, b"/a-cold")[0], pieces(layout, b"/b-hot")[0]
    found = find_files(files, reads_of(big[3], hot, big[0], cold))
    assert names(files, found) == [b"/d-big", b"/b-hot", b"/a-cold"]
    assert found.touches["file_offset_bytes"].tolist() == [3 * BLOCK_BYTES, 0, 0, 0]


def test_reads_of_the_file_system_itself_are_all_on_purpose(
    layout: SquashfsLayout, files: FileMap
) -> None:
    ((start, length),) = pieces(layout, b"/b-hot")
    ((_, more),) = pieces(layout, b"/c-behind")
    found = find_files(files, reads_of((start, length + more)), exact=True)
    assert confidence(files, found, b"/c-behind") == 1


def test_a_part_of_a_file_is_enough_where_nothing_comes_along(
    layout: SquashfsLayout, files: FileMap
) -> None:
    found = find_files(files, reads_of(pieces(layout, b"/d-big")[4]), exact=True)
    assert confidence(files, found, b"/d-big") == 1
    shared = find_files(files, reads_of(*pieces(layout, b"/e-end")), exact=True)
    assert confidence(files, shared, b"/f-same") == SHARED


def test_no_reads_say_nothing(files: FileMap) -> None:
    found = find_files(files, np.zeros(0, READ_DTYPE))
    assert not found.findings["confidence"].any()
    assert not len(found.touches)


def test_tables_belong_to_no_file(layout: SquashfsLayout, files: FileMap) -> None:
    data = layout.extent_map.extents[-1]
    assert data["kind"] not in (Kind.BLOCK, Kind.FRAGMENT)
    found = find_files(files, reads_of((int(data["offset_bytes"]), int(data["length_bytes"]))))
    assert names(files, found) == []


def test_files_of_the_iso_are_put_below_the_medium() -> None:
    iso = IsoLayout(
        "x.iso",
        "Rock Ridge",
        (
            Region("file", b"/live/vmlinuz", 40960, 100_000),
            Region("file", b"/live/initrd.img", 204800, 1000),
            Region("directory", b"/live", 36864, 2048),
        ),
    )

    whole = map_files([], iso, b"/medium")
    assert [file.path for file in whole.files] == [
        b"/medium/live/vmlinuz",
        b"/medium/live/initrd.img",
    ]
    found = find_files(whole, reads_of((40960, 100_352)))
    assert found.findings["confidence"].tolist() == [1, 0]
    assert found.findings["bytes_covered"].tolist() == [100_000, 0]
    part = find_files(whole, reads_of((40960, 32768)))
    assert 0 < part.findings["confidence"][0] < DEFAULT_THRESHOLD


@settings(max_examples=200)
@given(data=st.data())
def test_covered_bytes_are_those_of_pieces_that_came_whole(
    layout: SquashfsLayout, files: FileMap, data: st.DataObject
) -> None:
    end = layout.size_bytes
    places = data.draw(
        st.lists(st.tuples(st.integers(0, end), st.integers(1, end)), max_size=6).map(
            lambda drawn: [(start, min(length, end + 4096 - start)) for start, length in drawn]
        )
    )
    found = find_files(files, reads_of(*places))
    seen = np.zeros(end + 4096, bool)
    for start, length in places:
        seen[start : start + length] = True
    findings = found.findings
    assert ((findings["confidence"] >= 0) & (findings["confidence"] <= 1)).all()
    for number, file in enumerate(files.files):
        rows = layout.extents_of(file.path)
        rows = rows[rows["length_bytes"] > 0]
        covered = sum(
            int(row["file_bytes"])
            for row in rows
            if seen[row["offset_bytes"] : row["offset_bytes"] + row["length_bytes"]].all()
        )
        assert findings["bytes_covered"][number] == covered
        assert findings["bytes_total"][number] == rows["file_bytes"].sum()
        assert (findings["confidence"][number] > 0) == (covered > 0)
    touched = found.touches["file_bytes"][np.isin(found.touches["file"], found.order())]
    assert touched.sum() == findings["bytes_covered"].sum()
