# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The machine and QEMU's command line; boots are in test_hostile_vm.py and test_whole_loop.py."""

import pytest

from bootprof.boot.qemu import (
    ACCELERATORS,
    MEDIA,
    Descriptors,
    Machine,
    choose_accelerator,
    qemu_command,
)
from bootprof.errors import InputError


def test_a_machine_that_counts_instructions_has_one_processor() -> None:
    assert choose_accelerator(Machine(processors=1, accelerator="icount")) == "icount"
    with pytest.raises(InputError, match="emulates one processor, not 2"):
        Machine(processors=2, accelerator="icount")


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("arch", ["amd64", "i386"])
def test_every_machine_runs_in_the_sandbox_and_opens_nothing(medium: str, arch: str) -> None:
    machine = Machine(arch=arch, medium=medium, board="q35")  # type: ignore[arg-type]
    command = qemu_command(machine, ACCELERATORS["tcg"], Descriptors(7, 8, 9), "kmod")
    denied = command[command.index("-sandbox") + 1].split(",")
    assert denied == [
        *("on", "obsolete=deny", "elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny")
    ]
    assert "-no-user-config" in command
    assert command[command.index("-nic") + 1] == "none"
    # Image and port are connections that are open already.
    assert not [word for word in command[1:] if "path=" in word or "unix:" in word]
