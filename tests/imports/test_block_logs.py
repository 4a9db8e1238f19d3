# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The kernel's own logs of block reads, and blkparse: which device counts, where its bytes lie."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootprof.errors import FormatError, InputError
from bootprof.imports import Source
from bootprof.imports.block_dump import _Log as BlockDumpLog
from bootprof.imports.common.source import Counts
from bootprof.imports.tracepoints import _Log as TracepointsLog
from optimizer.images.image import open_image
from optimizer.images.partitions import partition_offsets
from tests.foreign import imported


def sectors(image: Path, path: bytes, base: int = 0) -> tuple[int, int]:
    """First sector and number of sectors of a file of the squashfs, from a base in bytes."""
    rows = open_image(image).layout().extents_of(path)
    start = (int(rows["offset_bytes"][0]) - base) // 512
    end = -(-(int(rows["offset_bytes"][-1] + rows["length_bytes"][-1]) - base) // 512)
    return start, end - start


def dumped(first: int, count: int, device: str = "vda", prefix: str = "") -> bytes:
    return f"{prefix}cat(42): READ block {first} on {device} ({count} sectors)\n".encode()


def traced(first: int, count: int, device: str, event: str = "block_bio_queue") -> bytes:
    request = "8192 () " if event == "block_rq_issue" else ""
    return (
        f"             cat-42      [001] d..1.    12.345678: {event}: {device} RA {request}"
        f"{first} + {count} [cat]\n"
    ).encode()


# What the kernel of bullseye logged, as /dev/kmsg gives it, and the same by dmesg and syslog.
PREFIXES = {
    "kmsg": "7,376,2327955,-;",
    "dmesg": "[    2.327955] ",
    "raw": "<7>[    2.327955] ",
    "syslog": "Nov 23 07:07:11 live kernel: [    2.327955] ",
    "journal": "Nov 23 07:07:11 live kernel: ",
    "bare": "",
    "kmsg with caller": "7,376,2327955,-,caller=T1;",
    "console with caller": "[    2.327955][    T1] ",
    "dmesg with caller": "[    2.327955] [   C0] ",
    "raw with caller": "<7>[    2.327955][  T42] ",
    "dmesg -x": "kern  :debug : [    2.327955] ",
    "dmesg -T": "[Wed Nov 25 01:02:03 2026] ",
    "dmesg -d": "[    2.327955 <    0.000010>] ",
    "dmesg -e": "[Nov25 01:02] ",
    "dmesg -e, later": "[  +0.000010] ",
    "dmesg --time-format iso": "2026-11-25T01:02:03,327955+00:00 ",
    "rsyslog": "2026-11-25T01:02:03.327955+00:00 live kernel: [    2.327955] ",
    "journal -o short-precise": "Nov 23 07:07:11.123456 live kernel: ",
    "journal -o short-iso": "2026-11-25T01:02:03+0000 live kernel: ",
    "journal -o short-full": "Wed 2026-11-25 01:02:03 UTC live kernel: ",
    "journal -o short-monotonic": "[    2.327955] live kernel: ",
    "journal -o short-unix": "1795571887.319877 live kernel: ",
    "level only": "<7>",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_block_dump_is_read_however_the_log_was_taken(foreign_iso: Path, prefix: str) -> None:
    line = dumped(*sectors(foreign_iso, b"/usr/bin/third"), prefix=prefix)
    bootlog = imported("block_dump", line, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]
    event = bootlog.event(0)
    assert (event.pid, event.command) == (42, b"cat")
    stamped = "2327955" in prefix or "2.327955" in prefix
    assert event.time_ns == (2_327_955_000 if stamped else 0)


def test_block_dump_passes_over_all_other_lines_of_the_log(foreign_iso: Path) -> None:
    first, count = sectors(foreign_iso, b"/usr/bin/third")
    other, more = sectors(foreign_iso, b"/usr/bin/first")
    log = (
        b"7,1,10,-;sh(1): dirtied inode 12 (x) on vda\n"
        b"6,2,11,-;ISO 9660 Extensions: RRIP_1991A\n SUBSYSTEM=block\n"
        + f"7,3,12,-;sh(1): WRITE block {other} on vda ({more} sectors)\n".encode()
        + dumped(first, count, prefix="7,4,13,-;")
        + b"7,5,14,-;cut off: READ blo"
    )
    assert imported("block_dump", log, image=foreign_iso).paths == [b"/usr/bin/third"]


def test_block_dump_counts_records_that_the_kernel_overwrote(foreign_iso: Path) -> None:
    first, count = sectors(foreign_iso, b"/usr/bin/third")
    log = b"".join(dumped(first, count, prefix=f"7,{number},9,-;") for number in (5, 6, 10))
    assert imported("block_dump", log, image=foreign_iso).lost == 3


@pytest.mark.parametrize("event", ["block_bio_queue", "block_rq_issue"])
def test_tracepoints_name_the_process_and_the_time(foreign_iso: Path, event: str) -> None:
    line = traced(*sectors(foreign_iso, b"/usr/bin/third"), "254,0", event)
    bootlog = imported("tracepoints", b"#device 254:0 vda\n" + line, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]
    found = bootlog.event(0)
    assert (found.pid, found.command, found.time_ns) == (42, b"cat", 12_345_678_000)
    assert bootlog.header["devices"] == "vda"


def test_the_priority_that_newer_kernels_print_is_passed_over(foreign_iso: Path) -> None:
    first, count = sectors(foreign_iso, b"/usr/bin/third")
    line = (
        f"  kworker/0:1H-73      [000] ..... 1.000001: block_rq_issue: 8,0 R 4096 () {first} +"
        f" {count} be,0,4 [kworker/0:1H]\n"
    ).encode()
    assert imported("tracepoints", line, image=foreign_iso).paths == [b"/usr/bin/third"]


def test_writes_flushes_and_lost_events_of_a_trace(foreign_iso: Path) -> None:
    first, count = sectors(foreign_iso, b"/usr/bin/first")
    third = traced(*sectors(foreign_iso, b"/usr/bin/third"), "254,0")
    write = traced(first, count, "254,0").replace(b" RA ", b" WS ")
    flush = traced(0, 0, "254,0").replace(b" RA ", b" FF ")
    log = write + flush + b"CPU:1 [LOST 17 EVENTS]\n" + third + third[:50]
    bootlog = imported("tracepoints", log, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]
    assert bootlog.lost == 17


def test_where_the_loop_device_was_logged_the_medium_does_not_count(foreign_iso: Path) -> None:
    base = open_image(foreign_iso).places[0].offset_bytes
    asked = traced(*sectors(foreign_iso, b"/usr/bin/third", base), "7,0")
    start, count = sectors(foreign_iso, b"/usr/bin/third")
    served = traced(start // 8 * 8, count + 200, "254,0", "block_rq_issue")
    bootlog = imported("tracepoints", asked + served, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"], "what readahead brought is not from the loop"
    assert len(bootlog.events) == 2, "each block once"
    assert bootlog.header["devices"] == "loop0"


def test_a_loop_device_of_something_else_does_not_count(foreign_iso: Path) -> None:
    inside = b"".join(traced(sector, 8, "7,3") for sector in (80, 100, 230))
    other = inside + traced(9_000_000, 8, "7,4")
    third = traced(*sectors(foreign_iso, b"/usr/bin/third"), "254,0")
    bootlog = imported("tracepoints", other + third, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]


def test_of_several_disks_the_one_with_the_image_counts(foreign_iso: Path) -> None:
    far = foreign_iso.stat().st_size // 512 + 1000
    log = dumped(far, 5000, "sda") + dumped(*sectors(foreign_iso, b"/usr/bin/third"), "sr0")
    bootlog = imported("block_dump", log, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]
    assert bootlog.header["devices"] == "sr0"


def test_a_log_of_other_devices_only_is_refused(foreign_iso: Path) -> None:
    far = foreign_iso.stat().st_size // 512 + 1000
    with pytest.raises(InputError) as raised:
        imported("block_dump", dumped(far, 8, "sdb"), image=foreign_iso)
    assert "sdb" in raised.value.hint


@pytest.mark.parametrize("backend", ["block_dump", "tracepoints", "blkparse"])
@pytest.mark.parametrize("content", [b"", b"hello\n", bytes(1000), b"\xff" * 100])
def test_what_is_no_such_log_is_refused(foreign_iso: Path, backend: str, content: bytes) -> None:
    with pytest.raises(FormatError) as raised:
        imported(backend, content, image=foreign_iso)
    assert "expected" in raised.value.hint


@pytest.mark.parametrize("backend", ["block_dump", "tracepoints", "blkparse"])
def test_without_the_image_there_are_no_files(backend: str) -> None:
    with pytest.raises(InputError, match="image"):
        imported(backend, dumped(0, 8))


def disk_with_partition(squashfs: Path, folder: Path, label: str) -> Path:
    """A disk image with the squashfs in its second partition, at 1 MiB."""
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed: apt-get install fdisk")
    disk = folder / f"{label}.img"
    disk.write_bytes(bytes(4 << 20))
    script = f"label: {label}\nstart=128, size=256\nstart=2048, size=4096\n"
    if label == "dos":
        script = script.replace("start=2048", "start=1024, size=6000, type=5\nstart=2048")
    subprocess.run(["sfdisk", "-q", str(disk)], input=script.encode(), check=True)
    with disk.open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(squashfs.read_bytes())
    return disk


@pytest.mark.parametrize(("label", "number"), [("gpt", 2), ("dos", 5)])
def test_sectors_of_a_partition_count_from_its_start(
    foreign_squashfs: Path, tmp_path: Path, label: str, number: int
) -> None:
    disk = disk_with_partition(foreign_squashfs, tmp_path, label)
    assert partition_offsets(disk)[number] == 1 << 20
    first, count = sectors(disk, b"/usr/bin/third", 1 << 20)
    log = dumped(first, count, f"sda{number}")
    assert imported("block_dump", log, image=disk).paths == [b"/usr/bin/third"]
    # The tracepoints see the request when it counts from the start of the disk already.
    first, count = sectors(disk, b"/usr/bin/third")
    log = b"#device 8:2 sda2\n" + traced(first, count, "8,2")
    assert imported("tracepoints", log, image=disk).paths == [b"/usr/bin/third"]


@pytest.mark.parametrize("content", [b"", bytes(511), bytes(2048), b"\xff" * 4096])
def test_an_image_without_a_partition_table_has_no_partitions(
    tmp_path: Path, content: bytes
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(content)
    assert partition_offsets(disk) == {}


@settings(max_examples=300)
@given(content=st.binary(max_size=4096), tail=st.binary(max_size=50))
def test_a_hostile_partition_table_never_fails(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, tail: bytes
) -> None:
    disk = tmp_path_factory.getbasetemp() / "hostile"
    boot_record = content[:510].ljust(510, b"\x05") + b"\x55\xaa"
    disk.write_bytes(boot_record + content + tail)
    partition_offsets(disk)
    disk.write_bytes(bytes(512) + b"EFI PART" + content)
    partition_offsets(disk)


COMMANDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=15)


@given(
    command=COMMANDS,
    pid=st.integers(1, 4_194_304),
    sector=st.integers(0, 2**50),
    count=st.integers(1, 65535),
    microseconds=st.integers(0, 10**12),
)
def test_both_logs_keep_what_the_kernel_printed(
    command: str, pid: int, sector: int, count: int, microseconds: int
) -> None:
    name = command.encode()
    dump = b"7,1,%d,-;%b(%d): READ block %d on sda (%d sectors)\n" % (
        microseconds,
        name.replace(b"\\", b"\\x5c"),
        pid,
        sector,
        count,
    )
    (read,) = BlockDumpLog(Counts()).parse(dump)
    expected = (microseconds * 1000, sector * 512, count * 512, pid, name)
    assert (read.time_ns, read.offset_bytes, read.length_bytes, read.pid, read.command) == expected
    trace = b"  %b-%d  [000] d..1.  %d.%06d: block_bio_queue: 8,0 R %d + %d [%b]\n" % (
        name,
        pid,
        microseconds // 10**6,
        microseconds % 10**6,
        sector,
        count,
        name,
    )
    (read,) = TracepointsLog(Counts()).reads(Source("trace", io.BytesIO(trace)))
    assert (read.time_ns, read.offset_bytes, read.length_bytes, read.pid, read.command) == expected


# linux/blktrace_api.h: what the kernel sends, and blkparse prints.
READ, QUEUE, ISSUE, NOTIFY = 1 << 16, 1 << 20, 1 << 22, 1 << 26
QUEUED, ISSUED = 1, 7


def blktrace_record(
    sequence: int, action: int, sector: int = 0, size: int = 0, name: bytes = b""
) -> bytes:
    return (
        struct.pack(
            "<IIQQIIIIIHH",
            0x65617407,
            sequence,
            sequence * 1000,
            sector,
            size,
            action,
            42,
            8 << 20,
            0,
            0,
            len(name),
        )
        + name
    )


def test_what_blkparse_prints_is_read(foreign_iso: Path, tmp_path: Path) -> None:
    if shutil.which("blkparse") is None:
        pytest.skip("blkparse is not installed: apt-get install blktrace")
    first, count = sectors(foreign_iso, b"/usr/bin/third")
    near, many = first - 64, count + 200
    (tmp_path / "boot.blktrace.0").write_bytes(
        blktrace_record(0, NOTIFY, name=b"my (cat) 1".ljust(16, b"\0"))
        + blktrace_record(1, READ | QUEUE | QUEUED, first, count * 512)
        + blktrace_record(2, READ | ISSUE | ISSUED, near, many * 512)
    )
    command = ["blkparse", "-i", "boot"]
    text = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    bootlog = imported("blkparse", text, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third"]
    event = bootlog.event(0)
    assert (event.pid, event.command) == (42, b"my (cat) 1")
    issued = b"".join(line for line in text.splitlines(True) if b" Q " not in line)
    assert b"/usr/bin/third" in imported("blkparse", issued, image=foreign_iso).paths


def test_a_device_may_be_named_after_its_first_read(foreign_iso: Path) -> None:
    third = traced(*sectors(foreign_iso, b"/usr/bin/third"), "254,0")
    first = traced(*sectors(foreign_iso, b"/usr/bin/first"), "254,0")
    log = third + b"#device 254:0 vda\n" + first
    bootlog = imported("tracepoints", log, image=foreign_iso)
    assert bootlog.paths == [b"/usr/bin/third", b"/usr/bin/first"]
    assert bootlog.header["devices"] == "vda"
