# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The menu of a stick with an incomplete copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bootprof.builder import grub
from bootprof.builder.media.incomplete import (
    CORE_OFFSET_BYTES,
    FAT_OFFSET_BYTES,
    SIZE_BYTES,
    make_incomplete,
)


def test_each_firmware_finds_a_program_with_the_menu(tmp_path: Path) -> None:
    image = tmp_path / "incomplete.img"
    make_incomplete(image, epoch=0)
    content = image.read_bytes()
    assert len(content) == SIZE_BYTES
    for name in grub.EFI_PROGRAMS.values():
        program = subprocess.run(
            ["mtype", "-i", f"{image}@@{FAT_OFFSET_BYTES}", f"::/EFI/BOOT/{name}"],
            capture_output=True,
            check=True,
        ).stdout
        assert b"This copy is incomplete" in program
    # The core image for a BIOS is compressed, but for its first sectors.
    first = (grub.FOLDER / grub.BIOS / "diskboot.img").read_bytes()
    assert content[CORE_OFFSET_BYTES : CORE_OFFSET_BYTES + 400] == first[:400]


def test_the_same_bytes_come_out_each_time(tmp_path: Path) -> None:
    make_incomplete(tmp_path / "one", epoch=7)
    make_incomplete(tmp_path / "two", epoch=7)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
