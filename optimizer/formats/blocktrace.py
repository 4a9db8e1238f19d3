# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Block traces: the reads that a boot makes of its medium, in the order of the requests.

Two formats are read: the block trace file of bootprof (docs/architecture.md), which is written
too, and the log of nbdkit's log filter, which is where block traces come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import FormatError
from optimizer.formats import TRACE_MAGIC
from optimizer.formats.text import escape, printable, unescape

READ_DTYPE = np.dtype(
    [("time_ns", np.int64), ("offset_bytes", np.int64), ("length_bytes", np.int64)]
)
"""One read: time in nanoseconds since power-on, offset and length in bytes."""

Reads = NDArray[np.void]
"""Reads that were made, in their order: rows of :data:`READ_DTYPE`, shape (reads,)."""

MAGIC = TRACE_MAGIC + b"1"

# 18 digits keep below 2**63: 31 years in nanoseconds, an exabyte in bytes.
READ_LINE = re.compile(rb"(\d{1,18})\t(\d{1,18})\t(\d{1,18})")
HEADER_LINE = re.compile(rb"#([a-z0-9_]+): (.*)")

NBDKIT_LINE = re.compile(
    rb"(?P<second>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(?P<microsecond>\d{6}) (?P<action>.+)", re.DOTALL
)
NBDKIT_READ = re.compile(
    rb"connection=\d+ Read id=\d+ offset=0x(?P<offset>[0-9a-f]{1,15})"
    rb" count=0x(?P<count>[0-9a-f]{1,8}) \.\.\."
)


@dataclass(frozen=True, eq=False)
class BlockTrace:
    """The reads of one boot, and the image that they were made of.

    Attributes:
        reads: Shape (reads,), of :data:`READ_DTYPE`, in the order of the requests.
        image: File name of the image.
        image_bytes: Size of the image in bytes.
        target_ns: Time from power-on to the boot target in nanoseconds.
        image_sha256: SHA-256 digest of the image in hexadecimal, empty if it is not known.
    """

    reads: Reads
    image: str
    image_bytes: int
    target_ns: int
    image_sha256: str = ""


def write_block_trace(stream: BinaryIO, trace: BlockTrace) -> None:
    """Write a block trace file.

    Args:
        stream: Where it goes.
        trace: The trace to write.
    """
    header = [
        MAGIC,
        b"#image: " + escape(trace.image.encode(errors="surrogateescape")),
        b"#image_bytes: %d" % trace.image_bytes,
    ]
    if trace.image_sha256:
        header.append(b"#image_sha256: " + trace.image_sha256.encode())
    header.append(b"#target_ns: %d" % trace.target_ns)
    stream.write(b"\n".join(header) + b"\n")
    stream.write(b"".join(b"%d\t%d\t%d\n" % read for read in trace.reads.tolist()))


def read_block_trace(stream: Iterable[bytes], name: str) -> BlockTrace:
    """Read a block trace file.

    Args:
        stream: Its lines, each with its newline.
        name: What to call it in an error.

    Returns:
        The block trace. Unknown keys of the header are ignored.

    Raises:
        FormatError: It is no block trace, of another version, truncated or contradicts itself;
            the message has the number of the line.
    """
    lines = iter(enumerate(stream, 1))
    first = next(lines, (1, b""))[1].rstrip(b"\n")
    if first != MAGIC:
        raise FormatError(
            f"{name}: line 1: not a block trace of a known version: {shown(first)}",
            hint=f"its first line must be {MAGIC.decode()}; bootprof profile writes such files",
        )
    header: dict[bytes, bytes] = {}
    reads: list[tuple[int, int, int]] = []
    earlier_ns = 0
    for number, raw in lines:
        if not raw.endswith(b"\n"):
            raise FormatError(
                f"{name}: line {number}: cut off: {shown(raw)}",
                hint="the program that wrote the file was interrupted; record the profile again",
            )
        line = raw.rstrip(b"\n")
        found = READ_LINE.fullmatch(line)
        if found is None:
            pair = HEADER_LINE.fullmatch(line)
            if pair is None or reads:
                raise FormatError(
                    f"{name}: line {number}: not a read: {shown(line)}",
                    hint="a read is time, offset and length, separated by tabs",
                )
            header[pair[1]] = pair[2]
            continue
        time_ns, offset_bytes, length_bytes = map(int, found.groups())
        if time_ns < earlier_ns:
            raise FormatError(f"{name}: line {number}: earlier than the read before it")
        if length_bytes == 0:
            raise FormatError(f"{name}: line {number}: a read of 0 bytes")
        earlier_ns = time_ns
        reads.append((time_ns, offset_bytes, length_bytes))
    array = np.array(reads, dtype=READ_DTYPE)
    trace = BlockTrace(
        reads=array,
        image=unescape(needed(header, b"image", name)).decode(errors="surrogateescape"),
        image_bytes=needed_number(header, b"image_bytes", name),
        target_ns=needed_number(header, b"target_ns", name),
        image_sha256=header.get(b"image_sha256", b"").decode("ascii", "replace"),
    )
    ends_bytes = array["offset_bytes"] + array["length_bytes"]
    if len(array) and int(ends_bytes.max()) > trace.image_bytes:
        worst = int(ends_bytes.argmax())
        raise FormatError(
            f"{name}: read {worst + 1} ends at byte {ends_bytes[worst]},"
            f" but the image has {trace.image_bytes} bytes",
            hint="the trace and its header belong to different images",
        )
    return trace


def needed(header: dict[bytes, bytes], key: bytes, name: str) -> bytes:
    """Return a value of the header that must be there."""
    if key not in header:
        raise FormatError(f"{name}: the header has no line #{key.decode()}: ...")
    return header[key]


def needed_number(header: dict[bytes, bytes], key: bytes, name: str) -> int:
    """Return a number of the header that must be there."""
    text = needed(header, key, name)
    if not re.fullmatch(rb"\d{1,18}", text):
        raise FormatError(f"{name}: header: {key.decode()} is not a number: {shown(text)}")
    return int(text)


def parse_nbdkit_log(
    stream: Iterable[bytes], power_on_epoch_ns: int, name: str = "nbdkit.log"
) -> Reads:
    """Read the log of nbdkit's log filter.

    The format is in nbdkit-log-filter(1): a time stamp (UTC, microseconds), the connection, the
    action; a request has a line when it comes in, which ends in ``...``, and one when it is
    answered. The former counts: it is what the machine requested, and when. Requests that are no
    reads are passed over, and failed reads count, because the drive had to go there.

    Args:
        stream: Lines of the log. The last one may be cut off, as a killed server leaves it.
        power_on_epoch_ns: Time of power-on in nanoseconds since 1970.
        name: What to call the log in an error.

    Returns:
        The reads in the order of the requests, shape (reads,), of :data:`READ_DTYPE`. Where the
        clock was set back, time stands still until it has caught up; nothing is before power-on.

    Raises:
        FormatError: A line is not of this format; the message has its number.
    """
    times_ns: list[int] = []
    offsets_bytes: list[int] = []
    lengths_bytes: list[int] = []
    # Many lines share a second, and strptime costs more than all else here together.
    second = b""
    second_ns = 0
    for number, raw in enumerate(stream, 1):
        cut_off = not raw.endswith(b"\n")
        line = raw.rstrip(b"\n")
        found = NBDKIT_LINE.fullmatch(line)
        read = NBDKIT_READ.fullmatch(line, found.start("action")) if found else None
        if found is None or (read is None and b" Read id=" in line):
            if cut_off:
                break
            raise FormatError(
                f"{name}: line {number}: not a line of nbdkit's log filter: {shown(line)}"
            )
        if read is None:
            continue
        if found["second"] != second:
            second = found["second"]
            second_ns = epoch_ns(second, name, number) - power_on_epoch_ns
        times_ns.append(second_ns + int(found["microsecond"]) * 1000)
        offsets_bytes.append(int(read["offset"], 16))
        lengths_bytes.append(int(read["count"], 16))
    reads = np.zeros(len(times_ns), dtype=READ_DTYPE)
    if times_ns:
        reads["time_ns"] = np.maximum.accumulate(np.maximum(np.array(times_ns), 0))
        reads["offset_bytes"] = offsets_bytes
        reads["length_bytes"] = lengths_bytes
    return reads


def epoch_ns(stamp: bytes, name: str, number: int) -> int:
    """Turn ``YYYY-MM-DD HH:MM:SS`` (UTC) into nanoseconds since 1970."""
    try:
        moment = datetime.strptime(stamp.decode("ascii"), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise FormatError(f"{name}: line {number}: no such time: {shown(stamp)}") from None
    return int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def shown(line: bytes) -> str:
    """Return the beginning of a line, fit for an error message of one line."""
    return f"'{printable(line[:60])}'" + ("..." if len(line) > 60 else "")
