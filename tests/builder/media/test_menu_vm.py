# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Each entry of the boot menu starts what it says, and the serial port shows the menu."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

import pytest

from tests.builder.media.booting import (
    Step,
    ask,
    attached,
    boot,
    build,
    chosen,
    configure,
    internal,
    run_machine,
    settings,
    switched_off,
)

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "menu",
    """
kinds = ["iso", "disk"]
timeout = 300
toram = true
memory_test = true
local_disk = true
entries = { "Safe graphics" = "nomodeset", "With a word" = 'word="two words"' }
""",
)
TITLES = ("Menu", "Menu (copy to memory)", "Safe graphics", "With a word", "Memory test",
          "Boot from the local disk")  # fmt: skip
# What the menu draws last.
SHOWN = TITLES[-1].encode()
SCREEN, SCREEN_BYTES = 0xB8000, 80 * 25 * 2
PATIENCE_SECONDS = 120
# Code for the first sector of a disk, which prints what follows on the serial port, and stops:
# cli; xor ax,ax; mov ds,ax; mov si,7c20h; mov dx,3f8h; again: lodsb; test al,al; jz stop;
# out dx,al; jmp again; stop: hlt; jmp stop
BOOT_CODE = bytes.fromhex("fa 31c0 8ed8 be207c baf803 ac 84c0 7403 ee ebf8 f4 ebfd")
GREETING = b"the disk of the machine"


@pytest.fixture(scope="module")
def images(output: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    iso, disk = build(configure(tmp_path_factory.mktemp("menu"), SETTINGS), output, "--no-sort")
    return iso, disk


def entry(title: str) -> Step:
    return Step(SHOWN, chosen(TITLES.index(title)))


def test_the_serial_port_shows_every_title(images: tuple[Path, Path], tmp_path: Path) -> None:
    steps = [Step(SHOWN, switched_off)]
    console = run_machine(*attached(images[0], "cd"), folder=tmp_path, steps=steps)
    assert all(title in console for title in TITLES)


def test_an_entry_adds_its_boot_options(images: tuple[Path, Path], tmp_path: Path) -> None:
    steps = [entry("With a word")]
    found = boot(*attached(images[0], "cd"), folder=tmp_path, kind="uefi", steps=steps)
    assert '"word=two words"' in found.facts["options"]
    assert found.mounts["/run/live/medium"].type == "iso9660"


def test_the_system_is_copied_to_memory(images: tuple[Path, Path], tmp_path: Path) -> None:
    steps = [entry("Menu (copy to memory)")]
    found = boot(*attached(images[0], "cd"), folder=tmp_path, memory_mib=1536, steps=steps)
    assert found.mounts["/run/live/medium"].type == "tmpfs"
    # The drive is free.
    assert not any(mount.device.startswith("/dev/sr") for mount in found.mounts.values())


def test_the_memory_test_starts(images: tuple[Path, Path], tmp_path: Path) -> None:
    seen = tmp_path / "screen"

    def choose(console: IO[bytes], monitor: Path) -> None:
        chosen(TITLES.index("Memory test"))(console, monitor)
        deadline = time.monotonic() + PATIENCE_SECONDS
        save = {"val": SCREEN, "size": SCREEN_BYTES, "filename": str(seen)}
        while time.monotonic() < deadline:
            ask(monitor, {"execute": "pmemsave", "arguments": save})
            # A byte for the character, and one for its colours.
            if b"Memtest86+" in seen.read_bytes()[::2]:
                break
            time.sleep(1)
        switched_off(console, monitor)

    run_machine(*attached(images[0], "cd"), folder=tmp_path, steps=[Step(SHOWN, choose)])
    assert b"Memtest86+" in seen.read_bytes()[::2]


@pytest.mark.parametrize("how", ["cd", "stick"])
def test_the_disk_of_the_machine_starts(
    how: str, images: tuple[Path, Path], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    code = BOOT_CODE.ljust(32, b"\0") + GREETING + b"\0"
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    medium = images[0] if how == "cd" else images[1]
    steps = [entry("Boot from the local disk"), Step(GREETING, switched_off)]
    # A BIOS boots the disc, or the stick, if it is told to.
    order = ("-boot", "d") if how == "cd" else ()
    console = run_machine(
        *attached(medium, how), *internal(disk), *order, folder=tmp_path, steps=steps
    )
    assert GREETING.decode() in console
