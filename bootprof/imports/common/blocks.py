# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""From the reads that a log of block devices has to the files of the image that was booted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.backends.block_files import needed_image
from bootprof.backends.devices import SECTOR_BYTES, DeviceRead, locate_device_reads
from bootprof.errors import FormatError, InputError
from bootprof.imports.common.source import (
    COMMAND_BYTES,
    PID_LIMIT,
    Counts,
    RecordError,
    Source,
    number,
)

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from bootprof.imports import Import

SECTOR_LIMIT = (1 << 62) // SECTOR_BYTES


def device_read(
    time_ns: int, device: bytes, sector: bytes, sectors: bytes, pid: bytes, command: bytes
) -> DeviceRead:
    """Return a read as a log has it.

    Args:
        time_ns: Nanoseconds.
        device: Name, or ``major:minor``.
        sector: First sector, in digits.
        sectors: Number of sectors, in digits.
        pid: Process, in digits.
        command: Its name.

    Raises:
        RecordError: A number is out of range.
    """
    if not 0 <= time_ns < 1 << 63:
        raise RecordError
    return DeviceRead(
        time_ns,
        device[:COMMAND_BYTES],
        number(sector, SECTOR_LIMIT) * SECTOR_BYTES,
        number(sectors, SECTOR_LIMIT) * SECTOR_BYTES,
        number(pid, PID_LIMIT),
        command[:COMMAND_BYTES].replace(b"\0", b""),
    )


def locate(
    source: Source,
    image: Path | None,
    reads: Iterator[DeviceRead],
    counts: Counts,
    header: Mapping[str, str],
    *,
    expected: str,
    hint: str,
    from_partition: bool,
) -> Located:
    """Find the files of a log's reads.

    Args:
        source: The log.
        image: The image that was booted.
        reads: The reads; examined after the image was opened.
        counts: Counters of the reader.
        header: For the bootlog.
        expected: Text of the error if there are no reads.
        hint: How to go on then.
        from_partition: As :func:`~bootprof.backends.devices.locate_device_reads` has it.

    Raises:
        InputError: There is no image, or the reads are not of it.
        FormatError: There are no reads, or the image is corrupt.
    """
    booted = needed_image(image, source.name)
    seen = list(reads)
    if not seen:
        raise FormatError(f"{source.name}: {expected}", hint=hint)
    located = locate_device_reads(
        booted, seen, header, source.name, from_partition=from_partition, lost=counts.lost
    )
    return replace(located, lost=counts.lost)


def locate_recorded(recording: Recording, name: str, item: Import, hint: str) -> Located:
    """Find the files of a log that was recorded in a guest.

    Args:
        recording: What was recorded.
        name: Name of the log in it.
        item: What reads the log.
        hint: What is missing in the guest if there is no log.

    Raises:
        InputError: There is no log or no image, or they have nothing to do with each other.
        FormatError: The log has no reads, or the image is corrupt.
    """
    path = recording.files.get(name)
    if path is None:
        raise InputError(f"{name}: not recorded", hint=hint)
    with path.open("rb") as stream:
        return item.located([Source(str(path), stream)], recording.image)
