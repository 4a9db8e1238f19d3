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
from bootprof.boot.entries import DirectKernel
from bootprof.boot.guest import Watch
from bootprof.boot.harvest import Harvest, create_in
from bootprof.boot.medium import Medium, require_unchanged
from bootprof.boot.nbd import Emulation, Statistics, failed_reads, read_statistics, served
from bootprof.boot.qmp import KeyPress, Monitor
from bootprof.boot.screen import write_picture
from bootprof.boot.target import Target
from bootprof.errors import InputError, ToolError, UnsupportedError
from bootprof.process import program, stop

PORT_NAME = "org.bootprof.0"
CONSOLE: Final = "console"
"""QEMU's name of the character device of the serial port."""
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
# How the image is attached: the controller if the board has none, and the drive.
MEDIA: Final[Mapping[str, Sequence[str]]] = {
    "disk": ("virtio-blk-pci",),
    "cdrom": ("virtio-scsi-pci", "scsi-cd"),
    "sata": ("ich9-ahci", "ide-cd"),
    "usb": ("qemu-xhci", "usb-storage"),
    "nvme": ("nvme,serial=medium",),
}
# Besides those of the board: what a newer machine has that the default one has not.
BOARDS: Final[Mapping[str, Sequence[str]]] = {
    "pc": (),
    "q35": ("-machine", "q35", "-device", "e1000e", "-device", "ich9-intel-hda"),
}
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
        medium: How the image is attached, a key of :data:`MEDIA`.
        board: ``pc`` (i440FX), or ``q35`` with the devices of a newer machine.
    """

    arch: Literal["amd64", "i386"] = "amd64"
    memory_mib: int = 1024
    processors: int = 2
    accelerator: Literal["auto", "kvm", "tcg", "icount"] = "auto"
    firmware: Literal["bios", "uefi"] = "bios"
    medium: str = "disk"
    board: Literal["pc", "q35"] = "pc"

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
        direct: Kernel and initrd that QEMU starts; None for the firmware and the boot loader of
            the medium.
        keys: What is pressed on the keyboard.
        ring_file: Name of the file for the kernel's trace ring, which is dumped to the serial port
            at the boot target; empty for none.
        screenshot: Where the screen at the boot target is written (PNG); None for nowhere.
    """

    medium: Medium
    machine: Machine
    target: Target
    agent: str = NOTHING
    allowed: frozenset[str] = frozenset()
    timeout_seconds: float = 600.0
    emulation: Emulation | None = None
    direct: DirectKernel | None = None
    keys: tuple[KeyPress, ...] = ()
    ring_file: str = ""
    screenshot: Path | None = None


@dataclass(frozen=True)
class Descriptors:
    """File descriptors that QEMU inherits.

    Attributes:
        nbd: A connection to the server of the image.
        port: A socket that becomes the virtio-serial port.
        monitor: A socket that becomes QEMU's monitor.
        kernel: The kernel that QEMU starts; None for that of the medium.
        initrd: Its initrd.
    """

    nbd: int
    port: int
    monitor: int
    kernel: int | None = None
    initrd: int | None = None

    def all(self) -> list[int]:
        """Return all of them."""
        given = (self.nbd, self.port, self.monitor, self.kernel, self.initrd)
        return [number for number in given if number is not None]


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
    machine: Machine,
    accelerator: Sequence[str],
    descriptors: Descriptors,
    agent: str,
    options: str = "",
) -> list[str]:
    """Return QEMU's command line.

    Args:
        machine: The virtual machine.
        accelerator: Options, from :data:`ACCELERATORS` or :data:`TIMED`.
        descriptors: What it inherits.
        agent: Name of what the agent in the guest starts.
        options: Command line of the kernel, if QEMU starts one.

    Raises:
        UnsupportedError: The firmware is not installed.
    """
    command = [
        qemu_program(machine.arch),
        *accelerator,
        *SANDBOX,
        *("-m", str(machine.memory_mib), "-smp", str(machine.processors)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-vga", "std", "-nic", "none"),
        *("-chardev", f"stdio,id={CONSOLE},signal=off", "-serial", f"chardev:{CONSOLE}"),
        *("-chardev", f"socket,id=monitor,fd={descriptors.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-rng-pci"),
        *("-smbios", f"type=1,family=bootprof:{agent}"),
    ]
    if machine.firmware == "uefi":
        if not UEFI_FIRMWARE.exists():
            raise UnsupportedError(
                f"{UEFI_FIRMWARE}: UEFI firmware not found", hint="apt-get install ovmf"
            )
        command += ["-bios", str(UEFI_FIRMWARE)]
    # With a kernel of its own, QEMU gives this place to the program that starts it.
    first = ",bootindex=0"
    if descriptors.kernel is not None:
        first = ""
        # The files are opened again, which asks for no path that QEMU's user could not enter.
        command += ["-kernel", f"/dev/fd/{descriptors.kernel}", "-append", options]
        command += ["-initrd", f"/dev/fd/{descriptors.initrd}"]
    command += BOARDS[machine.board]
    *controller, drive = MEDIA[machine.medium]
    for device in (*controller, f"{drive},drive=medium{first}"):
        command += ["-device", device]
    source = f"file.driver=nbd,file.server.type=fd,file.server.str={descriptors.nbd}"
    command += ["-drive", f"{source},format=raw,if=none,id=medium,readonly=on"]
    # With every backend, so that two profiled boots find the same hardware.
    command += [
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=harvest,fd={descriptors.port}"),
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
        our_monitor, their_monitor = socket.socketpair()
        stack.callback(ours.close)
        stack.callback(our_monitor.close)
        nbd = server.connect()
        options = (ACCELERATORS if request.emulation is None else TIMED)[accelerator]
        with theirs, their_monitor, nbd, contextlib.ExitStack() as files:
            direct = request.direct
            started = [
                files.enter_context(path.open("rb")).fileno()
                for path in ((direct.kernel, direct.initrd) if direct else ())
            ]
            descriptors = Descriptors(
                nbd.fileno(), theirs.fileno(), their_monitor.fileno(), *started
            )
            command_line = direct.options if direct else ""
            power_on_epoch_ns = time.time_ns()
            guest = child.start(
                qemu_command(machine, options, descriptors, request.agent, command_line),
                groups=kvm_groups() if accelerator == "kvm" else (),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                descriptors=descriptors.all(),
            )
        stack.callback(stop, guest)
        monitor = Monitor(our_monitor)

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
            monitor=monitor,
            keys=request.keys,
            reads=log_file,
        )
        stack.callback(watch.close)
        harvest = Harvest(request.allowed, create_in(guest_folder))
        if request.agent != NOTHING:
            guest_folder.mkdir()
            watch.listen(ours, harvest)
        target_ns = watch.until_target()
        if request.screenshot is not None:
            write_picture(monitor.screen(), request.screenshot)
        dumped: tuple[str, ...] = ()
        if request.ring_file:
            guest_folder.mkdir(exist_ok=True)
            watch.dump_ring(guest_folder / request.ring_file)
            dumped = (request.ring_file,)
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
        files={name: guest_folder / name for name in (*harvest.files, *dumped)},
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
