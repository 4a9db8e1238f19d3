# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The kernel's trace ring as the serial port prints it, mapped to the files of an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.backends import Recording
from bootprof.backends.cmdline import FILE, parse, read
from bootprof.errors import FormatError, InputError
from optimizer.formats.events import Operation
from optimizer.images.image import open_image

EVENT = "[   35.1]  systemd-1       1..... {time}us : mm_filemap_add_to_page_cache: dev {device} "
EVENT += "ino {inode:x} pfn=0x3f2 ofs={offset} order=0\r\n"


def line(time: int, device: str, inode: int, offset: int) -> str:
    return EVENT.format(time=time, device=device, inode=inode, offset=offset)


def test_pages_become_files_by_their_inode_numbers(foreign_iso: Path, tmp_path: Path) -> None:
    layout = open_image(foreign_iso).layout()
    first, second = (
        int(layout.inodes["number"][layout.inode_of(path)])
        for path in (b"/usr/bin/first", b"/usr/bin/second")
    )
    path = tmp_path / FILE
    path.write_text(
        "[   35.0] Dumping ftrace buffer:\r\n"
        + "[   35.0] CPU:1 [LOST 12 EVENTS]\r\n"
        + line(2000, "7:0", second, 4096)
        + line(1000, "7:0", first, 0)
        + line(1500, "7:0", first, 1 << 40)
        # Another device with the number of a file by chance, and one with others only.
        + line(1600, "254:0", first, 0)
        + line(1700, "0:3", 0xFE00000, 0)
        + "[   35.2]  systemd-1  mm_filemap_add_to_page_cache: dev 7:0 [  36.0] cut\r\n"
    )
    bootlog = read(Recording(files={FILE: path}, image=foreign_iso))
    events = [bootlog.event(index) for index in range(len(bootlog.events))]
    assert [event.path for event in events] == [b"/usr/bin/first", b"/usr/bin/second"]
    assert [event.time_ns for event in events] == [1_000_000, 2_000_000]
    assert {event.operation for event in events} == {Operation.CACHE}
    assert events[1].offset_bytes == 4096
    assert (events[0].command, events[0].pid) == (b"systemd", 1)
    assert bootlog.lost == 13


def test_a_ring_of_another_image_is_refused(foreign_iso: Path, tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text(line(1, "7:0", 99999, 0))
    with pytest.raises(FormatError, match="no page of a file"):
        read(Recording(files={FILE: path}, image=foreign_iso))
    with pytest.raises(InputError, match="not recorded"):
        read(Recording(image=foreign_iso))


def test_large_folios_and_names_with_spaces() -> None:
    text = (
        b"[  1.0]  my prog 2-77   [001] d..1. 5us : mm_filemap_add_to_page_cache: dev 7:1 ino a "
        b"pfn=0x1 ofs=8192 order=2\n"
    )
    found, lost = parse(text)
    assert lost == 0
    assert found == {(7, 1): [(5000, 77, b"my prog 2", 10, 8192, 4 * 4096)]}
