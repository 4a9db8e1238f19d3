# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Guests that attack the host that profiles them: real machines, whose first process is hostile.

Each one boots an ISO image with a kernel of Debian and an initramfs whose script speaks the agent's
protocol as no agent does. Whatever it does, nothing but the output may change on the host, and the
run has to end in bounded time and memory, with one line that says why.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.boot.guest import CONSOLE_LIMIT_BYTES
from bootprof.builder import store
from bootprof.files import file_digest
from bootprof.process import run, wait_for
from vmtest.guest import write_initramfs
from vmtest.kernels import GuestKernel, fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]
TOP = Path(__file__).parents[2]

# The name of the attack is on the kernel's command line; "file NAME" announces five bytes.
SCRIPT = r"""
exec 5<> $OUT
attack=$(sed 's/.*attack=//; s/ .*//' /proc/cmdline)
ready() { echo "ready backend=fanotify" >&5; read request <&5; }
file() { printf "file $1 5\nevil!" >&5; }
started() { printf 'file agent.log 18\nfanotify\tstarted\t\n' >&5; }
send() { echo "file $1 $(stat -c %s /log)" >&5; cat /log >&5; }
log() { printf '#bootprof-bootlog 1\n#backend: fanotify\n' > /log; }
case $attack in
honest)
    ready; started; log
    printf '5\t1\tsh\topen\t0\t0\t8:1\t7\text4\t/etc/passwd\n' >> /log
    send fanotify.events; echo end >&5 ;;
hang)
    # Until a moment that the host has chosen, every boot hangs; the next one is honest.
    until=$(sed 's/.*until=//; s/ .*//' /proc/cmdline)
    if [ $(date +%s) -lt $until ]; then
        while [ $(date +%s) -lt $until ]; do sleep 1; done
        echo "watchdog: BUG: soft lockup - CPU#1 stuck for 48s! [swapper/0:1]"
        sleep 1000
    fi
    echo "the target"; ready; started; log; send fanotify.events; echo end >&5 ;;
spin)
    # Both processors run the kernel, but for an instant between two calls.
    dd if=/dev/zero of=/dev/null bs=16M &
    dd if=/dev/zero of=/dev/null bs=16M ;;
traversal) ready; file ../../canary ;;
absolute) ready; file @CANARY@ ;;
forged_log) ready; file nbdkit.log ;;
forged_profile) ready; file profile.json ;;
other_backend) ready; file events ;;
folder) ready; file .. ;;
no_name) ready; file '' ;;
not_utf8) ready; file '\377\376' ;;
digits) ready; printf 'file agent.log ' >&5; head -c 5000 /dev/zero | tr '\0' 9 >&5; echo >&5 ;;
too_large) ready; printf 'file agent.log 999999999\n' >&5 ;;
flood) cat /dev/zero >&5 ;;
large_file) ready; printf 'file fanotify.events 268435456\n' >&5; cat /dev/zero >&5 ;;
bad_events) ready; started; file fanotify.events; echo end >&5 ;;
escapes)
    ready; printf 'fanotify\tfailed\t\033]52;c;ZXZpbA==\007[/red]\033[2J\n' > /log
    send agent.log; echo end >&5 ;;
silence) sleep 1000 ;;
console) while :; do cat /dev/zero | tr '\0' '\033' | head -c 1000000; printf '[/red]\n'; done ;;
reboot) printf '\033]0;evil\007[/red]\n'; reboot -f ;;
esac
sleep 1000
"""
# What a refused guest's run says, and with what options it is started.
PROTOCOL = "does not follow the agent's protocol"
ATTACKS = {
    "traversal": PROTOCOL,
    "absolute": PROTOCOL,
    "forged_log": "no backend in use records: nbdkit.log",
    "forged_profile": "no backend in use records: profile.json",
    "other_backend": "no backend in use records: events",
    "folder": r"no backend in use records: \.\.",
    "no_name": PROTOCOL,
    "not_utf8": PROTOCOL,
    "digits": PROTOCOL,
    "too_large": "exceed the limit of 256 MiB",
    "flood": PROTOCOL,
    "large_file": PROTOCOL,
    "bad_events": "fanotify.events",
    "escapes": "fanotify did not start: .*52;c;ZXZpbA==",
    "silence": "no profiler responds in the guest",
    "console": "no boot target within 40 s",
    "reboot": "the machine ended before the boot target",
}
# No target is reached, or nobody answers after it: the time is up before that of the other guests.
OPTIONS = {
    "console": ("--until", "console:no such line", "--timeout", "40"),
    "reboot": ("--until", "console:no such line"),
    "silence": ("--timeout", "40"),
}


@dataclass(frozen=True)
class Done:
    """How a run of bootprof ended."""

    status: int
    errors: str
    seconds: float
    memory_mib: float


@pytest.fixture(scope="module")
def kernel(output: Path) -> GuestKernel:
    cache = output / "cache"
    with store.opened(cache):
        return fetch_kernel("bookworm", cache)


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host") / "canary"


@pytest.fixture(scope="module")
def make_image(
    tmp_path_factory: pytest.TempPathFactory, kernel: GuestKernel, canary: Path
) -> Callable[..., Path]:
    """Return what makes the image of an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    boot = folder / "tree/boot"
    (boot / "grub").mkdir(parents=True)
    initramfs = write_initramfs(folder, kernel, {}, (), SCRIPT.replace("@CANARY@", str(canary)))
    initramfs.rename(boot / "initrd")
    (boot / "vmlinuz").write_bytes(kernel.image.read_bytes())

    def make(attack: str, parameters: str = "") -> Path:
        (boot / "grub/grub.cfg").write_text(
            f"linux /boot/vmlinuz console=ttyS0 panic=-1 quiet attack={attack} {parameters}\n"
            "initrd /boot/initrd\nboot\n"
        )
        image = folder / f"{attack}.iso"
        run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", image, folder / "tree"])
        return image

    return make


def command(image: Path, folder: Path, *options: str, first: str = "pass") -> list[str]:
    # The most memory of bootprof itself goes to standard output, without that of its children.
    program = (
        f"import re, sys; from bootprof.cli import main; {first}; status = main();"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]);"
        "sys.exit(status)"
    )
    return [
        *(sys.executable, "-c", program, "profile", str(image), "--output", str(folder)),
        *("--backend", "fanotify", "--until", "console:script starts", "--memory", "256"),
        *("--timeout", "120", *options),
    ]


def profile(image: Path, folder: Path, *options: str, first: str = "pass") -> Done:
    started = time.monotonic()
    words = command(image, folder, *options, first=first)
    done = subprocess.run(words, cwd=TOP, capture_output=True, text=True, check=False)
    memory = int(done.stdout.split()[-1]) / 1024
    return Done(done.returncode, done.stderr, time.monotonic() - started, memory)


def listing(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): file_digest(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_honest_guest_of_the_same_kind_is_profiled(
    make_image: Callable[..., Path], tmp_path: Path
) -> None:
    done = profile(make_image("honest"), tmp_path / "p")
    assert done.status == 0, done.errors
    assert (tmp_path / "p/bootlog.list").read_bytes() == b"/etc/passwd\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_guest_changes_nothing_but_what_is_kept_of_it_and_ends_with_one_line(
    attack: str, make_image: Callable[..., Path], tmp_path: Path, canary: Path
) -> None:
    image = make_image(attack)
    canary.write_text("alive")
    (tmp_path / "canary").write_text("alive")
    before = listing(tmp_path), listing(canary.parent), listing(image.parent)
    done = profile(image, tmp_path / "out/p", *OPTIONS.get(attack, ()))
    after = listing(tmp_path), listing(canary.parent), listing(image.parent)
    kept = {name: digest for name, digest in after[0].items() if "out/p.failed/" in name}
    assert ({n: d for n, d in after[0].items() if n not in kept}, *after[1:]) == before
    assert done.status in (1, 2)
    (error,) = (line for line in done.errors.splitlines() if line.startswith("bootprof: error:"))
    assert re.search(ATTACKS[attack], error), error
    assert "Traceback" not in done.errors
    assert all(line.isprintable() for line in done.errors.splitlines())
    # The terminal's own control characters: none that a guest could have sent.
    assert not set(done.errors) & {"\x1b", "\x07", "\x9b"}
    assert done.memory_mib < 200
    assert (tmp_path / "out/p.failed/console.log").stat().st_size <= CONSOLE_LIMIT_BYTES
    # Boot, and at most the patience with an agent; what waits for nothing is far below it.
    assert done.seconds < 240


def test_a_guest_that_hangs_is_booted_once_more_and_the_user_is_told(
    make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image("hang", f"until={int(time.time()) + 60}")
    options = ("--until", "console:the target")
    done = profile(image, tmp_path / "p", *options)
    assert done.status == 0, done.errors
    assert "the kernel reports a soft lockup of 48 s; booted once more" in done.errors
    (note,) = json.loads((tmp_path / "p/profile.json").read_text())["notes"]
    assert "booted once more" in note


@pytest.mark.parametrize("attack", ["spin", "silence"])
def test_a_silent_guest_hangs_if_no_processor_ever_leaves_the_kernel(
    attack: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    # After a shorter time than usual.
    first = "import bootprof.boot.guest as guest; guest.SILENT_SECONDS = 4; guest.BUSY_LOOKS = 12"
    seconds = {"spin": "120", "silence": "60"}[attack]
    options = ("--until", "console:no such line", "--timeout", seconds)
    done = profile(make_image(attack), tmp_path / "p", *options, first=first)
    assert done.status == 1
    if attack == "spin":
        assert "2 processors have run nothing but the kernel for 6 s" in done.errors
        assert "so did the boot before it" in done.errors
    else:
        assert "no boot target within 60 s" in done.errors


def processes_with(text: str) -> Iterator[int]:
    """Find the processes that have a text in their environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            # It has ended, or is another container's.
            continue


def test_a_killed_profile_leaves_no_process_and_the_next_one_cleans_up(
    make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image("honest")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    source = random.Random(20)
    for _ in range(int(os.environ.get("BOOTPROF_KILLS", "4"))):
        child = subprocess.Popen(
            command(image, tmp_path / "p"), cwd=TOP, env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(source.uniform(0.1, 9))
        child.send_signal(signal.SIGKILL)
        child.wait()
        # QEMU and nbdkit have the environment of bootprof.
        assert wait_for(lambda: not list(processes_with(str(scratch))), 10)
    done = subprocess.run(
        command(image, tmp_path / "p"), cwd=TOP, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "tmp"]
