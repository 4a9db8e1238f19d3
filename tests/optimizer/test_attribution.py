# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Every byte and every seek has one cause, and the demand is what the kernel cannot do without."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.attribution import Cause, attribute, loader_reads, needed_reads, pass_seconds
from optimizer.demand import demand_of
from optimizer.drives.models import DRIVES
from optimizer.drives.seek import bound_seconds, modelled_seconds, totals_of
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.images.image import open_image
from optimizer.images.iso9660 import read_iso
from optimizer.images.layout import Layout
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout
from optimizer.spans import common

CD = DRIVES["cd-24x"]
BLOCK = 131072


def trace(*reads: tuple[int, int]) -> NDArray[np.void]:
    rows = [(number * 1000, offset, length) for number, (offset, length) in enumerate(reads)]
    return np.array(rows, READ_DTYPE)


@pytest.fixture(scope="module")
def layout(
    tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Path]
) -> SquashfsLayout:
    """hot and cold: three blocks each, next to each other; two tails in one fragment block."""
    root = tmp_path_factory.mktemp("hot-and-cold")
    source = random.Random(4)
    (root / "cold").write_bytes(source.randbytes(3 * BLOCK))
    (root / "hot").write_bytes(source.randbytes(3 * BLOCK))
    (root / "tails").mkdir()
    (root / "tails" / "hot").write_bytes(source.randbytes(1000))
    (root / "tails" / "cold").write_bytes(source.randbytes(3000))
    (root / "link").symlink_to("tails/hot")
    (root / "to-root").symlink_to("/../tails")
    (root / "loop").symlink_to("loop")
    return read_layout(make_image(root, "-comp", "gzip"))


def place(layout: Layout, path: bytes) -> tuple[int, int]:
    """Offset and length of all blocks of a file, which lie in a row."""
    extents = layout.extents_of(path)
    return int(extents["offset_bytes"][0]), int(extents["length_bytes"].sum())


def causes(layout: SquashfsLayout, reads: NDArray[np.void], *touched: bytes) -> dict[Cause, int]:
    found = attribute(reads, layout, demand_of(layout, {path: [] for path in touched}), CD)
    assert found.bytes_read.sum() == reads["length_bytes"].sum()
    return {cause: int(found.bytes_read[cause]) for cause in Cause if found.bytes_read[cause]}


def test_a_touched_file_is_needed_data_and_one_that_nobody_touched_is_not_explained(
    layout: SquashfsLayout,
) -> None:
    hot, cold = place(layout, b"/hot"), place(layout, b"/cold")
    assert causes(layout, trace(hot), b"/hot") == {Cause.NEEDED_DATA: hot[1]}
    assert causes(layout, trace(cold), b"/hot") == {Cause.UNKNOWN_DATA: cold[1]}


def test_cold_data_in_one_run_with_needed_data_is_readahead(layout: SquashfsLayout) -> None:
    first, second = sorted([place(layout, b"/hot"), place(layout, b"/cold")])
    assert first[0] + first[1] == second[0]
    hot, cold = place(layout, b"/hot"), place(layout, b"/cold")
    expected = {Cause.NEEDED_DATA: hot[1], Cause.READAHEAD: cold[1]}
    assert causes(layout, trace(first, second), b"/hot") == expected
    assert causes(layout, trace((first[0], first[1] + second[1])), b"/hot") == expected
    apart = {Cause.NEEDED_DATA: hot[1], Cause.UNKNOWN_DATA: cold[1]}
    assert causes(layout, trace(second, first), b"/hot") == apart


def test_of_a_fragment_block_the_share_of_others_is_cold_neighbours(layout: SquashfsLayout) -> None:
    offset, length = place(layout, b"/tails/hot")
    found = causes(layout, trace((offset, length)), b"/tails/hot")
    assert found[Cause.NEEDED_DATA] == pytest.approx(length / 4, abs=1)
    assert found[Cause.COLD_NEIGHBOURS] == pytest.approx(length * 3 / 4, abs=1)
    assert causes(layout, trace((offset, length)), b"/tails/hot", b"/tails/cold") == {
        Cause.NEEDED_DATA: length
    }


def test_only_blocks_with_touched_bytes_are_needed_where_ranges_are_known(
    layout: SquashfsLayout,
) -> None:
    demand = demand_of(layout, {b"/hot": [(BLOCK + 10, 100), (BLOCK + 50, 100)]})
    needed = layout.extent_map.extents[demand.needed]
    data = needed[needed["kind"] == Kind.BLOCK]
    assert data["offset_bytes"].tolist() == [int(layout.extents_of(b"/hot")["offset_bytes"][1])]
    share = demand.hot_share[demand.needed][needed["kind"] == Kind.BLOCK]
    assert share.tolist() == [140 / BLOCK]


def test_links_are_followed_and_what_leads_nowhere_is_missing(layout: SquashfsLayout) -> None:
    for path in (b"/link", b"/to-root/hot", b"//tails/../tails/./hot"):
        way = layout.resolve(path)
        assert way is not None
        assert layout.paths[way[-1]] == b"/tails/hot"
    assert layout.resolve(b"/loop") is None
    demand = demand_of(layout, {b"/link": [], b"/gone": [], b"/loop": [], b"/tails": []})
    assert demand.files == 1
    assert demand.missing == (b"/gone", b"/loop")


def test_tables_are_needed_where_a_file_is_looked_up(layout: SquashfsLayout) -> None:
    demand = demand_of(layout, {b"/tails/hot": []})
    needed = {Kind(kind) for kind in layout.extent_map.extents["kind"][demand.needed]}
    assert {Kind.SUPERBLOCK, Kind.INODE_TABLE, Kind.DIRECTORY_TABLE, Kind.ID_TABLE} <= needed
    assert {Kind.FRAGMENT, Kind.FRAGMENT_TABLE} <= needed
    assert Kind.BLOCK not in needed
    table = layout.table(Kind.INODE_TABLE)
    assert table is not None
    found = causes(layout, trace((table.offset_bytes, table.length_bytes)), b"/tails/hot")
    assert found == {Cause.INODE_TABLE: table.length_bytes}


def test_in_a_large_tree_few_table_blocks_are_needed(
    tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    for folder in range(8):
        (tmp_path / f"folder{folder}").mkdir()
        for number in range(700):
            name = f"folder{folder}/a-name-that-takes-some-room-{number:04}"
            (tmp_path / name).write_bytes(b"%d %d" % (folder, number))
    large = read_layout(make_image(tmp_path))
    demand = demand_of(large, {b"/folder3/a-name-that-takes-some-room-0650": []})
    for kind in (Kind.INODE_TABLE, Kind.DIRECTORY_TABLE):
        is_table = large.extent_map.extents["kind"] == kind
        assert 1 <= (demand.needed & is_table).sum() <= 5 < is_table.sum()


READS = st.lists(st.tuples(st.integers(0, 900_000), st.integers(1, 300_000)), min_size=1)


@settings(max_examples=60)
@given(READS)
def test_the_parts_add_up_to_the_whole(
    layout: SquashfsLayout, pairs: list[tuple[int, int]]
) -> None:
    reads = trace(*pairs)
    demand = demand_of(layout, {b"/hot": [], b"/tails/hot": []})
    found = attribute(reads, layout, demand, CD, long_seek_bytes=50_000)
    whole = totals_of(reads)
    assert found.bytes_read.sum() == whole.bytes
    assert (found.needed_bytes <= found.bytes_read).all()
    assert found.seeks.sum() == whole.noncontiguous_reads
    assert (found.long_seeks <= found.seeks).all()
    assert found.seek_distance_bytes.sum() == whole.seek_distance_bytes == found.journeys.sum()
    seconds = found.positioning_seconds.sum() + found.transfer_seconds.sum()
    assert seconds == pytest.approx(modelled_seconds(reads, CD))


@settings(max_examples=60)
@given(READS)
def test_no_order_of_reads_beats_the_limit(
    layout: SquashfsLayout, pairs: list[tuple[int, int]]
) -> None:
    demand = demand_of(layout, {b"/hot": [], b"/tails/hot": []})
    reads = trace(*pairs)
    must = common(needed_reads(layout, demand, reads), reads)
    for drive in DRIVES.values():
        limit = pass_seconds(must, drive)
        assert limit <= bound_seconds(must, drive) + 1e-9
        assert limit <= modelled_seconds(reads, drive) + 1e-9


def test_a_trace_without_reads_has_no_causes(layout: SquashfsLayout) -> None:
    assert causes(layout, trace(), b"/hot") == {}
    must = needed_reads(layout, demand_of(layout, {b"/hot": []}), trace())
    assert len(must) > 0
    assert pass_seconds(common(must, trace()), CD) == 0


def test_outside_of_the_squashfs_the_loader_comes_first_and_then_probes(
    tmp_path: Path, layout: SquashfsLayout
) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "initrd").write_bytes(bytes(400_000))
    (tree / "kernel").write_bytes(bytes(100_000))
    shutil.copy(layout.name, tree / "root.squashfs")
    image = tmp_path / "live.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(image), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    iso = read_iso(image)
    inner = open_image(image).layout()
    files = {path: regions[0] for path, regions in iso.files().items()}
    kernel, initrd = files[b"/kernel"], files[b"/initrd"]
    root = next(region for region in iso.regions if region.kind == "directory")
    hot = place(inner, b"/hot")
    end_bytes = image.stat().st_size
    reads = trace(
        (0, 512),
        (kernel.offset_bytes, kernel.length_bytes),
        (initrd.offset_bytes, initrd.length_bytes),
        (end_bytes - 4096, 4096),
        (kernel.offset_bytes, 4096),
        (root.offset_bytes, root.length_bytes),
        hot,
    )
    assert loader_reads(inner, reads, iso) == 3
    demand = demand_of(inner, {b"/hot": []})
    found = attribute(reads, inner, demand, CD, iso)
    expected = {
        Cause.BOOT_LOADER: 512 + 500_000,
        Cause.PROBES: 4096 + 4096,
        Cause.ISO_RECORDS: root.length_bytes,
        Cause.NEEDED_DATA: hot[1],
    }
    assert {
        cause: int(n) for cause, n in zip(Cause, found.bytes_read, strict=True) if n
    } == expected
    must = needed_reads(inner, demand, reads, iso)
    probe = trace((end_bytes - 4096, 4096))
    assert not len(common(must, probe))
    assert common(must, reads)["length_bytes"].sum() == sum(expected.values()) - 8192
