"""The block tracepoints of the kernel, as ``trace_pipe`` of tracefs gives them.

Formats of include/trace/events/block.h: ``block_bio_queue: 7,0 R 1234 + 8 [systemd]`` and
``block_rq_issue: 254,0 RA 4096 () 64 + 8 be,0,4 [kworker/0:1H]`` (the priority since Linux 6.10),
with sectors of 512 bytes that count from the start of the disk, also where the device is a
partition. Lines ``#device MAJOR:MINOR NAME`` tell the names of devices.
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

LOG_NAME = "tracepoints.log"

_LINE = re.compile(
    rb"\s*(?P<command>.*)-(?P<pid>\d+)\s+(?:\([-\d ]+\)\s+)?\[\d+\]\s+(?:\S{4,6}\s+)?"
    rb"(?P<second>\d+)\.(?P<microsecond>\d{6}): (?P<event>block_rq_issue|block_bio_queue): "
    rb"(?P<major>\d+),(?P<minor>\d+) (?P<operation>[A-Z]+) (?:\d+ \([^)]*\) )?"
    rb"(?P<sector>\d+) \+ (?P<sectors>\d+) (?:\S+,\d+,\d+ )?\[(?P<task>.*)\]\s*\Z",
    re.DOTALL,
)
_DEVICE = re.compile(rb"#device (\d+:\d+) (\S+)\s*\Z")
_LOST = re.compile(rb"CPU:\d+ \[LOST (\d+) EVENTS\]")
# Major numbers that stand for the same driver everywhere (Documentation/admin-guide/devices.txt).
_LOOP_MAJOR = 7


class _Log:
    """Reads the lines of a trace, and what it says about itself."""

    def __init__(self) -> None:
        self.lost = 0
        self.events: dict[bytes, set[bytes]] = {}
        # By major:minor. A device may be named only after its first read.
        self.names: dict[bytes, bytes] = {}

    def parse(self, stream: BinaryIO) -> Iterator[tuple[bytes, DeviceRead]]:
        """Yield event and read, in their order; devices are major:minor."""
        for line in stream:
            found = _LINE.match(line)
            if found is None:
                if named := _DEVICE.match(line):
                    self.names[named[1]] = named[2]
                elif lost := _LOST.match(line):
                    self.lost += int(lost[1])
                continue
            # F is a flush before the request; behind the operation stand flags (readahead, sync).
            if found["operation"].removeprefix(b"F")[:1] != b"R" or found["sectors"] == b"0":
                continue
            device = found["major"] + b":" + found["minor"]
            self.events.setdefault(device, set()).add(found["event"])
            time_ns = int(found["second"]) * 1_000_000_000 + int(found["microsecond"]) * 1000
            yield (
                found["event"],
                DeviceRead(
                    time_ns,
                    device,
                    int(found["sector"]) * SECTOR_BYTES,
                    int(found["sectors"]) * SECTOR_BYTES,
                    int(found["pid"]),
                    found["task"],
                ),
            )

    def name(self, device: bytes) -> bytes:
        """Return the name of a device, as far as it is known."""
        major, _, minor = device.partition(b":")
        known = b"loop" + minor if int(major) == _LOOP_MAJOR else device
        return self.names.get(device, known)


def locate_files(recording: Recording) -> Located:
    """Find the files that the trace tells of, whatever their confidence.

    Raises:
        InputError: There is no trace or no image, or they have nothing to do with each other.
        FormatError: The trace has no such events, or the image is corrupt.
    """
    path = recording.files.get(LOG_NAME)
    if path is None:
        raise InputError(f"{LOG_NAME}: not recorded", hint="tracefs has to be mounted in the guest")
    image = needed_image(recording.image, str(path))
    log = _Log()
    with path.open("rb") as stream:
        seen = list(log.parse(stream))
    if not seen:
        raise FormatError(
            f"{path}: no line like 'bash-123 [000] ..... 1.234567: block_bio_queue: 7,0 R 64 + 8 "
            "[bash]'",
            hint="text of trace_pipe with block_bio_queue or block_rq_issue is expected",
        )
    # Both events of one read would count twice. The former is what was asked for, by whom.
    reads = [
        one._replace(device=log.name(one.device))
        for event, one in seen
        if event == b"block_bio_queue" or b"block_bio_queue" not in log.events[one.device]
    ]
    return locate_device_reads(
        image,
        reads,
        {"backend": "tracepoints"},
        str(path),
        from_partition=False,
        lost=log.lost,
    )


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="tracepoints",
    summary="reads of the block layer, by the kernel's tracepoints, mapped to files",
    starts="the first process, before the root is mounted",
    needs="a profiling image and tracefs",
    blind_to="reads by the boot loader; reads that the page cache serves",
    agent="tracepoints",
    recorded=(LOG_NAME,),
    read=read,
)
