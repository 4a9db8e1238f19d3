# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Logs of block reads that the guest recorded: found by their names, read by the imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.backends import Recording, load
from bootprof.errors import InputError
from optimizer.images.image import open_image

LINES = {
    "tracepoints": "  cat-42 [001] d..1. 12.345678: block_bio_queue: 8,0 R {} + {} [cat]\n",
    "block_dump": "7,1,12345678,-;cat(42): READ block {} on sda ({} sectors)\n",
}


@pytest.mark.parametrize("name", LINES)
def test_the_recorded_log_is_mapped_to_files(name: str, foreign_iso: Path, tmp_path: Path) -> None:
    rows = open_image(foreign_iso).layout().extents_of(b"/usr/bin/third")
    start, end = (
        int(rows["offset_bytes"][0]),
        int(rows["offset_bytes"][-1] + rows["length_bytes"][-1]),
    )
    first = start // 512
    log = tmp_path / "log"
    log.write_text(LINES[name].format(first, -(-end // 512) - first))
    backend = load(name)
    recording = Recording(files={backend.recorded[0]: log}, image=foreign_iso)
    bootlog = backend.read(recording)
    assert bootlog.paths == [b"/usr/bin/third"]
    assert (bootlog.header["backend"], bootlog.event(0).time_ns) == (name, 12_345_678_000)


@pytest.mark.parametrize("name", LINES)
def test_a_log_that_was_not_recorded_is_one_line_with_a_hint(name: str, foreign_iso: Path) -> None:
    with pytest.raises(InputError, match=f"{name}.log: not recorded") as raised:
        load(name).read(Recording(image=foreign_iso))
    assert raised.value.hint


@pytest.mark.parametrize("name", LINES)
def test_without_the_image_the_error_asks_for_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LINES[name].format(64, 8))
    backend = load(name)
    with pytest.raises(InputError, match="image"):
        backend.read(Recording(files={backend.recorded[0]: tmp_path / "log"}))
