# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The block trace of images that this project did not build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bootprof.backends import Recording, load
from bootprof.backends.block import locate_files
from bootprof.errors import BootprofError, FormatError, InputError
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace
from optimizer.formats.events import Operation
from optimizer.images.image import open_image
from optimizer.images.iso9660 import read_iso

SECTOR_BYTES = 2048


def recording(image: Path, *places: tuple[int, int]) -> Recording:
    """A boot that read these places of an image, one after the other, 10 ns apart."""
    reads = np.array([(10 * i, *place) for i, place in enumerate(places)], READ_DTYPE)
    trace = BlockTrace(reads, image.name, image.stat().st_size, 10**9)
    return Recording(image=image, block_trace=trace)


def place_of(image: Path, path: bytes, base: int | None = None) -> tuple[int, int]:
    """Where a file of the squashfs lies, in whole sectors."""
    layout = open_image(image, offset_bytes=base).layout()
    rows = layout.extents_of(path)
    start = int(rows["offset_bytes"][0]) // SECTOR_BYTES * SECTOR_BYTES
    end = int(rows["offset_bytes"][-1] + rows["length_bytes"][-1])
    return start, -(-(end - start) // SECTOR_BYTES) * SECTOR_BYTES


def test_files_of_a_foreign_iso_are_found_by_their_blocks(foreign_iso: Path) -> None:
    third = place_of(foreign_iso, b"/usr/bin/third")
    first = place_of(foreign_iso, b"/usr/bin/first")
    bootlog = load("block").read(recording(foreign_iso, third, first))
    assert bootlog.paths == [b"/usr/bin/third", b"/usr/bin/first"]
    events = [bootlog.event(index) for index in range(len(bootlog.events))]
    assert {event.operation for event in events} == {Operation.BLOCK}
    assert {event.file_system for event in events} == {b"squashfs"}
    assert [(event.time_ns, event.offset_bytes, event.length_bytes) for event in events] == [
        (0, 0, 65536),
        (0, 65536, 65536),
        (10, 0, 65536),
        (10, 65536, 65536),
    ]
    assert bootlog.header["backend"] == "block"


def test_a_file_of_which_readahead_brought_the_edge_is_left_out(foreign_iso: Path) -> None:
    start, length = place_of(foreign_iso, b"/usr/bin/first")
    read = recording(foreign_iso, (start, length + 40960))
    assert load("block").read(read).paths == [b"/usr/bin/first"]
    everything = locate_files(read).bootlog(0)
    assert b"/usr/bin/fourth" not in everything.paths, "a block that was cut off is no access"
    more = recording(foreign_iso, (start, length + 65536 + 8192))
    assert load("block").read(more).paths == [b"/usr/bin/first"]
    assert b"/usr/bin/fourth" in locate_files(more).bootlog(0).paths


def test_files_of_the_iso_itself_are_named_below_the_medium(foreign_iso: Path) -> None:
    (kernel,) = read_iso(foreign_iso).files()[b"/CASPER/VMLINUZ"]
    bootlog = load("block").read(recording(foreign_iso, (kernel.offset_bytes, 100_352)))
    assert bootlog.paths == [b"/run/live/medium/CASPER/VMLINUZ"]
    assert bootlog.file_systems == [b"iso9660"]


def test_the_squashfs_counts_by_its_files_not_as_a_file(foreign_iso: Path) -> None:
    bootlog = locate_files(recording(foreign_iso, (0, foreign_iso.stat().st_size))).bootlog(0)
    assert b"/run/live/medium/CASPER/ROOT.SQF" not in bootlog.paths
    assert b"/usr/bin/fourth" in bootlog.paths


def test_a_bare_squashfs_will_do(foreign_squashfs: Path) -> None:
    place = place_of(foreign_squashfs, b"/usr/bin/second")
    assert load("block").read(recording(foreign_squashfs, place)).paths == [b"/usr/bin/second"]


def test_a_squashfs_in_a_partition_is_found(foreign_squashfs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20) + foreign_squashfs.read_bytes() + bytes(8192))
    place = place_of(disk, b"/usr/bin/second", 1 << 20)
    assert load("block").read(recording(disk, place)).paths == [b"/usr/bin/second"]


def test_an_iso_with_plain_files_only_will_do(tmp_path: Path, foreign_root: Path) -> None:
    image = tmp_path / "plain.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(image), str(foreign_root)]
    subprocess.run(command, check=True, capture_output=True)
    (region,) = read_iso(image).files()[b"/usr/bin/third"]
    bootlog = load("block").read(recording(image, (region.offset_bytes, region.length_bytes)))
    assert bootlog.paths == [b"/usr/bin/third"]


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", FormatError), (bytes(1 << 20), FormatError), (b"hsqs", FormatError)],
)
def test_an_image_that_holds_no_known_file_system_is_refused(
    tmp_path: Path, content: bytes, error: type[BootprofError]
) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    with pytest.raises(error) as raised:
        load("block").read(recording(image))
    assert str(image) in raised.value.message


def test_a_trace_of_another_image_is_refused(foreign_iso: Path, foreign_squashfs: Path) -> None:
    other = Recording(
        image=foreign_squashfs, block_trace=recording(foreign_iso, (0, 512)).block_trace
    )
    with pytest.raises(InputError, match="block trace: belongs to another image"):
        load("block").read(other)


def test_what_is_not_at_hand_is_named(foreign_iso: Path) -> None:
    with pytest.raises(InputError, match="block trace"):
        load("block").read(Recording(image=foreign_iso))
    with pytest.raises(InputError, match="image"):
        load("block").read(Recording(block_trace=recording(foreign_iso, (0, 512)).block_trace))


def test_the_table_has_every_file_that_was_touched(foreign_iso: Path, tmp_path: Path) -> None:
    first = place_of(foreign_iso, b"/usr/bin/first")
    fourth = place_of(foreign_iso, b"/usr/bin/fourth")
    located = locate_files(recording(foreign_iso, first, (fourth[0], 65536 + 4096)))
    with (tmp_path / "table").open("wb") as stream:
        located.write_confidence(stream)
    lines = (tmp_path / "table").read_bytes().splitlines()
    assert lines[0] == b"#path\tconfidence\tbytes_covered\tbytes_total"
    assert b"/usr/bin/first\t1.000\t131072\t131072" in lines
    assert b"/usr/bin/fourth\t0.250\t65536\t131072" in lines
