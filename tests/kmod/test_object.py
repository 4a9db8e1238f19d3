# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the compiler made of the module: no complaint, and nothing that it should not hold."""

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.kmod.guests import Guest

pytestmark = [pytest.mark.vm, pytest.mark.root]
SOURCES = Path(__file__).parents[2] / "kmod"
# What the kernel's build adds to every module.
# The marks of alloc_tags come from the linker script (include/asm-generic/codetag.lds.h).
OF_THE_KERNEL = {
    *("init_module", "cleanup_module", "__this_module"),
    *("__start_alloc_tags", "__stop_alloc_tags"),
}


def test_compiler_and_sparse_have_no_complaint(guest: Guest) -> None:
    log = guest.module.log_file.read_text()
    assert "warning" not in log
    if "sparse is not available" in log:
        pytest.skip("these headers lack the script that makes use of sparse")
    for source in SOURCES.glob("*.c"):
        assert re.search(rf"^ *CHECK .*{source.name}$", log, flags=re.M)


def test_no_function_is_called_by_an_address_that_was_looked_up(guest: Guest) -> None:
    # With CONFIG_X86_KERNEL_IBT such a call faults. Three calls are indirect: those from a hook to
    # its function in this module, and that from a replaced system call to the original, which the
    # kernel itself calls through a table.
    listing = subprocess.run(
        ["objdump", "--disassemble", "--reloc", "--no-show-raw-insn", guest.module.module],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = []
    for line, relocation in pairwise([*listing.splitlines(), ""]):
        if heading := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = heading[1]
        # The kernel patches calls through pv_ops to direct ones when it loads the module.
        elif (
            re.search(r"\t(?:notrack )?(?:call|jmp)[lq]? +\*", line) and "pv_ops" not in relocation
        ) or "__x86_indirect_thunk_" in line:
            found.append(function)
    assert len(found) == 3
    assert set(found) <= {"ftrace_entry", "handle_entry", "kprobe_entry", "watch_call"}
    assert b"kallsyms_lookup" not in guest.module.module.read_bytes()


def test_every_symbol_that_is_not_static_begins_with_bootprof(guest: Guest) -> None:
    symbols = subprocess.run(
        ["nm", "--defined-only", "--extern-only", "--format=just-symbols", guest.module.module],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(symbols) > 30
    # __pfx_NAME is the padding before a function, on kernels that are built with it.
    names = {name.removeprefix("__pfx_") for name in symbols}
    assert {name for name in names if not name.startswith("bootprof_")} <= OF_THE_KERNEL
