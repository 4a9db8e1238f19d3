# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A live system for the workload, and recorders that watch it run on a real kernel in QEMU.

The medium is an ISO image with a squashfs on it, served by nbdkit, which sees every read. The guest
starts the recorders as the first thing in its initramfs, mounts medium, squashfs and overlay, does
the early part of the workload, switches the root, and does the rest: as a live system boots.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.backends import Recording
from bootprof.boot.harvest import Harvest
from bootprof.boot.nbd import served
from bootprof.builder.kernelmodule import ModuleBuild
from bootprof.process import run, stop
from bootprof.sources import GUEST, TRACER
from optimizer.formats.blocktrace import BlockTrace, parse_nbdkit_log
from vmtest.guest import complaints, exit_status, machine, write_initramfs
from vmtest.kernels import GuestKernel

HERE = Path(__file__).parent
WORKLOAD_SOURCES = ("workload.c", "workload_files.c", "workload_truth.c")

# Programs that record, and where they are made.
SOURCES = {"bootprof-trace": TRACER, "bootprof-watch": GUEST / "watch"}
# virtio_blk and isofs for the medium, the rest for the root.
MODULES = ("virtio_blk", "isofs", "loop", "squashfs", "overlay")

# What the recorders have in common: wait until one is ready, and hand over a file. /proc, /sys and
# the like are there, as an agent would have mounted them.
PRELUDE = """
send() {
    echo "file $1 $(stat -c %s $2)" > $OUT
    cat $2 > $OUT
}
mkdir -p /ready /out /medium /lower /cow /root /truth
mount -t tmpfs none /truth
echo ready > $OUT
"""

# The middle of every run. Both parts of the workload append to one list. The early one comes right
# after the mounts, which recorders of file system events have to notice first; for the rest, chance
# shall not decide. The move and the chroot are what switch_root does, by a process that need not be
# the first.
WORKLOAD = """
mount -t iso9660 -o ro /dev/vda /medium
losetup -r /dev/loop0 /medium/live/filesystem.squashfs
mount -t squashfs -o ro /dev/loop0 /lower
mount -t tmpfs none /cow
mkdir /cow/upper /cow/work
mount -t overlay -o lowerdir=/lower,upperdir=/cow/upper,workdir=/cow/work none /root
mount -o bind /truth /root/truth
mount -t proc none /root/proc
workload early /root/w /w /truth/truth
sleep 1
(cd /root; mount --move . /; exec chroot . /bin/workload main /w /w /truth/truth $storm)
"""


@dataclass(frozen=True)
class Recorder:
    """How a recorder is run in the guest.

    Attributes:
        name: Name of the backend that reads what it records.
        file: Name under which that backend expects its file; empty if nothing runs in the guest.
        start: Shell that returns once it records.
        stop: Shell that leaves what it recorded in ``/out/FILE``.
        suites: Suites whose kernels have what it needs; empty for all.
    """

    name: str
    file: str
    start: str
    stop: str
    suites: tuple[str, ...] = ()

    def runs_on(self, suite: str) -> bool:
        """Return whether the kernel of a suite has what the recorder needs."""
        return not self.suites or suite in self.suites


def background(name: str, file: str, command: str, suites: tuple[str, ...] = ()) -> Recorder:
    """Return a recorder that is a program, which ends on request.

    Args:
        name: Name of the backend.
        file: Name of what it records.
        command: The program with its options, but for ``--output`` and ``--ready-fd``.
        suites: Suites whose kernels have what it needs; empty for all.
    """
    start = f"""
mkfifo /ready/{name}
{command} --output /out/{file} --ready-fd 3 3> /ready/{name} &
pid_{name}=$!
read answer < /ready/{name}
[ "$answer" = ready ]
"""
    return Recorder(name, file, start, f"kill -TERM $pid_{name}\nwait $pid_{name}\n", suites)


KMOD = Recorder(
    "kmod",
    "events",
    "insmod /bootprof.ko ranges=1 max_bytes=200000000\n",
    "echo stop > /sys/kernel/debug/bootprof/control\n"
    "cat /sys/kernel/debug/bootprof/events > /out/events\n",
)
RECORDERS: Mapping[str, Recorder] = {
    recorder.name: recorder
    for recorder in (
        KMOD,
        background("ebpf", "ebpf.events", "bootprof-trace --memory 256"),
        background("fanotify", "fanotify.events", "bootprof-watch --backend fanotify"),
        background("inotify", "inotify.events", "bootprof-watch --backend inotify"),
        background("tracepoints", "tracepoints.log", "bootprof-watch --backend tracepoints"),
        background(
            "block_dump", "block_dump.log", "bootprof-watch --backend block_dump", ("bullseye",)
        ),
        # The server of the medium records it.
        Recorder("block", "", "", ""),
    )
}


@dataclass(frozen=True)
class LiveSystem:
    """The medium, and the programs that go into the initramfs.

    Attributes:
        image: ISO image with the squashfs.
        programs: Files for the initramfs, by their path there.
    """

    image: Path
    programs: Mapping[str, Path]


@dataclass(frozen=True)
class Run:
    """What one run of the workload left behind.

    Attributes:
        kernel: Release of the kernel.
        truth: The workload's own list.
        recording: What the recorders recorded, with the reads of the medium.
    """

    kernel: str
    truth: bytes
    recording: Recording


def compile_program(target: Path, options: Sequence[str], *sources: str) -> Path:
    """Compile one of the programs here, without libc unless ``-static`` alone is asked for."""
    files = [HERE / source for source in sources]
    run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", *options, "-o", target, *files])
    return target


def build_live_system(folder: Path) -> LiveSystem:
    """Compile the workload and make the medium that it runs from.

    Args:
        folder: An empty folder, which keeps all of it.
    """
    bare = ("-nostdlib", "-fno-stack-protector")
    workload = compile_program(folder / "workload", ["-static"], *WORKLOAD_SOURCES)
    root = folder / "root"
    for name in ("bin", "proc", "truth", "w"):
        (root / name).mkdir(parents=True)
    shutil.copy(workload, root / "bin/workload")
    run([workload, "prepare", root / "w"])
    executed = root / "w/exec"
    static = compile_program(executed / "static", [*bare, "-static"], "small.c")
    shutil.copy(static, executed / "relative")
    shutil.copy(static, executed / "interpreter")
    (executed / "script").write_text("#!/w/exec/interpreter\n")
    (executed / "script").chmod(0o755)
    compile_program(executed / "loader", [*bare, "-static-pie", "-fPIE"], "small.c")
    interpreter = "-Wl,--dynamic-linker=/w/exec/loader"
    compile_program(executed / "dynamic", [*bare, "-pie", "-fPIE", interpreter], "small.c")
    options = ("-m32", "-DCOMPAT", "-static", "-fno-pie", "-no-pie")
    compile_program(root / "w/32bit/compat", [*bare, *options], "small.c")
    medium = folder / "medium"
    (medium / "live").mkdir(parents=True)
    squashfs = medium / "live/filesystem.squashfs"
    run(["mksquashfs", root, squashfs, "-quiet", "-no-progress", "-comp", "zstd", "-all-root"])
    live = live_system(folder)
    run(["xorriso", "-as", "mkisofs", "-quiet", "-rational-rock", "-o", live.image, medium])
    for recorder in live.programs.values():
        if recorder.parent != folder:
            run(["make", "-C", SOURCES[recorder.name], f"BUILD={recorder.parent}"])
    return live


def live_system(folder: Path) -> LiveSystem:
    """Return what :func:`build_live_system` makes in a folder."""
    return LiveSystem(
        folder / "live.iso",
        {
            "bin/workload": folder / "workload",
            "bin/bootprof-trace": folder / "trace/bootprof-trace",
            "bin/bootprof-watch": folder / "watch/bootprof-watch",
        },
    )


def run_workload(
    live: LiveSystem,
    kernel: GuestKernel,
    recorders: Sequence[Recorder],
    folder: Path,
    *,
    module: ModuleBuild | None = None,
    storm: tuple[int, int] = (200, 1000),
    timeout_seconds: float = 300,
) -> Run:
    """Boot a kernel, run the workload under some recorders, fetch what they recorded.

    Args:
        live: The live system.
        kernel: The kernel.
        recorders: Started in this order, before anything is mounted.
        folder: Where the recorded files are written.
        module: The kernel module, for the recorder that is one.
        storm: Number of processes that are forked at once, and of the opens of each.
        timeout_seconds: When to end a guest that hangs.

    Raises:
        AssertionError: The workload or a recorder failed, or the kernel complained.
    """
    script = PRELUDE + "".join(recorder.start for recorder in recorders)
    script += f'storm="{storm[0]} {storm[1]}"\n' + WORKLOAD
    script += "".join(recorder.stop for recorder in recorders)
    names = [recorder.file for recorder in recorders if recorder.file]
    script += "".join(f"send {name} /out/{name}\n" for name in names)
    script += "send truth /truth/truth\necho end > $OUT\n"
    files = dict(live.programs)
    if module is not None:
        files["bootprof.ko"] = module.module
    with tempfile.TemporaryDirectory(prefix="matrix-") as name:
        scratch = Path(name)
        initramfs = write_initramfs(scratch, kernel, files, MODULES, script)
        output, log_file = scratch / "output", scratch / "nbdkit.log"
        with served(live.image, log_file) as server:
            power_on_epoch_ns = time.time_ns()
            console = boot(kernel, initramfs, server.socket_path, output, timeout_seconds)
        assert exit_status(console) == 0, console
        assert complaints(console) == [], console
        with log_file.open("rb") as stream:
            reads = parse_nbdkit_log(stream, power_on_epoch_ns)
        folder.mkdir(parents=True, exist_ok=True)
        sent = Harvest((*names, "truth"), lambda name: (folder / name).open("wb"))
        sent.feed(output.read_bytes())
    assert sent.finished, console
    truth = (folder / "truth").read_bytes()
    (folder / "truth").unlink()
    trace = BlockTrace(
        reads=reads,
        image=live.image.name,
        image_bytes=live.image.stat().st_size,
        target_ns=int(reads["time_ns"][-1]) if len(reads) else 0,
    )
    recording = Recording({name: folder / name for name in names}, live.image, trace)
    return Run(kernel.release, truth, recording)


def boot(
    kernel: GuestKernel, initramfs: Path, medium: Path, output: Path, timeout_seconds: float
) -> str:
    """Run a guest to its end with a medium from a socket of nbdkit; return what it printed."""
    console = output.with_name("console")
    drive = f"file=nbd:unix:{medium},format=raw,if=virtio,readonly=on"
    command = machine(kernel, initramfs, output, console, 2048, ["-drive", drive])
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        guest.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        stop(guest, 1)
    return console.read_text(errors="replace")
