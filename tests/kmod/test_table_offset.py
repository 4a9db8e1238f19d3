# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Where sys_call_table is, out of the symbols of a kernel."""

import subprocess
from pathlib import Path

import pytest

from bootprof.errors import InputError
from vmtest.kernels import table_offset


def test_out_of_a_system_map(tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(
        "ffffffff81000000 T _stext\n"
        "ffffffff81e002e0 D sys_call_table_other\n"
        "ffffffff81c002e0 D sys_call_table\n"
    )
    assert table_offset(path) == 0xC002E0


def test_out_of_an_elf_file_with_symbols_and_not_without(tmp_path: Path) -> None:
    source, linked = tmp_path / "kernel.s", tmp_path / "vmlinux"
    source.write_text(".globl _stext, sys_call_table\n_stext: .skip 64\nsys_call_table: .quad 0\n")
    subprocess.run(["gcc", "-nostdlib", "-static", "-Wl,-e0", "-o", linked, source], check=True)
    assert table_offset(linked) == 64
    subprocess.run(["strip", linked], check=True)
    with pytest.raises(InputError, match="no symbol _stext"):
        table_offset(linked)


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF broken", b"ffffffffffffffff B The real System.map is elsewhere\n"]
)
def test_what_has_no_such_symbols_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "System.map"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"System\.map"):
        table_offset(path)
