# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Media that are booted to a probe, which prints what it finds and switches the machine off."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bootprof.boot.qemu import EMULATED_PROCESSOR, UEFI_FIRMWARE
from bootprof.process import program, run

# Many times what a boot takes: other tests may run at the same time.
BOOT_SECONDS = 300
# With a small buffer for translated code, no boot waits for it to be discarded piece by piece.
EMULATION = ("-accel", "tcg,thread=multi,tb-size=64", *EMULATED_PROCESSOR)
OVMF_IA32 = Path("/usr/share/OVMF")
FIRMWARES = ("bios", "uefi", "uefi32")

# What the roots of these tests get besides their packages: the probe, and what it asks for.
FILES = Path(__file__).with_name("files")
TOP = Path(__file__).parents[3]
OPTIONS = "boot=live console=ttyS0 init=/usr/local/sbin/probe quickusbmodules panic=5"
# The same system for every test: it is bootstrapped, finished and packed once. So it has what any
# of the features needs, and the one feature that writes into a root is on.
PACKAGES = """\
packages = [
    "cryptsetup-initramfs", "dbus", "e2fsprogs", "eject", "kmod", "linux-image-amd64", "live-boot",
    "live-tools", "login", "memtest86+", "systemd-sysv", "udev",
]"""
SETTINGS = f"""
name = "{{name}}"
[system]
{PACKAGES}
files = "files"
files_owner = "root"
[squashfs]
compressor = "lz4"
[media]
title = "{{title}}"
label = "{{label}}"
boot_options = "{OPTIONS}"
eject = true
{{further}}
"""


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts."""

    device: str
    folder: str
    type: str
    options: frozenset[str]


@dataclass(frozen=True)
class Booted:
    """What a probe printed, and the whole console."""

    facts: dict[str, str]
    mounts: dict[str, Mount]
    console: str


def settings(name: str, further: str = "") -> str:
    """Return the settings of a test.

    Args:
        name: Names the images; title and label of the media are made from it.
        further: Keys of ``[media]``, and further tables.
    """
    return SETTINGS.format(name=name, title=name.capitalize(), label=name.upper(), further=further)


def add_check(folder: Path, name: str, script: str) -> None:
    """Write a script that the probe runs into the files beside a configuration."""
    path = folder / "files/usr/local/lib/probe" / name
    path.write_text(script)
    path.chmod(0o755)


def firmware(kind: str, folder: Path) -> list[str]:
    """Return what gives a machine its firmware."""
    if kind == "bios":
        return []
    if kind == "uefi":
        return ["-bios", str(UEFI_FIRMWARE)]
    # The 32-bit build needs system management mode, and flash of its own.
    variables = folder / "variables.fd"
    shutil.copy(OVMF_IA32 / "OVMF32_VARS_4M.fd", variables)
    code = OVMF_IA32 / "OVMF32_CODE_4M.secboot.fd"
    return [
        *("-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
    ]


def attached(image: Path, how: str) -> list[str]:
    """Return what attaches a medium: as a disc, as a USB stick, or as a disk."""
    if how == "cd":
        return ["-drive", f"file={image},media=cdrom,format=raw,readonly=on"]
    drive = ["-drive", f"file={image},format=raw,if=none,id=medium,snapshot=on"]
    if how == "stick":
        return [*drive, "-device", "qemu-xhci", "-device", "usb-storage,drive=medium,bootindex=0"]
    return [*drive, "-device", "virtio-blk-pci,drive=medium,bootindex=0"]


def usb(disk: Path, name: str = "kept", *, removable: bool = True) -> list[str]:
    """Return what attaches a further USB stick, which the machine's firmware does not boot."""
    device = f"usb-storage,drive={name},removable={'on' if removable else 'off'},id={name}"
    drive = f"file={disk},format=raw,if=none,id={name}"
    return ["-drive", drive, "-device", "qemu-xhci", "-device", device]


def internal(disk: Path, *, bus: str = "virtio") -> list[str]:
    """Return what attaches a disk of the machine; one on "sata" is looked at before a stick."""
    drive = ["-drive", f"file={disk},format=raw,if=none,id=own"]
    if bus == "virtio":
        return [*drive, "-device", "virtio-blk-pci,drive=own"]
    return [*drive, "-device", "ahci,id=sata", "-device", "ide-hd,drive=own,bus=sata.0"]


def persistence_disk(folder: Path, kind: str = "ext4") -> Path:
    """Write the image of a disk without partitions, whose file system keeps /root."""
    tree = folder / "kept"
    tree.mkdir()
    (tree / "persistence.conf").write_text("/root\n")
    path = folder / "stick.img"
    run(["mke2fs", "-q", "-F", "-t", kind, "-L", "persistence", "-d", tree, path, "32M"])
    return path


def added_to_stick(partition: Path, stick: Path, size_mib: int = 1024) -> Path:
    """Write the image of a stick, and add a live system behind the partition that it has.

    Returns:
        The stick.
    """
    foreign = random.Random(9).randbytes(4 << 20)
    with stick.open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(foreign)
        stream.truncate(size_mib << 20)
    run(["sfdisk", "--quiet", stick], stdin=b"label: dos\nstart=2048, size=8192, type=7\n")
    run(["sh", partition / "add-to-stick.sh", stick])
    with stick.open("rb") as stream:
        stream.seek(1 << 20)
        assert stream.read(len(foreign)) == foreign
    return stick


def unpacked(image: Path, options: str, folder: Path) -> list[str]:
    """Return what boots the kernel of an ISO without its boot loader, with other boot options."""
    live = folder / "live"
    run(["xorriso", "-osirrox", "on", "-indev", image, "-extract", "/live", live])
    (kernel,) = live.glob("vmlinuz*")
    initrd = folder / "initrd"
    archives = [path.read_bytes() for path in sorted(live.glob("initrd*"))]
    # A boot loader fills up, since the kernel looks for the next one at a multiple of 4.
    initrd.write_bytes(b"".join(data + bytes(-len(data) % 4) for data in archives))
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", options]


@dataclass(frozen=True)
class Step:
    """Something that is done when the console shows a text.

    Attributes:
        text: Waited for behind what the step before waited for.
        act: Gets what is typed on the console, and the socket of QEMU's monitor.
    """

    text: bytes
    act: Callable[[IO[bytes], Path], None]


def typed(text: str) -> Callable[[IO[bytes], Path], None]:
    """Return a step's action: type a line."""

    def act(console: IO[bytes], _: Path) -> None:
        console.write(text.encode() + b"\n")
        console.flush()

    return act


def chosen(entry: int) -> Callable[[IO[bytes], Path], None]:
    """Return a step's action: choose an entry of GRUB's menu, counted from 0."""

    def act(console: IO[bytes], _: Path) -> None:
        # Control and n is the arrow down.
        console.write(b"\x0e" * entry + b"\r")
        console.flush()

    return act


def switched_off(_: IO[bytes], monitor: Path) -> None:
    """Act in a step: end the machine."""
    ask(monitor, {"execute": "quit"})


def commanded(*commands: Mapping[str, object]) -> Callable[[IO[bytes], Path], None]:
    """Return a step's action: give commands to QEMU's monitor."""

    def act(_: IO[bytes], path: Path) -> None:
        ask(path, *commands)

    return act


def ask(monitor: Path, *commands: Mapping[str, object]) -> list[Any]:
    """Give commands to QEMU's monitor; return what each one returned.

    Raises:
        AssertionError: QEMU refused one.
    """
    answers = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        stream = connection.makefile("rwb")
        stream.readline()
        for command in ({"execute": "qmp_capabilities"}, *commands):
            stream.write(json.dumps(command).encode() + b"\n")
            stream.flush()
            while True:
                answer = json.loads(stream.readline())
                if "event" not in answer:
                    assert "error" not in answer, answer
                    answers.append(answer["return"])
                    break
    return answers[1:]


def boot(
    *further: str,
    folder: Path,
    kind: str = "bios",
    memory_mib: int = 1024,
    steps: Sequence[Step] = (),
    inside: Sequence[str | Path] = (),
    seconds: float = BOOT_SECONDS,
) -> Booted:
    """Boot a machine to the end of its probe.

    Args:
        further: Arguments for QEMU that give it its medium.
        folder: For what the machine needs.
        kind: One of :data:`FIRMWARES`.
        memory_mib: Its memory in MiB.
        steps: What is done on the way, in its order.
        inside: Command that runs another one, which follows it: that of the machine.
        seconds: When the machine is stopped.
    """
    return read_probe(
        run_machine(
            *further,
            folder=folder,
            kind=kind,
            memory_mib=memory_mib,
            steps=steps,
            inside=inside,
            seconds=seconds,
        )
    )


def run_machine(
    *further: str,
    folder: Path,
    kind: str = "bios",
    memory_mib: int = 1024,
    steps: Sequence[Step] = (),
    inside: Sequence[str | Path] = (),
    seconds: float = BOOT_SECONDS,
) -> str:
    """Run a machine until it ends; return its console. (Arguments as for :func:`boot`.)"""
    monitor = folder / "monitor"
    command = [
        *(*inside, program("qemu-system-x86_64")),
        *(*EMULATION, "-m", str(memory_mib), "-nodefaults", "-vga", "std", "-display", "none"),
        *("-no-reboot", "-serial", "stdio", *firmware(kind, folder)),
        *("-qmp", f"unix:{monitor},server=on,wait=off", *further),
    ]
    # A session of its own: what a command around the machine has started ends with it.
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None and child.stdout is not None
    watchdog = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
    watchdog.start()
    console, seen, waiting = b"", 0, list(steps)
    try:
        while data := os.read(child.stdout.fileno(), 65536):
            console += data
            while waiting and (at := console.find(waiting[0].text, seen)) >= 0:
                step = waiting.pop(0)
                seen = at + len(step.text)
                step.act(child.stdin, monitor)
    finally:
        watchdog.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return console.decode(errors="replace")


def read_probe(console: str) -> Booted:
    """Read what a probe printed.

    Raises:
        AssertionError: It did not come to its end.
    """
    text = console.replace("\r", "")
    assert "PROBE ends" in text, text[-4000:]
    inside = text.partition("PROBE begins\n")[2].partition("PROBE ends")[0]
    facts, mounts = {}, {}
    for line in inside.splitlines():
        name, found, value = line.partition(": ")
        if name == "mount":
            device, where, type_, options = value.split(" ", 3)
            mounts[where] = Mount(device, where, type_, frozenset(options.split(",")))
        elif found:
            facts[name] = value
    return Booted(facts, mounts, text)


def configure(folder: Path, text: str) -> Path:
    """Write a configuration with the probe in its root; return its file."""
    shutil.copytree(FILES, folder / "files")
    path = folder / "live.cfg"
    shutil.copy(TOP / "config/live.cfg", path)
    (folder / "settings.cfg").write_text(text)
    return path


def build(config: Path, output: Path, *options: str) -> list[Path]:
    """Build the media of a configuration; return them."""
    words: list[str | Path] = ["--config", config, "--output", output, *options]
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", "build", *words],
        cwd=TOP,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.splitlines()]
