# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot an image in QEMU, follow it until the boot target, harvest the bootlog.

nbdkit serves the image, and its log filter sees every read that the machine makes of its medium:
the block trace needs nothing in the guest. The bootlog leaves the guest through a virtio-serial
port: that needs no network, no disk that the guest would probe and no file system to mount, and is
faster than an emulated UART by two orders of magnitude.

QEMU runs in its own seccomp sandbox, and as an unprivileged user (:mod:`bootprof.boot.child`).
"""

from __future__ import annotations

import contextlib
import select
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from bootprof.backends import NOTHING
from bootprof.boot import child
from bootprof.boot.guest import Watch
from bootprof.boot.harvest import Harvest, create_in
from bootprof.boot.medium import Medium, require_unchanged
from bootprof.boot.nbd import Emulation, Statistics, failed_reads, read_statistics, served
from bootprof.boot.target import Target
from bootprof.errors import InputError, ToolError, UnsupportedError
from bootprof.process import program, stop

PORT_NAME = "org.bootprof.0"
# When a guest writes to memory that held a program before, QEMU's emulator discards each piece of
# translated code one by one. That took half of a boot: when the initramfs is freed, its pages are
# cleared for the root's programs. Without these two flags a kernel does not clear them bytewise.
EMULATED_PROCESSOR = ("-cpu", "max,-erms,-fsrm")
ACCELERATORS: Final[Mapping[str, Sequence[str]]] = {
    "kvm": ("-accel", "kvm", "-cpu", "max"),
    "tcg": ("-accel", "tcg,thread=multi", *EMULATED_PROCESSOR),
    "icount": (
        *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"),
        *EMULATED_PROCESSOR,
    ),
}
# A smaller buffer for translated code is discarded whole when it is full, so fewer pieces are left
# to discard one by one. Only for boots from an emulated drive, whose time matters: one boot in a
# hundred hung with it.
TIMED: Final[Mapping[str, Sequence[str]]] = {
    **ACCELERATORS,
    "tcg": ("-accel", "tcg,thread=multi,tb-size=96", *EMULATED_PROCESSOR),
}
# Denies everything that a virtual machine does not need: other programs, users, priorities.
SANDBOX = (
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
)
KVM = Path("/dev/kvm")
UEFI_FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")


@dataclass(frozen=True)
class Machine:
    """The virtual machine.

    Attributes:
        arch: Debian architecture.
        memory_mib: Memory in MiB.
        processors: Number of virtual processors.
        accelerator: ``kvm``, ``tcg`` (emulation), or ``auto`` for KVM where it works; ``icount``
            emulates one processor, each of whose instructions takes a nanosecond of the guest's
            clock, so that the computing of the guest does not depend on the load of the host.
        firmware: ``bios`` or ``uefi``.
        medium: How the image is attached: ``disk`` (virtio-blk) or ``cdrom`` (SCSI CD-ROM).
    """

    arch: Literal["amd64", "i386"] = "amd64"
    memory_mib: int = 1024
    processors: int = 2
    accelerator: Literal["auto", "kvm", "tcg", "icount"] = "auto"
    firmware: Literal["bios", "uefi"] = "bios"
    medium: Literal["disk", "cdrom"] = "disk"

    def __post_init__(self) -> None:
        """Refuse several processors that count instructions.

        Raises:
            InputError: There are several.
        """
        if self.accelerator == "icount" and self.processors > 1:
            # Seen: Linux 6.1 still waits for its second processor after two minutes.
            raise InputError(
                f"the accelerator icount emulates one processor, not {self.processors}",
                hint="give --processors 1",
            )


@dataclass(frozen=True)
class Request:
    """What to boot, and how.

    Attributes:
        medium: ISO or disk image; it is only read.
        machine: The virtual machine.
        target: When the boot is done.
        agent: Name of what the agent in the guest starts; :data:`bootprof.backends.NOTHING` for the
            block trace alone.
        allowed: Names of the files that the guest may send.
        timeout_seconds: When to give up.
        emulation: The drive that the image is served like; None to serve it as fast as possible.
    """

    medium: Medium
    machine: Machine
    target: Target
    agent: str = NOTHING
    allowed: frozenset[str] = frozenset()
    timeout_seconds: float = 600.0
    emulation: Emulation | None = None


@dataclass(frozen=True)
class BootResult:
    """Results of a boot.

    Attributes:
        power_on_epoch_ns: Time of power-on in nanoseconds since 1970, as in nbdkit's log.
        target_ns: Time from power-on to the boot target in nanoseconds.
        accelerator: The accelerator that was used.
        agent: The line by which the guest's agent reported that it is ready, or an empty string.
        files: Files from the guest, by name.
        console_bytes: How much the guest printed.
        emulated: Statistics of the emulated drive until the end of the harvest, if there was one.
    """

    power_on_epoch_ns: int
    target_ns: int
    accelerator: str
    agent: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    console_bytes: int = 0
    emulated: Statistics | None = None


def qemu_program(arch: str) -> str:
    """Return the path of the system emulator for a Debian architecture."""
    return program("qemu-system-i386" if arch == "i386" else "qemu-system-x86_64")


def kvm_groups() -> tuple[int, ...]:
    """Return the group that a QEMU that is not root needs to open /dev/kvm, if it needs one."""
    if not KVM.exists():
        return ()
    status = KVM.stat()
    open_to_all = stat.S_IROTH | stat.S_IWOTH
    return () if status.st_mode & open_to_all == open_to_all else (status.st_gid,)


def kvm_works(arch: str) -> bool:
    """Return whether KVM runs guest code here.

    That /dev/kvm opens proves little on a machine that is virtual itself, so the firmware is
    started for a moment, and has to print something on its debug port.
    """
    if not KVM.exists():
        return False
    machine = child.start(
        [
            *(qemu_program(arch), *ACCELERATORS["kvm"], *SANDBOX, "-m", "64"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-chardev", "stdio,id=firmware,signal=off"),
            *("-device", "isa-debugcon,iobase=0x402,chardev=firmware"),
        ],
        groups=kvm_groups(),
        stdout=subprocess.PIPE,
    )
    assert machine.stdout is not None
    try:
        ready, _, _ = select.select([machine.stdout], [], [], 5)
        return bool(ready) and bool(machine.stdout.read(1))
    finally:
        stop(machine)
        machine.stdout.close()


def choose_accelerator(machine: Machine) -> str:
    """Return the requested accelerator, or for ``auto`` the best one that works."""
    if machine.accelerator != "auto":
        return machine.accelerator
    return "kvm" if kvm_works(machine.arch) else "tcg"


def qemu_command(
    machine: Machine, accelerator: Sequence[str], nbd: int, agent: str, port: int
) -> list[str]:
    """Return QEMU's command line.

    Args:
        machine: The virtual machine.
        accelerator: Options, from :data:`ACCELERATORS` or :data:`TIMED`.
        nbd: File descriptor of a connection to the server of the image.
        agent: Name of what the agent in the guest starts.
        port: File descriptor of a socket that becomes the virtio-serial port.

    Raises:
        UnsupportedError: The firmware is not installed.
    """
    command = [
        qemu_program(machine.arch),
        *accelerator,
        *SANDBOX,
        *("-m", str(machine.memory_mib), "-smp", str(machine.processors)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-vga", "std", "-nic", "none", "-serial", "stdio"),
        *("-device", "virtio-rng-pci"),
        *("-smbios", f"type=1,family=bootprof:{agent}"),
    ]
    if machine.firmware == "uefi":
        if not UEFI_FIRMWARE.exists():
            raise UnsupportedError(
                f"{UEFI_FIRMWARE}: UEFI firmware not found", hint="apt-get install ovmf"
            )
        command += ["-bios", str(UEFI_FIRMWARE)]
    if machine.medium == "cdrom":
        command += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=medium,bootindex=0"]
    else:
        command += ["-device", "virtio-blk-pci,drive=medium,bootindex=0"]
    source = f"file.driver=nbd,file.server.type=fd,file.server.str={nbd}"
    command += ["-drive", f"{source},format=raw,if=none,id=medium,readonly=on"]
    # With every backend, so that two profiled boots find the same hardware.
    command += [
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=harvest,fd={port}"),
        *("-device", f"virtserialport,chardev=harvest,name={PORT_NAME}"),
    ]
    return command


def boot(request: Request, folder: Path, progress: Callable[[str], None]) -> BootResult:
    """Boot an image until its boot target, and harvest what the backends recorded.

    Args:
        request: What to boot, and how.
        folder: Where ``nbdkit.log``, ``console.log`` and, in ``guest/``, what the guest sends are
            written.
        progress: Called with the state of the boot, about four times a second.

    Raises:
        HungError: The guest's kernel hangs.
        UnsupportedError: The guest has no agent that answers.
        BootprofError: The machine ended or the time was up before the boot target; the guest sent
            what is no harvest; or the image was changed, or could not be read.
    """
    medium, machine = request.medium, request.machine
    accelerator = choose_accelerator(machine)
    guest_folder = folder / "guest"
    with contextlib.ExitStack() as stack:
        log_file, statistics = folder / "nbdkit.log", folder / "drive.statistics"
        server_stack = stack.enter_context(contextlib.ExitStack())
        server = server_stack.enter_context(
            served(medium.path, log_file, request.emulation, statistics)
        )
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        nbd = server.connect()
        options = (ACCELERATORS if request.emulation is None else TIMED)[accelerator]
        with theirs, nbd:
            power_on_epoch_ns = time.time_ns()
            guest = child.start(
                qemu_command(machine, options, nbd.fileno(), request.agent, theirs.fileno()),
                groups=kvm_groups() if accelerator == "kvm" else (),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                descriptors=[nbd.fileno(), theirs.fileno()],
            )
        stack.callback(stop, guest)

        def check() -> None:
            server.check()
            require_unchanged(medium, content=False)

        watch = Watch(
            guest,
            request.target,
            folder / "console.log",
            timeout_seconds=request.timeout_seconds,
            progress=progress,
            check=check,
        )
        stack.callback(watch.close)
        harvest = Harvest(request.allowed, create_in(guest_folder))
        if request.agent != NOTHING:
            guest_folder.mkdir()
            watch.listen(ours, harvest)
        target_ns = watch.until_target()
        if request.agent != NOTHING:
            watch.harvest()
        check()
        stop(guest)
        # It writes its statistics when it ends.
        server_stack.close()
    require_readable(medium, log_file)
    emulated = None
    if request.emulation is not None:
        emulated = read_statistics(statistics)
        statistics.unlink()
    return BootResult(
        power_on_epoch_ns=power_on_epoch_ns,
        target_ns=target_ns,
        accelerator=accelerator,
        agent=harvest.agent,
        files={name: guest_folder / name for name in harvest.files},
        console_bytes=watch.console_bytes,
        emulated=emulated,
    )


def require_readable(medium: Medium, log_file: Path) -> None:
    """Check that each read of a boot was answered, from an image that is still the same.

    Raises:
        ToolError: A read failed.
        BootprofError: The image was changed.
    """
    require_unchanged(medium, content=True)
    count, error = failed_reads(log_file)
    if count:
        raise ToolError(
            f"{medium.path}: {count} reads of the boot failed, the first one with {error}",
            hint="check the disk that the image is on",
        )
