# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Run a shell script on a real kernel in QEMU, for tests of code that runs in a kernel.

The guest is an initramfs with a static busybox and the files of a test. Output of its script to
``$OUT`` is returned through a virtio-serial port; all other output goes to the console, which a
failing test shows.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bootprof.boot.qemu import ACCELERATORS, EMULATED_PROCESSOR
from bootprof.process import program, run, stop
from vmtest.kernels import GuestKernel

# Emulators of a guest, with the number of its processors. Two, so that what races does race, and no
# more, because guests run side by side. With icount, Linux 6.1 waits for a second one without end.
EMULATORS = {
    "tcg": (*ACCELERATORS["tcg"], "-smp", "2"),
    "single": ("-accel", "tcg,thread=single", *EMULATED_PROCESSOR, "-smp", "2"),
    "icount": (*ACCELERATORS["icount"], "-smp", "1"),
}

# Drivers of the port that results leave through.
PORT_MODULES = ("virtio_pci", "virtio_console")
START_MARK = "vmtest: script starts"
END_MARK = "vmtest: script ended with status "

# Many times what a boot takes: other tests may run at the same time.
BOOT_SECONDS = 120

# Why each line is there that does not say so itself: the port's node appears a moment after its
# driver is loaded; "sync" lets the port drain before the machine goes; -f powers off without init.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
for module in $(cat /modules/order); do insmod /modules/$module || echo "no $module"; done
while [ ! -e /dev/vport*p1 ]; do sleep 0.1; done
OUT=$(echo /dev/vport*p1)
export OUT
cd /
echo "vmtest: script starts"
sh -e /script
echo "vmtest: script ended with status $?"
sync
sleep 0.5
poweroff -f
"""


@dataclass(frozen=True)
class GuestRun:
    """What a guest did.

    Attributes:
        status: Exit status of its script, or None if it never ended.
        output: What the script wrote to ``$OUT``.
        console: All that came over the console, the kernel's messages among it.
    """

    status: int | None
    output: bytes
    console: str


def modules_in_order(kernel: GuestKernel, names: Sequence[str]) -> list[Path]:
    """Return module files with all that they depend on, in the order of loading."""
    listing = kernel.modules / "modules.dep"
    if not listing.exists():
        run(["depmod", "-b", kernel.modules.parents[2], kernel.release])
    depends = {}
    for line in listing.read_text().splitlines():
        name, _, needs = line.partition(":")
        depends[Path(name).name.split(".")[0].replace("-", "_")] = [name, *needs.split()]
    order: list[str] = []
    for name in names:
        # A kernel may have built in what is a module in another.
        for path in reversed(depends.get(name.replace("-", "_"), [])):
            if path not in order:
                order.append(path)
    return [kernel.modules / path for path in order]


def unpacked(module: Path) -> bytes:
    """Return a module's content; newer suites compress them."""
    data = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(data)
    if module.suffix == ".zst":
        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data))
    return data


def write_initramfs(
    folder: Path,
    kernel: GuestKernel,
    files: Mapping[str, Path],
    modules: Sequence[str],
    script: str,
) -> Path:
    """Write the initramfs of a guest."""
    tree = folder / "tree"
    for name in ("bin", "dev", "proc", "sys", "modules", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(kernel.busybox, tree / "bin/busybox")
    order = []
    for path in modules_in_order(kernel, [*PORT_MODULES, *modules]):
        name = path.name.split(".")[0] + ".ko"
        (tree / "modules" / name).write_bytes(unpacked(path))
        order.append(name)
    (tree / "modules/order").write_text("\n".join(order) + "\n")
    for name, source in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tree / name)
    (tree / "script").write_text(script)
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    archive = run(
        ["cpio", "--create", "--format=newc", "--quiet", "--owner=+0:+0"],
        cwd=tree,
        stdin="\n".join(names).encode(),
    )
    target = folder / "initramfs.cpio"
    target.write_bytes(archive)
    return target


def machine(
    kernel: GuestKernel,
    initramfs: Path,
    output: Path,
    console: Path,
    memory_mib: int,
    devices: Sequence[str] = (),
    accelerator: str = "tcg",
    kernel_options: str = "",
) -> list[str]:
    """Return the command that boots a kernel in a machine with a port for results.

    Args:
        kernel: The kernel.
        initramfs: Its initramfs.
        output: File that gets what the guest writes to the port.
        console: File that gets what it prints.
        memory_mib: Memory in MiB.
        devices: More options of QEMU.
        accelerator: Key of ``EMULATORS``.
        kernel_options: More options for the kernel's command line.
    """
    return [
        program("qemu-system-x86_64"),
        *EMULATORS[accelerator],
        *("-m", str(memory_mib), "-nodefaults", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{console}"),
        *("-device", "virtio-serial-pci", "-chardev", f"file,id=out,path={output}"),
        *("-device", "virtserialport,chardev=out,name=vmtest"),
        *devices,
        *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
        # panic=-1 with -no-reboot ends the machine at once when the kernel panics.
        *("-append", f"console=ttyS0 panic=-1 loglevel=7 {kernel_options}"),
    ]


def run_guest(
    kernel: GuestKernel,
    script: str,
    *,
    files: Mapping[str, Path] | None = None,
    modules: Sequence[str] = (),
    memory_mib: int = 1024,
    timeout_seconds: float = 300,
    accelerator: str = "tcg",
    kernel_options: str = "",
) -> GuestRun:
    """Boot a kernel, run a script as root, power off.

    A guest that does not reach the script is booted once more: on two emulated processors, Linux
    6.12 and 7.2 have hung or panicked while they set up their clocks, long before anything of ours
    was there (docs/kmod.md, "Loading and unloading").

    Args:
        kernel: The kernel and its modules.
        script: For busybox sh -e.
        files: Files to bring, by their path in the guest without its first slash.
        modules: Kernel modules to load before the script runs, by name.
        memory_mib: Memory in MiB.
        timeout_seconds: When to end a guest that hangs.
        accelerator: Key of ``EMULATORS``.
        kernel_options: More options for the kernel's command line.
    """
    with tempfile.TemporaryDirectory(prefix="vmtest-") as name:
        folder = Path(name)
        initramfs = write_initramfs(folder, kernel, files or {}, modules, script)
        output, console = folder / "output", folder / "console"
        command = machine(
            kernel,
            initramfs,
            output,
            console,
            memory_mib,
            accelerator=accelerator,
            kernel_options=kernel_options,
        )
        for _ in range(2):
            guest = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            try:
                if has_started(guest, console):
                    guest.wait(timeout_seconds)
                    break
            except subprocess.TimeoutExpired:
                break
            finally:
                stop(guest, 1)
        text = console.read_text(errors="replace")
        return GuestRun(exit_status(text), output.read_bytes() if output.exists() else b"", text)


def has_started(guest: subprocess.Popen[bytes], console: Path) -> bool:
    """Wait until a guest has come to its script; return whether it did, before it ended."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        ended = guest.poll() is not None
        if console.exists() and START_MARK in console.read_text(errors="replace"):
            return True
        if ended:
            return False
        time.sleep(0.1)
    return False


def exit_status(console: str) -> int | None:
    """Find the script's exit status in what the console said."""
    for line in console.splitlines():
        if END_MARK in line:
            return int(line.partition(END_MARK)[2].strip())
    return None


def complaints(console: str) -> list[str]:
    """Return the lines in which the kernel says that something is wrong with it."""
    signs = ("BUG:", "WARNING:", "Oops", "general protection", "Call Trace", "Kernel panic", "leak")
    return [line for line in console.splitlines() if any(sign in line for sign in signs)]
