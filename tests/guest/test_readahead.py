# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-readahead: after it has run the medium is not read, and it knows when to stop."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.builder import store
from optimizer.demand import demand_of
from optimizer.drives.models import DRIVES
from optimizer.formats.readahead_list import SUPERBLOCK_BYTES, ReadaheadList, format_list
from optimizer.images.squashfs.layout import read_layout
from optimizer.readahead import plan, wanted_by_demand
from tests.guest.programs import READAHEAD, build_checked, run_checked
from vmtest.guest import complaints, run_guest
from vmtest.kernels import GuestKernel, fetch_kernel

SOURCES = Path(__file__).parents[2] / "bootprof/guest/readahead"
SOURCE = SOURCES / "bootprof-readahead.c"
HOT_FILES, COLD_FILES, FILE_BYTES = 24, 8, 1 << 20
LINE = re.compile(
    r"bootprof-readahead: (?P<done>\d+) of (?P<total>\d+) bytes, \d+ ranges, \d+ ms, "
    r"yielded (?P<pauses>\d+) times for \d+ ms, (?P<end>.+)"
)


@dataclass(frozen=True)
class Sample:
    """A squashfs, and the list of some of its files."""

    image: Path
    list: Path
    content: bytes


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as images get it, but with the sanitizers."""
    return build_checked(READAHEAD, tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    folder = tmp_path_factory.mktemp("sample")
    root = folder / "root"
    root.mkdir()
    hot = [f"hot-{number:02}" for number in range(HOT_FILES)]
    for name in [*hot, *(f"cold-{number:02}" for number in range(COLD_FILES))]:
        (root / name).write_bytes(os.urandom(FILE_BYTES))
    image = folder / "live.squashfs"
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress"], check=True)
    layout = read_layout(image)
    demand = demand_of(layout, {f"/{name}".encode(): [] for name in hot})
    ranges = plan(layout, wanted_by_demand(layout, demand), DRIVES["usb-2"]).ranges
    superblock = image.read_bytes()[:SUPERBLOCK_BYTES]
    content = format_list(ReadaheadList(superblock, layout.size_bytes, "usb-2", ranges))
    target = folder / "readahead.list"
    target.write_bytes(content)
    return Sample(image, target, content)


def run(program: Path, *words: str | Path) -> tuple[int, str]:
    done = run_checked(program, *words)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode(errors="replace")


def test_it_reads_all_of_the_list_and_says_so_in_one_line(program: Path, sample: Sample) -> None:
    status, said = run(program, sample.list, sample.image)
    assert status == 0
    match = LINE.fullmatch(said.rstrip("\n"))
    assert match, said
    assert match["done"] == match["total"]
    assert int(match["total"]) > HOT_FILES * FILE_BYTES
    assert match["end"] == "complete"


def test_the_squashfs_may_lie_inside_of_an_image(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20) + sample.image.read_bytes())
    assert "complete" in run(program, "--offset", "1048576", sample.list, disk)[1]
    assert "not the file system" in run(program, sample.list, disk)[1]


def test_the_superblock_of_erofs_is_found_behind_its_start(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    image, other, found = (tmp_path / name for name in ("image", "other", "list"))
    content = sample.image.read_bytes()
    image.write_bytes(bytes(1024) + content)
    # A list with the superblock of what the sample is, 1024 bytes into the image.
    lines = sample.list.read_bytes().split(b"\n")
    found.write_bytes(b"\n".join([*lines[:2], b"#superblock_offset: 1024", *lines[2:]]))
    assert "complete" in run(program, found, image)[1]
    other.write_bytes(bytes(1020) + content)
    assert "not the file system" in run(program, found, other)[1]


def test_the_log_goes_where_it_is_told(program: Path, sample: Sample, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(program, "--log", log, sample.list, sample.image) == (0, "")
    assert LINE.fullmatch(log.read_text().rstrip("\n"))


def test_without_any_memory_for_it_nothing_is_read(program: Path, sample: Sample) -> None:
    status, said = run(program, "--max-share", "0", sample.list, sample.image)
    assert status == 0
    assert "readahead: 0 of " in said
    assert said.endswith("stopped: memory is short\n")


def test_a_list_of_another_image_is_refused_in_one_line(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    other = tmp_path / "other.squashfs"
    content = bytearray(sample.image.read_bytes())
    content[8] ^= 1  # time of making
    other.write_bytes(content)
    expected = f"bootprof-readahead: {other}: not the file system that the list was made for; "
    assert run(program, sample.list, other) == (2, expected + "nothing is read ahead\n")


@pytest.mark.parametrize("missing", ["list", "image"])
def test_a_missing_file_is_named(
    program: Path, sample: Sample, tmp_path: Path, missing: str
) -> None:
    nothing = tmp_path / "nothing"
    words = (nothing, sample.image) if missing == "list" else (sample.list, nothing)
    expected = f"bootprof-readahead: {nothing}: No such file or directory\n"
    assert run(program, *words) == (2, expected)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (rb"#bootprof-readahead 1", b"#bootprof-readahead 2", "not a readahead list"),
        (rb".*", b"", "not a readahead list"),
        (rb"\A#bootprof-readahead 1\n", b"#bootprof-readahead 1\n\0", "not a readahead list"),
        (rb"\n\Z", b"", "cut short"),
        (rb"\d+\t\d+\ttables\n", b"", "damaged"),
        (rb"#ranges: .*\n", b"", "damaged or cut short at line 5"),
        (rb"#ranges: (.*)\n", rb"#ranges: \1\n#ranges: \1\n", "damaged or cut short at line 6"),
        (rb"#superblock: ..", b"#superblock: zz", "damaged"),
        (rb"\ttables", b"\ttable", "damaged"),
        (rb"\n0\t\d+", b"\n0\t0", "damaged"),
        (rb"\n0\t\d+", b"\n0\t99999999999999999999", "damaged"),
    ],
)
def test_a_damaged_list_is_refused_in_one_line(
    program: Path, sample: Sample, tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    damaged = tmp_path / "damaged.list"
    content = re.sub(old, new, sample.content, count=1, flags=re.S if old == b".*" else 0)
    assert content != sample.content
    damaged.write_bytes(content)
    status, said = run(program, damaged, sample.image)
    assert status == 2
    assert said.startswith(f"bootprof-readahead: {damaged}: {words}")
    assert said.count("\n") == 1


def test_no_damage_makes_it_crash(program: Path, sample: Sample, tmp_path: Path) -> None:
    source = random.Random(2007)
    damaged = tmp_path / "damaged.list"
    refused = 0
    for _ in range(60):
        content = bytearray(sample.content)
        for _ in range(source.randint(1, 3)):
            content[source.randrange(len(content))] = source.choice(b"\n\t #0129ad\0\xff")
        damaged.write_bytes(content[: source.randint(1, 2 * len(content))])
        status, _ = run(program, "--max-share", "0", damaged, sample.image)
        assert status in (0, 2)
        refused += status == 2
    assert refused > 30


@pytest.mark.parametrize(
    "words", [[], ["list"], ["--max-share", "101", "a", "b"], ["--slowest", "x", "a", "b"]]
)
def test_wrong_usage_is_answered_with_the_right_one(program: Path, words: list[str]) -> None:
    if words == ["list"]:
        words = ["one"]
    status, said = run(program, *words)
    assert status == 2
    assert said.startswith("bootprof-readahead: usage: ")


def test_a_squashfs_that_is_cut_short_ends_it(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    short = tmp_path / "short.squashfs"
    # What comes first are the tables at the end.
    short.write_bytes(sample.image.read_bytes()[: sample.image.stat().st_size // 2])
    status, said = run(program, sample.list, short)
    assert status == 0
    assert said.endswith("stopped: the medium cannot be read\n")


def run_in_background(program: Path, *words: str | Path) -> int:
    """Start the program as an initramfs does: its child goes on, with no output but the log."""
    null = subprocess.DEVNULL
    command: list[str | Path] = [program, "--background", *words]
    return subprocess.run(command, stdout=null, stderr=null, timeout=60, check=False).returncode


@contextlib.contextmanager
def served(image: Path, folder: Path, *filters: str) -> Iterator[Path]:
    """Serve an image as a file, through filters of nbdkit, as a drive in trouble would."""
    for tool in ("nbdkit", "nbdfuse"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install nbdkit libnbd-bin fuse3")
    mount, socket = folder / "mount", folder / "socket"
    mount.mkdir()
    names = [f"--filter={word.split('-')[0]}" for word in filters if "=" not in word]
    settings = [word for word in filters if "=" in word]
    words = ["nbdkit", "-f", "-r", "-U", socket, *names, "file", image, *settings]
    server = subprocess.Popen([str(word) for word in words])
    try:
        wait_until(socket.exists)
        uri = f"nbd+unix:///?socket={socket}"
        fuse = subprocess.Popen(["nbdfuse", "-r", str(mount / "squashfs"), uri])
        try:
            wait_until((mount / "squashfs").exists)
            yield mount / "squashfs"
        finally:
            # A read that hangs ends with the server.
            server.kill()
            subprocess.run(["umount", "--lazy", mount], check=False)
            fuse.wait(30)
    finally:
        server.kill()
        server.wait()


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.root
@pytest.mark.parametrize("where", ["tables", "data"])
def test_a_sector_that_cannot_be_read_ends_it(
    program: Path, sample: Sample, tmp_path: Path, where: str
) -> None:
    offset, length = next(
        (int(fields[0]), int(fields[1]))
        for fields in (line.split("\t") for line in sample.content.decode().splitlines())
        if fields[-1] == where and int(fields[0]) > SUPERBLOCK_BYTES
    )
    size = sample.image.stat().st_size
    bad = offset + length - 1
    # GNU ddrescue's map: what was rescued (+) and what cannot be read (-).
    lines = [f"0x0 {bad:#x} +", f"{bad:#x} 0x1 -", f"{bad + 1:#x} {size - bad - 1:#x} +"]
    mapfile = tmp_path / "map"
    mapfile.write_text("0x0 + 1\n" + "\n".join(lines) + "\n")
    with served(sample.image, tmp_path, "ddrescue", f"ddrescue-mapfile={mapfile}") as squashfs:
        status, said = run(program, sample.list, squashfs)
    assert status == 0
    assert said.endswith("stopped: the medium cannot be read\n")


@pytest.mark.root
def test_a_drive_that_needs_long_for_each_read_ends_it(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    with served(sample.image, tmp_path, "delay", "delay-read=1") as squashfs:
        status, said = run(program, sample.list, squashfs)
    assert status == 0
    assert said.endswith("stopped: the medium is slow\n")


@pytest.mark.root
def test_the_boot_continues_when_the_drive_hangs(
    sample: Sample, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hasty")
    program = build_checked(READAHEAD, folder, "-DTABLES_SECONDS=1")
    log = tmp_path / "log"
    with served(sample.image, tmp_path, "delay", "delay-read=3600") as squashfs:
        assert run_in_background(program, "--log", log, sample.list, squashfs) == 0
        said = log.read_text()
    assert said.endswith("the tables are not read after 1 s; the boot continues\n")


def test_in_the_background_it_reads_all_of_the_list_too(
    program: Path, sample: Sample, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert run_in_background(program, "--log", log, sample.list, sample.image) == 0
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    match = LINE.fullmatch(log.read_text().rstrip("\n"))
    assert match and match["done"] == match["total"]


# The ISO stands on one loop device, which is the medium whose reads are counted; the squashfs on
# it on another one, as in a live system.
SCRIPT = """
mkdir -p /run /medium /root /full /cgroup
losetup -r /dev/loop0 /medium.iso
mount -t iso9660 -o ro /dev/loop0 /medium
program="bootprof-readahead /readahead.list /medium/live.squashfs"
forget() { echo 3 > /proc/sys/vm/drop_caches; ls -l /medium > /dev/null; }
sectors() { awk '{ print $3 }' /sys/block/loop0/stat; }
say() { echo "$*" > $OUT; }

# Until it yields to a process that reads all the time.
(while :; do forget; cat /medium/other > /dev/null; done) &
reader=$!
for try in $(seq 50); do
    answer=$($program)
    case $answer in *"yielded 0 times"*) ;; *) break ;; esac
done
say "busy $answer"
kill $reader
wait $reader || true

mount -t cgroup2 none /cgroup
echo +io > /cgroup/cgroup.subtree_control
mkdir /cgroup/slow
echo "7:0 rbps=150000" > /cgroup/slow/io.max
forget
say "slow $(sh -c 'echo $$ > /cgroup/slow/cgroup.procs; exec '"$program")"

available=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
mount -t tmpfs -o size=95% none /full
dd if=/dev/zero of=/full/file bs=1M count=$((available - 30)) 2> /dev/null
forget
say "small $($program)"
umount /full

forget
before=$(sectors)
mount -t tmpfs -o noexec none /run
mkdir -p /usr/lib/bootprof
cp /bin/bootprof-readahead /readahead.list /bootprof-readahead.service /usr/lib/bootprof/
sh /start-readahead /medium/live.squashfs
# A second one waits for the first.
say "second $(/run/bootprof/bootprof-readahead /run/bootprof/readahead.list /run/bootprof/squashfs)"
say "log $(dmesg | grep bootprof-readahead: | sed 's/.*bootprof-/bootprof-/')"
say "wanted $(cat /run/systemd/system/sysinit.target.wants/bootprof-readahead.service | grep Exec)"
say "ahead $(($(sectors) - before))"
losetup -r /dev/loop1 /medium/live.squashfs
before=$(sectors)
mount -t squashfs -o ro /dev/loop1 /root
cat /root/hot-* | wc -c > $OUT
say "hot $(($(sectors) - before))"
cat /root/cold-* > /dev/null
say "cold $(($(sectors) - before))"
"""


@pytest.fixture(scope="module")
def kernel(output: Path) -> GuestKernel:
    cache = output / "cache"
    with store.opened(cache):
        return fetch_kernel("bookworm", cache)


@pytest.fixture(scope="module")
def answers(
    sample: Sample, kernel: GuestKernel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the guest said, by the first word of the line."""
    folder = tmp_path_factory.mktemp("guest")
    static = folder / "bootprof-readahead"
    command = ["musl-gcc", "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", static, SOURCE]
    subprocess.run([str(word) for word in command], check=True)
    tree = folder / "tree"
    tree.mkdir()
    shutil.copy(sample.image, tree)
    (tree / "other").write_bytes(os.urandom(8 << 20))
    iso = folder / "medium.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", iso, tree]
    subprocess.run([str(word) for word in command], check=True)
    files = {
        "bin/bootprof-readahead": static,
        "medium.iso": iso,
        "readahead.list": sample.list,
        "start-readahead": SOURCES / "start-readahead",
        "bootprof-readahead.service": SOURCES / "bootprof-readahead.service",
    }
    modules = ["loop", "isofs", "squashfs"]
    result = run_guest(kernel, SCRIPT, files=files, modules=modules, memory_mib=512)
    assert result.status == 0, result.console + result.output.decode()
    assert complaints(result.console) == [], result.console
    lines = result.output.decode().splitlines()
    return {line.split()[0]: line.partition(" ")[2] for line in lines}


@pytest.mark.vm
@pytest.mark.root
def test_after_it_has_run_the_boot_reads_nothing_from_the_medium(answers: dict[str, str]) -> None:
    assert str(HOT_FILES * FILE_BYTES) in answers
    assert int(answers["ahead"]) * 512 >= HOT_FILES * FILE_BYTES
    assert int(answers["hot"]) == 0
    # The counter is the right one: what is not in the list has to be read, but for shared pages.
    assert int(answers["cold"]) * 512 > (COLD_FILES - 1) * FILE_BYTES


@pytest.mark.vm
@pytest.mark.root
def test_it_is_started_from_an_initramfs_with_a_unit_for_the_time_after(
    answers: dict[str, str],
) -> None:
    for name in ("log", "second"):
        match = LINE.fullmatch(answers[name])
        assert match, answers
        assert match["end"] == "complete"
    assert answers["wanted"].startswith("ExecStart=/run/bootprof/bootprof-readahead ")


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "end"),
    [("slow", "stopped: the medium is slow"), ("small", "stopped: memory is short")],
)
def test_it_stops_early_on_slow_media_and_small_machines(
    answers: dict[str, str], name: str, end: str
) -> None:
    match = LINE.fullmatch(answers[name])
    assert match, answers
    assert match["end"] == end
    assert 0 < int(match["done"]) < int(match["total"])


@pytest.mark.vm
@pytest.mark.root
def test_it_yields_to_reads_of_other_processes(answers: dict[str, str]) -> None:
    match = LINE.fullmatch(answers["busy"])
    assert match, answers
    assert int(match["pauses"]) > 0
