"""What the compiler made of the module: no complaint, and nothing that it should not hold."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.kmod.guests import Guest

pytestmark = [pytest.mark.vm, pytest.mark.root]
SOURCES = Path(__file__).parents[2] / "kmod"
# What the kernel's build adds to every module.
OF_THE_KERNEL = {"init_module", "cleanup_module", "__this_module"}


def test_compiler_and_sparse_have_no_complaint(guest: Guest) -> None:
    log = guest.module.log_file.read_text()
    assert "warning" not in log
    if "sparse is not available" in log:
        pytest.skip("these headers lack the script that makes use of sparse")
    for source in SOURCES.glob("*.c"):
        assert re.search(rf"^ *CHECK .*{source.name}$", log, flags=re.M)


def test_every_symbol_that_is_not_static_begins_with_bootprof(guest: Guest) -> None:
    symbols = subprocess.run(
        ["nm", "--defined-only", "--extern-only", "--format=just-symbols", guest.module.module],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(symbols) > 30
    assert {name for name in symbols if not name.startswith("bootprof_")} <= OF_THE_KERNEL
