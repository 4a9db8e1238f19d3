"""Boot an image in QEMU, watch it until the boot target, harvest the bootlog.

The image is served by nbdkit, whose log filter sees every read that the machine makes of its
medium: the block trace needs nothing of the guest. The bootlog leaves the guest through a
virtio-serial port: no network, no disk that would appear in the guest and be probed, no file
system to be mounted, and faster than an emulated UART by two orders of magnitude.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bootprof.boot.guest import Watch
from bootprof.boot.nbd import Emulation, Statistics, read_statistics, served
from bootprof.boot.target import Target
from bootprof.errors import BootprofError, UnsupportedError
from bootprof.files import scratch_folder
from bootprof.process import last_line, program, stop, wait_for

PORT_NAME = "org.bootprof.0"
# When a guest writes to memory that held a program before, QEMU's emulator takes back each piece of
# translated code by itself, which took half of a boot: when the initramfs is freed, and its pages
# are cleared for the root's programs. Without these two flags a kernel does not clear them byte by
# byte.
EMULATED_PROCESSOR = ("-cpu", "max,-erms,-fsrm")
ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "max"),
    "tcg": ("-accel", "tcg,thread=multi", *EMULATED_PROCESSOR),
    "icount": (
        *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"),
        *EMULATED_PROCESSOR,
    ),
}
# In a smaller buffer, which is given up as a whole when it is full, fewer pieces wait for that. For
# boots whose time matters, which are those from an emulated drive: one boot of some hundred hung.
TIMED = {**ACCELERATORS, "tcg": ("-accel", "tcg,thread=multi,tb-size=96", *EMULATED_PROCESSOR)}
UEFI_FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")


@dataclass(frozen=True)
class Machine:
    """The virtual machine.

    Attributes:
        arch: Debian architecture.
        memory_mib: Memory in MiB.
        processors: Number of virtual processors.
        accelerator: ``kvm``, ``tcg`` (emulation), or ``auto`` for KVM where it works; ``icount``
            is emulation of one processor that takes a nanosecond for each instruction by the
            guest's clock, so that the time that the guest computes does not depend on what else
            the host does.
        firmware: ``bios`` or ``uefi``.
        medium: How the image is attached: ``disk`` (virtio-blk) or ``cdrom`` (SCSI CD-ROM).
    """

    arch: Literal["amd64", "i386"] = "amd64"
    memory_mib: int = 1024
    processors: int = 2
    accelerator: Literal["auto", "kvm", "tcg", "icount"] = "auto"
    firmware: Literal["bios", "uefi"] = "bios"
    medium: Literal["disk", "cdrom"] = "disk"


@dataclass
class BootResult:
    """What a boot left behind.

    Attributes:
        power_on_epoch_ns: Time of power-on in nanoseconds since 1970, as in nbdkit's log.
        target_ns: Time from power-on to the boot target in nanoseconds.
        console: All that the guest printed.
        agent: What the agent in the guest said of itself, or an empty string.
        harvest: Harvested files by name.
        accelerator: The accelerator that was used.
        emulated: What the emulated drive did until the end of the harvest, if there was one.
    """

    power_on_epoch_ns: int
    target_ns: int
    console: bytes
    agent: str
    harvest: dict[str, bytes] = field(default_factory=dict)
    accelerator: str = ""
    emulated: Statistics | None = None


def qemu_program(arch: str) -> str:
    """Return the path of the system emulator for a Debian architecture."""
    return program("qemu-system-i386" if arch == "i386" else "qemu-system-x86_64")


def kvm_works(arch: str) -> bool:
    """Tell whether KVM runs guest code here.

    That /dev/kvm opens says little on a machine that is virtual itself, so the firmware is
    started for a moment, and has to say something on its debug port.
    """
    if not Path("/dev/kvm").exists():
        return False
    with scratch_folder() as folder:
        said = folder / "firmware.log"
        machine = subprocess.Popen(
            [
                *(qemu_program(arch), *ACCELERATORS["kvm"], "-m", "64"),
                *("-nodefaults", "-display", "none"),
                *("-chardev", f"file,id=firmware,path={said}"),
                *("-device", "isa-debugcon,iobase=0x402,chardev=firmware"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(
                lambda: machine.poll() is not None or (said.exists() and said.stat().st_size > 0), 5
            )
            return machine.poll() is None and said.exists() and said.stat().st_size > 0
        finally:
            stop(machine)


def choose_accelerator(machine: Machine) -> str:
    """Return what is taken for ``auto``, or what was asked for."""
    if machine.accelerator != "auto":
        return machine.accelerator
    return "kvm" if kvm_works(machine.arch) else "tcg"


def qemu_command(
    machine: Machine, accelerator: Sequence[str], drive: str, backend: str, harvest_socket: Path
) -> list[str]:
    """Return QEMU's command line.

    Args:
        machine: The virtual machine.
        accelerator: Options, from :data:`ACCELERATORS` or :data:`TIMED`.
        drive: Options of ``-drive`` that say where the image is.
        backend: What the agent in the guest shall start.
        harvest_socket: Unix socket that becomes the virtio-serial port.
    """
    command = [
        qemu_program(machine.arch),
        *accelerator,
        *("-m", str(machine.memory_mib), "-smp", str(machine.processors)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-vga", "std", "-nic", "none", "-serial", "stdio"),
        *("-device", "virtio-rng-pci"),
        *("-smbios", f"type=1,family=bootprof:{backend}"),
    ]
    if machine.firmware == "uefi":
        if not UEFI_FIRMWARE.exists():
            raise UnsupportedError(
                f"{UEFI_FIRMWARE}: no UEFI firmware here", hint="apt-get install ovmf"
            )
        command += ["-bios", str(UEFI_FIRMWARE)]
    if machine.medium == "cdrom":
        command += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=medium,bootindex=0"]
    else:
        command += ["-device", "virtio-blk-pci,drive=medium,bootindex=0"]
    command += ["-drive", f"{drive},format=raw,if=none,id=medium,readonly=on"]
    # There for every backend, so that two profiled boots find the same hardware.
    command += [
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=harvest,path={harvest_socket},server=on,wait=off"),
        *("-device", f"virtserialport,chardev=harvest,name={PORT_NAME}"),
    ]
    return command


def boot(
    image: Path,
    folder: Path,
    *,
    machine: Machine,
    target: Target,
    backend: str,
    timeout_seconds: float,
    progress: Callable[[str], None],
    emulation: Emulation | None = None,
) -> BootResult:
    """Boot an image until its boot target, and harvest what the backend recorded.

    Args:
        image: ISO or disk image; it is only read.
        folder: Where ``nbdkit.log`` and ``console.log`` are written.
        machine: The virtual machine.
        target: When the boot is done.
        backend: Backend for the agent in the guest, ``none`` for the block trace alone.
        timeout_seconds: When to give up.
        progress: Called with the state of the boot, about twice a second.
        emulation: The drive that the image is served like; None for one that costs no time.

    Raises:
        BootprofError: The machine ended or the time was up before the boot target, or the guest
            has no agent that answers.
    """
    accelerator = choose_accelerator(machine)
    log_file = folder / "nbdkit.log"
    log_file.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        statistics = scratch / "statistics"
        server = contextlib.ExitStack()
        stack.push(server)
        nbd = server.enter_context(served(image, log_file, emulation, statistics))
        harvest_socket = scratch / "harvest"
        options = (ACCELERATORS if emulation is None else TIMED)[accelerator]
        command = qemu_command(machine, options, f"file=nbd:unix:{nbd}", backend, harvest_socket)
        errors = stack.enter_context((scratch / "qemu.err").open("w+b"))
        power_on_epoch_ns = time.time_ns()
        guest = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        stack.callback(stop, guest)
        watch = Watch(guest, target, folder / "console.log", timeout_seconds, progress)
        stack.callback(watch.close)
        if backend != "none":
            watch.connect(harvest_socket)
        try:
            target_ns = watch.until_target()
        except BootprofError as error:
            errors.seek(0)
            said = errors.read()
            raise BootprofError(
                error.message, hint=f"QEMU said: {last_line(said)}" if said.strip() else error.hint
            ) from None
        harvest = watch.harvest() if backend != "none" else {}
        stop(guest)
        # It writes its statistics when it ends.
        server.close()
        emulated = read_statistics(statistics) if emulation is not None else None
    return BootResult(
        power_on_epoch_ns,
        target_ns,
        bytes(watch.console),
        watch.agent,
        harvest,
        accelerator,
        emulated,
    )
