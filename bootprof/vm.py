"""Boot an image in QEMU, watch it until the boot target, harvest the bootlog.

The image is served by nbdkit, whose log filter sees every read that the machine makes of its
medium: the block trace needs nothing of the guest. The bootlog leaves the guest through a
virtio-serial port: no network, no disk that would appear in the guest and be probed, no file
system to be mounted, and faster than an emulated UART by two orders of magnitude.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bootprof.emulator import Emulation, Statistics, plugin_arguments, read_statistics
from bootprof.errors import BootprofError, InputError, ToolError, UnsupportedError
from bootprof.process import last_line, program, stop

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
# Long enough for the reply to a harvest of tens of megabytes under emulation.
HARVEST_PATIENCE_SECONDS = 120.0
# The agent answers once the driver of its port is loaded, which udev does early in the boot.
AGENT_PATIENCE_SECONDS = 60.0


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


@dataclass(frozen=True)
class Target:
    """When a boot counts as done; the first condition that holds.

    Attributes:
        console: Regular expression to be found in what the guest prints on its serial port.
        seconds: Time since power-on.
    """

    console: re.Pattern[bytes] | None
    seconds: float | None


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


def parse_target(text: str) -> Target:
    """Read a boot target: ``console:REGEX`` or ``seconds:N``.

    Raises:
        InputError: It is neither.
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "console" and value:
            return Target(re.compile(value.encode()), None)
        if kind == "seconds":
            return Target(None, float(value))
    except (re.error, ValueError) as error:
        raise InputError(f"boot target {text!r}: {error}") from None
    raise InputError(
        f"boot target {text!r} is not understood",
        hint="give console:REGEX or seconds:N, for example console:login:",
    )


@contextlib.contextmanager
def served(
    image: Path,
    log_file: Path,
    emulation: Emulation | None = None,
    statistics: Path | None = None,
) -> Iterator[Path]:
    """Serve an image with nbdkit, read-only, and log every request.

    Args:
        image: Image to serve.
        log_file: Where the log goes (format of nbdkit-log-filter).
        emulation: The drive to serve it like; None to serve it as fast as can be.
        statistics: Where the emulator writes what it did, when the server has ended.

    Yields:
        The Unix socket that it is served on.
    """
    with tempfile.TemporaryDirectory(prefix="bootprof-") as folder:
        unix_socket = Path(folder) / "nbd"
        source = ["file", str(image.resolve())]
        if emulation is not None:
            results = statistics or Path(folder) / "statistics"
            source = plugin_arguments(emulation, image, Path(folder), results)
        server = subprocess.Popen(
            [
                program("nbdkit"),
                "--foreground",
                "--exit-with-parent",
                "--readonly",
                f"--unix={unix_socket}",
                "--filter=log",
                *source,
                f"logfile={log_file}",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            wait_for(unix_socket.exists, 10)
            if not unix_socket.exists():
                stop(server)
                assert server.stderr is not None
                raise ToolError(f"nbdkit does not serve {image}: {last_line(server.stderr.read())}")
            yield unix_socket
        finally:
            stop(server)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, but not for ever; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


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
    with tempfile.TemporaryDirectory(prefix="bootprof-") as folder:
        said = Path(folder) / "firmware.log"
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
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bootprof-")))
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


class Watch:
    """A running guest, followed by its console and its harvest port."""

    def __init__(
        self,
        guest: subprocess.Popen[bytes],
        target: Target,
        console_log: Path,
        timeout_seconds: float,
        progress: Callable[[str], None],
    ) -> None:
        assert guest.stdout is not None
        self.guest = guest
        self.target = target
        self.timeout_seconds = timeout_seconds
        self.progress = progress
        self.started = time.monotonic_ns()
        self.console = bytearray()
        self.received = bytearray()
        self.agent = ""
        self.port: socket.socket | None = None
        self.log = console_log.open("wb")
        self.selector = selectors.DefaultSelector()
        self.selector.register(guest.stdout, selectors.EVENT_READ, self.read_console)

    def close(self) -> None:
        """Release the console and the port."""
        self.selector.close()
        self.log.close()
        if self.port is not None:
            self.port.close()
        if self.guest.stdout is not None:
            self.guest.stdout.close()

    def connect(self, path: Path) -> None:
        """Connect to the harvest port; QEMU makes its socket when it starts."""
        wait_for(lambda: path.exists() or self.guest.poll() is not None, 10)
        self.port = socket.socket(socket.AF_UNIX)
        try:
            self.port.connect(str(path))
        except OSError:
            # QEMU ended at once; until_target() reports it with QEMU's own words.
            return
        self.selector.register(self.port, selectors.EVENT_READ, self.read_port)

    def read_console(self) -> bool:
        """Take in what the guest printed; False at the end of the stream."""
        assert self.guest.stdout is not None
        data = self.guest.stdout.read1(65536)  # type: ignore[attr-defined]
        self.console += data
        self.log.write(data)
        self.log.flush()
        return bool(data)

    def read_port(self) -> bool:
        """Take in what the agent sent; False at the end of the stream."""
        assert self.port is not None
        data = self.port.recv(1 << 20)
        self.received += data
        if not self.agent and b"\n" in self.received:
            line, _, rest = self.received.partition(b"\n")
            self.agent = line.decode(errors="replace")
            self.received = bytearray(rest)
        return bool(data)

    def step(self) -> None:
        """Wait a moment for something to read, and read it."""
        for key, _ in self.selector.select(0.25):
            if not key.data():
                self.selector.unregister(key.fileobj)

    def elapsed_seconds(self) -> float:
        """Return the time since power-on."""
        return (time.monotonic_ns() - self.started) / 1e9

    def until_target(self) -> int:
        """Follow the boot; return the time from power-on to the boot target in nanoseconds."""
        searched = 0
        while True:
            self.step()
            now = time.monotonic_ns() - self.started
            if self.target.console is not None:
                # A little of what was searched before, in case the match was cut in two.
                if self.target.console.search(self.console, max(0, searched - 200)):
                    return now
                searched = len(self.console)
            if self.target.seconds is not None and now >= self.target.seconds * 1e9:
                return now
            where = f"the last line on its console is: {last_line(bytes(self.console[-4000:]))}"
            if self.guest.poll() is not None:
                raise BootprofError("the machine ended before the boot target", hint=where)
            if now > self.timeout_seconds * 1e9:
                raise BootprofError(
                    f"no boot target within {self.timeout_seconds:.0f} s",
                    hint=f"{where}; give another target with --until, or more time with --timeout",
                )
            self.progress(f"{now / 1e9:.0f} s, {last_line(bytes(self.console[-400:]))[:60]}")

    def harvest(self) -> dict[str, bytes]:
        """Ask the agent for the bootlog.

        Raises:
            UnsupportedError: No agent answers.
        """
        deadline = self.elapsed_seconds() + AGENT_PATIENCE_SECONDS
        deadline = min(deadline, max(self.timeout_seconds, self.elapsed_seconds() + 5))
        while not self.agent and self.elapsed_seconds() < deadline and self.guest.poll() is None:
            self.progress("waiting for the agent in the guest")
            self.step()
        if not self.agent or self.port is None:
            raise UnsupportedError(
                "no profiler answers in the guest",
                hint="build the image with --profiling, or take --backend block",
            )
        self.port.sendall(b"harvest\n")
        deadline = self.elapsed_seconds() + HARVEST_PATIENCE_SECONDS
        while (files := parse_harvest(self.received)) is None:
            if self.elapsed_seconds() > deadline or self.guest.poll() is not None:
                raise BootprofError(f"the harvest was cut off after {len(self.received)} bytes")
            self.progress(f"harvest, {len(self.received)} bytes")
            self.step()
        return files


def parse_harvest(data: bytearray) -> dict[str, bytes] | None:
    """Take apart the agent's answer (see ``bootprof/guest/agent.c``).

    Returns:
        Content by name, or None while the answer is not complete.

    Raises:
        BootprofError: It is not the answer of an agent.
    """
    files: dict[str, bytes] = {}
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        words = bytes(data[position:end]).split(b" ")
        if words == [b"end"]:
            return files
        if len(words) != 3 or words[0] != b"file" or not words[2].isdigit():
            raise BootprofError(f"the agent in the guest says {words!r}, which is no harvest")
        position = end + 1 + int(words[2])
        files[words[1].decode()] = bytes(data[end + 1 : position])
    return None
