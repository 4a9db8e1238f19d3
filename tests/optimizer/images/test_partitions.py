# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Partitions of a disk image: where sfdisk put them, and nowhere where the tables are nonsense."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.images.partitions import partition_offsets

SECTOR = 512
DISK_BYTES = 64 << 20


def disk(path: Path, script: str) -> Path:
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed: apt-get install fdisk")
    with path.open("wb") as file:
        file.truncate(DISK_BYTES)
    command = ["sfdisk", "--quiet", str(path)]
    subprocess.run(command, input=script, check=True, capture_output=True, text=True)
    return path


def test_partitions_of_a_gpt(tmp_path: Path) -> None:
    made = disk(tmp_path / "disk", "label: gpt\nstart=2048, size=4096\nstart=10240, size=20480\n")
    assert partition_offsets(made) == {1: 2048 * SECTOR, 2: 10240 * SECTOR}


def test_partitions_of_an_mbr_with_logical_ones(tmp_path: Path) -> None:
    script = "label: dos\nstart=2048, size=4096, type=83\nstart=8192, size=65536, type=5\n"
    script += "start=10240, size=2048, type=83\nstart=14336, size=2048, type=83\n"
    made = disk(tmp_path / "disk", script)
    sectors = {number: offset // SECTOR for number, offset in partition_offsets(made).items()}
    assert sectors == {1: 2048, 2: 8192, 5: 10240, 6: 14336}


@pytest.mark.parametrize("entries_at", [2**63, 2**64 - 1, 2**55, 10**6])
def test_a_gpt_whose_entries_lie_behind_the_image_is_no_gpt(
    tmp_path: Path, entries_at: int
) -> None:
    made = disk(tmp_path / "disk", "label: gpt\nstart=2048, size=4096\n")
    content = bytearray(made.read_bytes())
    struct.pack_into("<Q", content, SECTOR + 72, entries_at)
    made.write_bytes(content)
    # The protective MBR is left: one partition, of the whole disk.
    assert partition_offsets(made) == {1: SECTOR}


@pytest.mark.parametrize("start", [2**63, 2**64 - 1, 2**40])
def test_a_partition_that_begins_behind_the_image_is_left_out(tmp_path: Path, start: int) -> None:
    made = disk(tmp_path / "disk", "label: gpt\nstart=2048, size=4096\nstart=10240, size=20480\n")
    content = bytearray(made.read_bytes())
    struct.pack_into("<Q", content, 2 * SECTOR + 32, start)
    made.write_bytes(content)
    assert partition_offsets(made) == {2: 10240 * SECTOR}


@given(
    sectors=st.lists(st.binary(min_size=SECTOR, max_size=SECTOR), max_size=6),
    gpt=st.booleans(),
    signature=st.booleans(),
)
def test_any_tables_give_offsets_inside_the_image(
    tmp_path_factory: pytest.TempPathFactory, sectors: list[bytes], gpt: bool, signature: bool
) -> None:
    content = bytearray(b"".join(sectors))
    if signature and len(content) >= SECTOR:
        content[510:512] = b"\x55\xaa"
    if gpt and len(content) >= 2 * SECTOR:
        content[SECTOR : SECTOR + 8] = b"EFI PART"
    image = tmp_path_factory.getbasetemp() / "partitions"
    image.write_bytes(content)
    assert all(0 <= offset < len(content) for offset in partition_offsets(image).values())
