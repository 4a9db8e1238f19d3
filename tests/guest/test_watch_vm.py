# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-watch in a machine of its own, from an initramfs with nothing mounted, as in a boot."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.backends import Recording, load
from bootprof.builder import store
from optimizer.formats.events import Bootlog, Operation
from tests.guest.watching import build_watcher
from vmtest.guest import complaints, run_guest
from vmtest.kernels import GuestKernel, chosen_suites, fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]

RECORDED = {
    "fanotify": "fanotify.events",
    "inotify": "inotify.events",
    "tracepoints": "tracepoints.log",
    "block_dump": "block_dump.log",
}
LAST_WITH_BLOCK_DUMP = "bullseye"
FILES = 23
NAMES = ["plain", "two words", "new\nline", "tab\tand\rreturn", "back\\slash", "\\040", "ünï", "x"]

# As an agent starts it: nothing is mounted but /dev, which the results leave through. What follows
# the recorder's start is the boot: a squashfs, an overlay over it, and the switch of the root, by a
# process that need not be the first.
BOOT = """
umount /sys/kernel/debug
umount /sys
umount /proc
mkdir -p /root /lower /cow
mkfifo /ready
send() {{ echo "=== $1" > $OUT; cat "$2" > $OUT; }}
bootprof-watch --backend {backend} --output /log --ready-fd 3 3> /ready &
watcher=$!
read ready < /ready
[ "$ready" = ready ]
rm /bin/bootprof-watch
losetup /dev/loop0 /image.squashfs
mount -t squashfs -o ro /dev/loop0 /lower
mount -t tmpfs none /cow
mkdir /cow/upper /cow/work
mount -t overlay -o lowerdir=/lower,upperdir=/cow/upper,workdir=/cow/work overlay /root
sleep 2
cat /script > /dev/null
{early}
(cd /root; mount --move . /; exec chroot . /bin/busybox sh /late.sh)
sleep 1
kill -TERM $watcher
wait $watcher
send log /log
"""


@dataclass(frozen=True)
class System:
    """The root file system of the guest, and the files that are read of it in their order."""

    image: Path
    early: list[str]
    late: list[str]


@pytest.fixture(scope="module", params=chosen_suites())
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kernel(suite: str, output: Path) -> GuestKernel:
    cache = output / "cache"
    with store.opened(cache):
        return fetch_kernel(suite, cache)


@pytest.fixture(scope="module")
def system(kernel: GuestKernel, tmp_path_factory: pytest.TempPathFactory) -> System:
    folder = tmp_path_factory.mktemp("system")
    root = folder / "root"
    for name in ("bin", "data", "root", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(kernel.busybox, root / "bin/busybox")
    files = []
    for number in range(FILES):
        path = f"/data/d{number % 3}/{NAMES[number % len(NAMES)]}-{number}"
        (root / path[1:]).parent.mkdir(exist_ok=True)
        # Whole blocks of a squashfs, and no fragments.
        (root / path[1:]).write_bytes(os.urandom(131072))
        files.append(path)
    files.sort(key=lambda path: path[::-1])
    # Files that nobody reads, neighbours of those that are read.
    for number in range(4):
        (root / f"data/d1/unread-{number}").write_bytes(os.urandom(131072))
    # A folder of the booted system that is called like the one that the initramfs mounts it on.
    (root / "root/.profile").write_text("x")
    late = [*files[FILES // 2 :], "/root/.profile"]
    # The shell itself reads the first: it lives on, so that its name can be looked up.
    reads = f"read line < {shlex.quote(late[0])}\n"
    reads += "".join(f"busybox cat {shlex.quote(path)} > /tmp/copy\n" for path in late[1:])
    (root / "late.sh").write_text("PATH=/bin\n" + reads)
    image = folder / "image.squashfs"
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress"], check=True)
    return System(image, files[: FILES // 2], late)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_watcher(tmp_path_factory.mktemp("watch"))


def boot(
    kernel: GuestKernel, system: System, program: Path, backend: str, folder: Path
) -> tuple[Path, Bootlog]:
    early = "\n".join(f"cat {shlex.quote('/root' + path)} > /dev/null" for path in system.early)
    result = run_guest(
        kernel,
        BOOT.format(backend=backend, early=early),
        files={"bin/bootprof-watch": program, "image.squashfs": system.image},
        modules=["loop", "squashfs", "overlay"],
    )
    assert result.status == 0, result.console
    assert complaints(result.console) == [], result.console
    log = folder / RECORDED[backend]
    log.write_bytes(re.split(rb"^=== log\n", result.output, maxsplit=1, flags=re.M)[1])
    return log, load(backend).read(Recording({log.name: log}, image=system.image))


def paths_of(log: Bootlog) -> list[str]:
    return [os.fsdecode(log.paths[index]) for index in log.events["path"]]


def data_files(log: Bootlog) -> set[str]:
    return {path for path in paths_of(log) if path.startswith("/data/")}


@pytest.mark.parametrize("backend", ["fanotify", "inotify"])
def test_a_boot_is_recorded_under_the_names_of_the_booted_system(
    kernel: GuestKernel, system: System, program: Path, tmp_path: Path, backend: str
) -> None:
    _, log = boot(kernel, system, program, backend, tmp_path)
    assert log.lost == 0
    assert log.header["kernel"] == kernel.release
    assert "in the initramfs" in log.header["start"]
    paths = paths_of(log)
    known = [path for path in paths if path.startswith(("/data/", "/root/", "/lower/"))]
    assert known == system.early + system.late
    (script,) = [index for index, path in enumerate(paths) if path == "/script"]
    assert log.file_systems[log.events[script]["file_system"]] == b"rootfs"
    file = log.events[paths.index(system.late[0])]
    assert log.file_systems[file["file_system"]] == b"overlay"
    if backend == "fanotify":
        executed = log.events["operation"] == Operation.EXEC
        assert "/bin/busybox" in {os.fsdecode(log.paths[i]) for i in log.events["path"][executed]}
        assert log.commands[file["command"]] == b"busybox"


def test_tracepoints_tell_what_the_medium_was_asked_for(
    kernel: GuestKernel, system: System, program: Path, tmp_path: Path
) -> None:
    file, log = boot(kernel, system, program, "tracepoints", tmp_path)
    assert log.lost == 0
    assert b"#device 7:0 loop0\n" in file.read_bytes()
    assert data_files(log) == set(system.early + system.late[:-1])


def test_block_dump_tells_what_the_medium_was_asked_for(
    suite: str, kernel: GuestKernel, system: System, program: Path, tmp_path: Path
) -> None:
    if suite != LAST_WITH_BLOCK_DUMP:
        pytest.skip("this kernel has no block_dump")
    _, log = boot(kernel, system, program, "block_dump", tmp_path)
    assert data_files(log) == set(system.early + system.late[:-1])
