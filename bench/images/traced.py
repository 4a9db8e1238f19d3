# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A boot that strace follows from its first process on: the reference for what a backend records.

The image's own kernel and initrd are started as for ``bootprof profile``; instead of the profiler,
an archive with strace is appended. The reference is each file that a process opened or executed
with success, by the path that the kernel gives for its descriptor (``strace -y``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bootprof.boot.direct import CONSOLE_OPTIONS
from bootprof.boot.entries import choose_entry, extract
from bootprof.boot.qemu import ACCELERATORS, Machine, choose_accelerator
from bootprof.builder.initrd.archive import add, compile_static, staged

FOLDER = "bootprof-strace"
SECONDS = 850
TARGET = re.compile(rb"login:")
_OPENED = re.compile(rb"\Aopen.* = \d+<(/[^>\r\n]*)>\s*\Z")
_EXECUTED = re.compile(rb'\Aexecve(?:at)?\((?:[^"]*)"(/[^"\r\n]*)".* = 0\s*\Z')
_RESUMED = re.compile(rb"\A<\.\.\. \w+ resumed>")
# Where initrds mount the root before they switch to it.
ROOTS = (b"", b"/root", b"/sysroot")


def boot(image: Path, log: Path) -> None:
    """Boot an image until its login prompt, and write what strace printed.

    Raises:
        SystemExit: The target was not reached.
    """
    entry = choose_entry(image)
    machine = Machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive, console, part = folder / "strace.cpio", folder / "console", folder / "strace.log"
        with staged(archive, 0) as staging:
            compile_static(Path(__file__).with_name("straced.c"), folder / "straced", "amd64")
            add(folder / "straced", staging, FOLDER)
            for file in needed_files("strace"):
                inside = FOLDER if file.name == "strace" else FOLDER + str(file.parent)
                add(file, staging, inside)
        (folder / "boot").mkdir()
        options = f"{CONSOLE_OPTIONS} rdinit=/{FOLDER}/straced"
        direct = extract(entry, folder / "boot", [archive], options)
        command = [
            *("qemu-system-x86_64", *ACCELERATORS[choose_accelerator(machine)]),
            *("-m", str(machine.memory_mib), "-smp", str(machine.processors)),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "std"),
            *("-nic", "none", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-serial", f"file:{console}", "-serial", f"file:{part}"),
            *("-kernel", str(direct.kernel), "-initrd", str(direct.initrd)),
            *("-append", direct.options, "-device", "virtio-blk-pci,drive=medium"),
            *("-drive", f"file={image},format=raw,if=none,id=medium,readonly=on"),
        ]
        with subprocess.Popen(command) as guest:
            try:
                reached = _wait(guest, console)
            finally:
                guest.terminate()
        shutil.copy(console, log.with_suffix(".console"))
        if not reached:
            raise SystemExit(f"{image}: no login prompt under strace; see {log.stem}.console")
        shutil.copy(part, log)


def _wait(guest: subprocess.Popen[bytes], console: Path) -> bool:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and guest.poll() is None:
        time.sleep(1)
        if console.exists() and TARGET.search(console.read_bytes()):
            # What the recorder of a profile sees until its harvest, too.
            time.sleep(1)
            return True
    return False


def needed_files(name: str) -> list[Path]:
    """Return a program and the libraries that it needs, by the paths that the linker uses."""
    program = shutil.which(name)
    if program is None:
        raise SystemExit(f"apt-get install {name}")
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [Path(program), *(Path(path) for path in re.findall(r"(/\S+) \(0x", listed))]


def opened(log: Path) -> list[bytes]:
    """Return the paths of the files that were opened or executed, in their order."""
    found: dict[bytes, None] = {}
    pending: dict[bytes, bytes] = {}
    for line in log.read_bytes().splitlines():
        pid, _, call = line.partition(b" ")
        call = call.strip()
        if call.endswith(b"<unfinished ...>"):
            pending[pid] = call.removesuffix(b"<unfinished ...>")
            continue
        resumed = _RESUMED.match(call)
        if resumed:
            call = pending.pop(pid, b"") + call[resumed.end() :]
        match = _OPENED.match(call) or _EXECUTED.match(call)
        if match:
            found.setdefault(match[1])
    return list(found)
