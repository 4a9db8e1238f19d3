# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Following a guest: what floods, hangs or ends. The guest is any program that prints."""

import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootprof.boot.guest import CONSOLE_LIMIT_BYTES, HungError, Watch, find_hang
from bootprof.boot.harvest import Harvest, create_in
from bootprof.boot.target import parse_target
from bootprof.errors import BootprofError, UnsupportedError

Follow = Callable[..., Watch]


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    """Start a shell script as the guest, and follow it."""
    started: list[Watch] = []

    def start(script: str, target: str = "console:login:", timeout_seconds: float = 60) -> Watch:
        guest = subprocess.Popen(
            ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        watch = Watch(
            guest,
            parse_target(target),
            tmp_path / "console.log",
            timeout_seconds=timeout_seconds,
            progress=lambda text: None,
            check=lambda: None,
        )
        started.append(watch)
        return watch

    yield start
    for watch in started:
        watch.guest.kill()
        watch.guest.wait()
        watch.close()


def test_a_target_that_is_printed_in_pieces_is_found(follow: Follow, tmp_path: Path) -> None:
    watch = follow("printf log; sleep 0.6; printf 'in: '; sleep 60")
    # The program may have run for a while before it is followed.
    assert watch.until_target() > 0.3e9
    assert (tmp_path / "console.log").read_bytes() == b"login: "


def test_a_target_that_is_the_last_thing_a_guest_prints_is_found(follow: Follow) -> None:
    assert follow("printf login:").until_target() > 0


def test_a_flood_on_the_console_is_bounded_and_the_target_behind_it_found(
    follow: Follow, tmp_path: Path
) -> None:
    size = 2 * CONSOLE_LIMIT_BYTES
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = follow(f"head -c {size} /dev/zero; printf login:; sleep 60")
    watch.until_target()
    assert (tmp_path / "console.log").stat().st_size == CONSOLE_LIMIT_BYTES
    assert watch.console_bytes == size + len("login:")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 8 << 20


def test_a_guest_that_ends_is_an_error_with_what_it_printed_last(follow: Follow) -> None:
    with pytest.raises(BootprofError, match="ended before the boot target") as raised:
        follow("printf 'starting\\n\\033]0;evil\\007[/red] panic\\n'").until_target()
    assert raised.value.hint.endswith("[/red] panic")
    assert raised.value.hint.isprintable()


def test_what_the_machine_itself_complains_of_is_said(follow: Follow) -> None:
    with pytest.raises(BootprofError) as raised:
        follow("echo 'no such device' >&2; exit 1").until_target()
    assert raised.value.hint == "QEMU printed: no such device"


def test_a_guest_without_target_ends_with_its_time(follow: Follow) -> None:
    with pytest.raises(BootprofError, match="no boot target within 0 s"):
        follow("yes", timeout_seconds=0.4).until_target()


def test_a_check_that_fails_ends_the_boot(follow: Follow) -> None:
    watch = follow("yes")

    def check() -> None:
        raise BootprofError("nbdkit ended")

    watch.check = check
    with pytest.raises(BootprofError, match="nbdkit ended"):
        watch.until_target()


def listen(watch: Watch, folder: Path) -> socket.socket:
    """Give a guest a port; return its end of it."""
    ours, theirs = socket.socketpair()
    folder.mkdir()
    watch.listen(ours, Harvest(("agent.log",), create_in(folder), limit_bytes=1 << 20))
    return theirs


def test_what_the_agent_sends_is_in_the_folder_of_the_guest(follow: Follow, tmp_path: Path) -> None:
    watch = follow("sleep 60")
    port = listen(watch, tmp_path / "guest")
    port.sendall(b"ready\nfile agent.log 5\nhelloend\n")
    assert watch.harvest().files == ["agent.log"]
    assert port.recv(100) == b"harvest\n"
    assert (tmp_path / "guest/agent.log").read_bytes() == b"hello"


def test_a_flood_on_the_port_ends_the_boot_at_once(follow: Follow, tmp_path: Path) -> None:
    watch = follow("sleep 60")
    port = listen(watch, tmp_path / "guest")
    flood = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]))\ntry:\n    while True: s.sendall(b'x' * 65536)\nexcept OSError: pass"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", flood, str(port.fileno())], pass_fds=[port.fileno()]
    ) as other:
        try:
            with pytest.raises(BootprofError, match="does not follow the agent's protocol"):
                watch.until_target()
        finally:
            other.send_signal(signal.SIGKILL)


def test_a_guest_without_agent_is_an_error(follow: Follow, tmp_path: Path) -> None:
    watch = follow("exit")
    listen(watch, tmp_path / "guest")
    watch.guest.wait()
    with pytest.raises(UnsupportedError, match="no profiler responds"):
        watch.harvest()


def test_a_harvest_that_stops_in_the_middle_is_an_error(follow: Follow, tmp_path: Path) -> None:
    watch = follow("sleep 0.5")
    listen(watch, tmp_path / "guest").sendall(b"ready\nfile agent.log 5\nhel")
    with pytest.raises(BootprofError, match="stopped after 3 bytes"):
        watch.harvest()


LOCKUP = b"[ 60.1] watchdog: BUG: soft lockup - CPU#1 stuck for %ds! [swapper/0:1]\n"
PANIC = b"[ 1.1] Kernel panic - not syncing: Fatal exception in interrupt\n"
CLOCK = b"[    1.5] clocksource: Switched to clocksource tsc-early\n"


@pytest.mark.parametrize(
    ("tail", "silent_seconds", "hangs"),
    [
        # The first report may be of a busy host, and pass.
        (LOCKUP % 22, 0, False),
        (LOCKUP % 22 + LOCKUP % 48, 0, True),
        (LOCKUP % 48 + b"more\n", 10, True),
        (CLOCK, 59, False),
        (CLOCK, 61, True),
        (CLOCK.rstrip(b"\n"), 61, True),
        (CLOCK + b"[    1.6] VFS: Disk quotas dquot_6.6.0\n", 600, False),
        (b"login: ", 600, False),
        (b"", 600, False),
        (b"[ 1.0] Oops: int3: 0000 [#1]\n" + b"x" * 2000 + b"\n" + PANIC, 0, True),
        (b"[ 1.0] Oops: 0002 [#1]\n" + PANIC, 0, False),
        (b"[ 1.0] Oops: int3: 0000 [#1]\n[ 2.0] login: ", 0, False),
        (b"soft lockup - CPU#1 stuck for " + b"9" * 5000 + b"s!", 0, False),
    ],
)
def test_a_guest_hangs_if_its_kernel_says_so_or_falls_silent_with_its_clock(
    tail: bytes, silent_seconds: float, hangs: bool
) -> None:
    assert bool(find_hang(tail, silent_seconds)) == hangs


def test_a_guest_that_hangs_ends_the_boot_before_its_time(follow: Follow) -> None:
    script = f"printf '{(LOCKUP % 22 + LOCKUP % 48).decode()}'; sleep 60"
    with pytest.raises(HungError, match="soft lockup of 48 s"):
        follow(script).until_target()
