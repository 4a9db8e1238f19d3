# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Each example of config/ builds as it is, and what it builds boots to what it is for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bootprof.process import program
from tests.builder.media.booting import EMULATION

pytestmark = [pytest.mark.examples, pytest.mark.vm, pytest.mark.root]
TOP = Path(__file__).parents[2]
BOOT_SECONDS = 800
# The journal on the serial console: it names each session that is opened.
JOURNAL = "console=ttyS0 systemd.journald.forward_to_console=1 systemd.journald.max_level_console=6"
SESSION = r"console:pam_unix\(lightdm-autologin:session\): session opened for user user"


def bootprof(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", *words],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def build(name: str, output: Path) -> list[Path]:
    """Build an example; return its media."""
    settings = TOP / "config/settings.cfg"
    assert not settings.exists(), f"{settings} changes what the examples build"
    config = TOP / f"config/{name}.cfg"
    said = bootprof("build", "--config", config, "--no-sort", "--output", output)
    return [Path(line) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("name", "kind", "until", "options"),
    [
        ("live", ".iso", "console:login:", ()),
        ("rescue", ".iso", "console:login:", ("--entry", "Rescue system, serial console")),
        ("rescue", ".img", "console:login:", ("--append", "console=ttyS0")),
        ("key", ".img", "console:login:", ()),
        ("desktop-persistence", ".img", SESSION, ("--append", JOURNAL)),
        ("desktops", ".iso", SESSION, ("--append", JOURNAL)),
    ],
    ids=["minimal", "rescue disc", "rescue stick", "key", "desktop with persistence", "desktops"],
)
def test_an_example_builds_as_it_is_and_boots(
    name: str, kind: str, until: str, options: tuple[str, ...], output: Path, tmp_path: Path
) -> None:
    (image,) = (path for path in build(name, output) if path.suffix == kind)
    what: list[str | Path] = ["profile", image, "--backend", "block", "--until", until, *options]
    where: list[str | Path] = ["--output", tmp_path / "profile", "--cache", output / "cache"]
    bootprof(*what, *where, "--memory", "2048", "--timeout", str(BOOT_SECONDS))
    assert (tmp_path / "profile/blocktrace.tsv").stat().st_size > 1000


# A machine whose network is that of the example's address, with the server of its root at port 80,
# in a network of their own. The system is up when its SSH server answers.
NETWORK = """
ip link set lo up
python3 -m http.server 80 --bind 127.0.0.1 --directory "$1" 2> "$2" &
shift 2
"$@" &
exec python3 -c '
import socket, time
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    try:
        with socket.create_connection(("127.0.0.1", 2222), 5) as connection:
            connection.settimeout(20)
            if answer := connection.recv(200):
                print(answer.decode())
                break
    except OSError:
        pass
    time.sleep(2)
'
"""


def test_the_network_example_boots_from_its_server_alone(output: Path, tmp_path: Path) -> None:
    (folder,) = build("netboot", output)
    network = (
        f"user,net=192.0.2.0/24,host=192.0.2.1,tftp={folder},bootfile=boot.ipxe,"
        "hostfwd=tcp:127.0.0.1:2222-:22,model=virtio-net-pci"
    )
    machine = [
        *(program("qemu-system-x86_64"), *EMULATION, "-m", "2048", "-nodefaults", "-vga", "std"),
        *("-display", "none", "-boot", "n", "-nic", network),
    ]
    script = textwrap.dedent(NETWORK).replace("SECONDS", str(BOOT_SECONDS))
    requests = tmp_path / "requests"
    child = subprocess.Popen(
        [*("unshare", "--net", "--pid", "--fork", "--kill-child"), *("sh", "-c", script, "sh"),
         folder, requests, *machine],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        answer, _ = child.communicate(timeout=BOOT_SECONDS + 60)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    said = requests.read_text() if requests.exists() else ""
    assert "GET /live/filesystem.squashfs" in said, said
    assert answer.startswith("SSH-2.0-OpenSSH"), said
