"""What kernels before 5.14 log about block reads with ``vm.block_dump=1``.

Lines of submit_bio() in block/blk-core.c: ``bash(123): READ block 4096 on sda1 (8 sectors)``, with
sectors of 512 bytes that count from the start of the partition. They are taken as /dev/kmsg, dmesg
and syslog give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bootprof.backends import Backend
from bootprof.backends.block_files import needed_image
from bootprof.backends.devices import SECTOR_BYTES, DeviceRead, locate_device_reads
from bootprof.errors import FormatError, InputError

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

LOG_NAME = "block_dump.log"

# Documentation/ABI/testing/dev-kmsg: priority, sequence number, microseconds, flags; text.
_RECORD = re.compile(rb"(\d+),(\d+),(\d+),[^;\n]*;")
# dmesg; syslog puts date, host and "kernel:" in front of that.
_STAMP = re.compile(rb"(?:.*? kernel: ?)?(?:<\d+>)?\[ *(\d+)\.(\d{6})\] ?|.*? kernel: ?|(?:<\d+>)")
_DATED = re.compile(rb"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?")
_READ = re.compile(rb"(.*)\((\d+)\): READ block (\d+) on (\S+) \((\d+) sectors\)\s*\Z", re.DOTALL)
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


class _Log:
    """Reads the lines of a log, and counts what of it is missing."""

    def __init__(self) -> None:
        self.lost = 0
        self.reads = 0

    def parse(self, stream: BinaryIO) -> Iterator[DeviceRead]:
        """Yield the reads in their order."""
        expected = -1
        for line in stream:
            if b"READ block " not in line and not line[:1].isdigit():
                continue
            time_ns = 0
            record = _RECORD.match(line)
            if record is not None:
                # The ring buffer of the kernel's log was overwritten before it was read.
                sequence = int(record[2])
                if 0 <= expected < sequence:
                    self.lost += sequence - expected
                expected = sequence + 1
                time_ns = int(record[3]) * 1000
                text = line[record.end() :]
            else:
                stamp = _STAMP.match(line) or _DATED.match(line)
                if stamp is not None and stamp.re is _STAMP and stamp[1]:
                    time_ns = int(stamp[1]) * 1_000_000_000 + int(stamp[2]) * 1000
                text = line[stamp.end() :] if stamp is not None else line
            found = _READ.match(text)
            if found is None:
                continue
            self.reads += 1
            command = found[1]
            if record is not None and b"\\x" in command:
                command = _ESCAPED.sub(lambda part: bytes([int(part[1], 16)]), command)
            yield DeviceRead(
                time_ns,
                found[4],
                int(found[3]) * SECTOR_BYTES,
                int(found[5]) * SECTOR_BYTES,
                int(found[2]),
                command,
            )


def locate_files(recording: Recording) -> Located:
    """Find the files that the log tells of, whatever their confidence.

    Raises:
        InputError: There is no log or no image, or they have nothing to do with each other.
        FormatError: The log has no such lines, or the image is corrupt.
    """
    path = recording.files.get(LOG_NAME)
    if path is None:
        raise InputError(f"{LOG_NAME}: not recorded", hint="vm.block_dump is gone since Linux 5.14")
    image = needed_image(recording.image, str(path))
    log = _Log()
    with path.open("rb") as stream:
        reads = list(log.parse(stream))
    if not reads:
        raise FormatError(
            f"{path}: no line like 'bash(123): READ block 4096 on sda1 (8 sectors)'",
            hint="the kernel's log of a boot with vm.block_dump=1 is expected (before Linux 5.14)",
        )
    return locate_device_reads(image, reads, {"backend": "block_dump"}, str(path), lost=log.lost)


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="block_dump",
    summary="reads of the block layer, from the kernel's log, mapped to files",
    starts="the first process, before the root is mounted",
    needs="a profiling image and Linux before 5.14",
    blind_to="reads by the boot loader; reads that the page cache serves",
    agent="block_dump",
    recorded=(LOG_NAME,),
    read=read,
)
