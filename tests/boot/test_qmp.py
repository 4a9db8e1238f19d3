# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Keys, the screen and a serial break, with a real QEMU that has no guest."""

from __future__ import annotations

import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootprof.boot import child
from bootprof.boot.qemu import SANDBOX, qemu_program
from bootprof.boot.qmp import KeyPress, Monitor, parse_keys
from bootprof.boot.screen import read_picture, write_picture
from bootprof.boot.target import parse_target
from bootprof.errors import InputError, ToolError
from bootprof.process import stop, wait_for


@pytest.fixture(scope="module")
def monitor() -> Iterator[Monitor]:
    """The monitor of a machine that stays in its firmware."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        machine = child.start(
            [
                *(
                    qemu_program("amd64"),
                    "-accel",
                    "tcg,tb-size=64",
                    *SANDBOX,
                    "-m",
                    "64",
                    "-smp",
                    "2",
                ),
                *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"),
                *("-chardev", f"socket,id=monitor,fd={theirs.fileno()}"),
                *("-mon", "chardev=monitor,mode=control"),
            ],
            descriptors=[theirs.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Monitor(ours)
        finally:
            stop(machine)


def test_keys_and_waits_are_read() -> None:
    assert parse_keys("5,down,1.5,ctrl-alt-f2,ret") == (
        KeyPress(5.0, ("down",)),
        KeyPress(1.5, ("ctrl", "alt", "f2")),
        KeyPress(0.2, ("ret",)),
    )


@pytest.mark.parametrize("text", ["", "5", "Down!", "a,b c", "ret," * 101])
def test_what_is_no_list_of_keys_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="keys"):
        parse_keys(text)


def test_each_processor_tells_its_level_and_whether_it_waits(monitor: Monitor) -> None:
    # The firmware, which finds nothing to boot, leaves the second one waiting.
    assert wait_for(lambda: monitor.processors()[1].halted, 30)
    found = monitor.processors()
    assert len(found) == 2
    assert {processor.level for processor in found} == {0}


def test_the_machine_takes_keys_and_refuses_others(monitor: Monitor) -> None:
    monitor.press(KeyPress(0, ("down",)))
    with pytest.raises(ToolError, match="QEMU refused send-key"):
        monitor.press(KeyPress(0, ("nokey",)))


def test_the_screen_is_compared_with_a_picture(monitor: Monitor, tmp_path: Path) -> None:
    assert wait_for(lambda: len(set(monitor.screen()[20:])) > 1, 30)
    screen = monitor.screen()
    write_picture(screen, tmp_path / "screen.png")
    target = parse_target(f"screen:{tmp_path / 'screen.png'}")
    assert target.picture is not None
    assert target.picture.is_on(screen)
    size = len(screen) - 15
    other = screen[: len(screen) - size] + bytes([200]) * size
    assert not target.picture.is_on(other)
    assert not target.picture.is_on(b"P6\n1 1\n255\nabc")
    assert not target.picture.is_on(b"")


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no picture")
    with pytest.raises(InputError, match="neither PNG nor PPM"):
        read_picture(path)
    with pytest.raises(InputError, match="No such file"):
        parse_target(f"screen:{tmp_path / 'none.png'}")


def test_a_machine_that_has_ended_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ToolError, match="does not answer"):
        select.select([ours], [], [], 1)
        Monitor(ours).execute("stop")
