# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Drives, and the cost of a read on them.

A drive is described by the numbers that its data sheet gives. Times are in milliseconds there, so
they are here; everything that is computed from them is in seconds.

The model, for one read after another (no queue, no time between the reads):

    time = overhead + positioning + transfer

*Transfer.* A disc or a disk that turns at constant speed passes more data under the head the
further out the head is. Linear density and track pitch being constant, the rate is proportional to
the radius, and the square of the radius grows linearly with the offset (area of a ring), so

    rate(o)² = first² + (last² - first²) · o / capacity

The time of a sequential read from 0 to o is the integral of do / rate(o), which is

    pass(o) = 2 · o / (first + rate(o))

A transfer from o to o + n takes pass(o + n) - pass(o). Flash memory has first = last, and pass(o)
is o / rate. (ECMA-130 and ECMA-267 fix the linear density and the pitch of CD and DVD. The rule
gives 3.3x for the first byte on a DVD drive of 8x; a test of one showed 3.5x, writing.)

*Positioning.* It costs nothing to go on where the last read ended: the drive has read ahead into
its buffer. Otherwise the arm moves, and then half a turn passes on average before the first sector
comes by. The distance x that the arm moves is the difference of the radii as a fraction of the full
stroke. Its time follows C. Ruemmler and J. Wilkes, An Introduction to Disk Drive Modeling, IEEE
Computer 27 (3), 1994: a + b · √x while the arm accelerates and brakes, c + e · x once it has
reached its top speed, plus the time to settle, which is in a and c. Data sheets give three points
of that curve: single track, average (which is the time of a third of the full stroke) and full
stroke. The curve goes through all three: the root from the first to the second, the line from there
to the third.

A short gap forward is read through, if that is faster than a seek: the head stays where it is
until the wanted sector comes by, which takes the transfer time of what is between. Drives do this
as far as their read-ahead buffer reaches. Flash memory has no need to.

What the model leaves out: queues, reads that the drive's buffer still holds from before, spin-up,
errors and retries, and the time that the computer takes between reads, in which a real drive reads
ahead. It is the time that the medium is busy, not the time that a boot takes.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.drives.names import DRIVE_NAMES
from optimizer.errors import FormatError, InputError

KIB = 1024
# Accepted TOML types for each type of an attribute of Drive.
TOML_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
# The mean distance of two random places is a third of the stroke, and data sheets call its time
# the average seek time.
AVERAGE_STROKE = 1 / 3


@dataclass(frozen=True)
class Drive:
    """A drive, or a class of drives.

    Attributes:
        name: Name for options and JSON.
        title: Name for tables and plots.
        capacity_bytes: Size of the medium.
        overhead_ms: Time from a request to the start of any movement, and from the last byte to
            the end of the request, for every request.
        seek_track_ms: Time of the shortest move, with settling. For flash memory all three seek
            times are alike: the time to reach a page that was not read ahead.
        seek_average_ms: Time to move over a third of the full stroke, with settling.
        seek_full_ms: Time to move over the full stroke, with settling.
        first_rate_bytes_per_second: Transfer rate at offset 0.
        last_rate_bytes_per_second: Transfer rate at the last byte.
        rotation_per_minute: Speed of rotation, 0 for flash memory.
        readahead_bytes: How far forward the drive reads through rather than seeks, at most.
        source: Where the numbers are from.
    """

    name: str
    title: str
    capacity_bytes: int
    overhead_ms: float
    seek_track_ms: float
    seek_average_ms: float
    seek_full_ms: float
    first_rate_bytes_per_second: float
    last_rate_bytes_per_second: float
    rotation_per_minute: float = 0.0
    readahead_bytes: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        """Check that the numbers describe a drive.

        Raises:
            InputError: They do not.
        """
        for key in ("capacity_bytes", "first_rate_bytes_per_second", "last_rate_bytes_per_second"):
            if not 0 < getattr(self, key) < float("inf"):
                raise InputError(f"drive {self.name}: {key} must be above 0")
        for key in ("overhead_ms", "seek_track_ms", "rotation_per_minute", "readahead_bytes"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise InputError(f"drive {self.name}: {key} must not be below 0")
        if not self.seek_track_ms <= self.seek_average_ms <= self.seek_full_ms < float("inf"):
            raise InputError(
                f"drive {self.name}: seek times must not fall with the distance",
                hint="seek_track_ms <= seek_average_ms <= seek_full_ms",
            )

    @property
    def latency_seconds(self) -> float:
        """Mean time until the requested sector arrives: half a turn."""
        return 30.0 / self.rotation_per_minute if self.rotation_per_minute else 0.0

    def rate(self, offset_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the transfer rate at an offset in bytes per second."""
        fraction = np.asarray(offset_bytes, dtype=np.float64) / self.capacity_bytes
        first, last = self.first_rate_bytes_per_second, self.last_rate_bytes_per_second
        return np.asarray(np.sqrt(first**2 + (last**2 - first**2) * fraction))

    def pass_seconds(self, offset_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the time of one sequential read from offset 0 to an offset."""
        offset = np.asarray(offset_bytes, dtype=np.float64)
        return np.asarray(2.0 * offset / (self.first_rate_bytes_per_second + self.rate(offset)))

    def seek_seconds(self, stroke: ArrayLike) -> NDArray[np.float64]:
        """Return the time of moves of the arm, without rotation.

        Args:
            stroke: Distances as fractions of the full stroke; 0 is the shortest move, not none.
        """
        distance = np.asarray(stroke, dtype=np.float64)
        track, average, full = self.seek_track_ms, self.seek_average_ms, self.seek_full_ms
        near = track + (average - track) * np.sqrt(np.minimum(distance / AVERAGE_STROKE, 1.0))
        far = (full - average) * np.maximum(distance - AVERAGE_STROKE, 0.0) / (1.0 - AVERAGE_STROKE)
        return np.asarray((near + far) / 1e3)

    def positioning_seconds(
        self, end_bytes: ArrayLike, offset_bytes: ArrayLike
    ) -> NDArray[np.float64]:
        """Return the time to get from the end of a read to the start of the next one.

        Args:
            end_bytes: Where the reads before ended.
            offset_bytes: Where the reads start.
        """
        end = np.asarray(end_bytes, dtype=np.int64)
        offset = np.asarray(offset_bytes, dtype=np.int64)
        through = self.pass_seconds(offset) - self.pass_seconds(end)
        # pass() is proportional to the radius, counted from the radius of offset 0.
        stroke = np.abs(through) / float(self.pass_seconds(self.capacity_bytes))
        cost = self.seek_seconds(stroke) + self.latency_seconds
        gap = offset - end
        read_through = (gap >= 0) & (gap <= self.readahead_bytes)
        cost = np.where(read_through, np.minimum(cost, through), cost)
        return np.where(gap == 0, 0.0, cost)


CD_1X = 150 * KIB  # ECMA-130: 75 sectors of 2048 bytes a second
DVD_1X = 1350 * KIB  # as drive makers count it; ECMA-267: 11.08 Mbit/s

CD_24X = Drive(
    name="cd-24x",
    title="CD 24x",
    # 80 minutes of 75 sectors of 2048 bytes.
    capacity_bytes=80 * 60 * 75 * 2048,
    # Typical of ATAPI; small compared with all other times.
    overhead_ms=1.0,
    # Typical: a jump of the lens, settling, and reading the address to see where it landed.
    seek_track_ms=25.0,
    # Typical: sellers and reviews of 24x drives gave 85 to 150 ms of average access.
    seek_average_ms=110.0,
    # Typical: twice the average.
    seek_full_ms=220.0,
    # 24x is reached at the outer edge alone: at constant speed the rate goes with the radius, and
    # the data goes from 25 mm to 58 mm (ECMA-130).
    first_rate_bytes_per_second=24 * CD_1X * 25 / 58,
    last_rate_bytes_per_second=24 * CD_1X,
    # 24 times 1.3 m/s (ECMA-130: 1.2 to 1.4) at a radius of 58 mm.
    rotation_per_minute=5140.0,
    # The buffer of such drives: 128 KiB.
    readahead_bytes=128 * KIB,
    source="ECMA-130; typical access times of 24x drives, about 1998-2005",
)

DVD_8X = Drive(
    name="dvd-8x",
    title="DVD 8x",
    capacity_bytes=2_295_104 * 2048,
    overhead_ms=1.0,
    seek_track_ms=25.0,
    # Typical of slim drives.
    seek_average_ms=130.0,
    seek_full_ms=260.0,
    # The data goes from 24 mm to 58 mm (ECMA-267).
    first_rate_bytes_per_second=8 * DVD_1X * 24 / 58,
    last_rate_bytes_per_second=8 * DVD_1X,
    # 8 times 3.49 m/s (ECMA-267) at a radius of 58 mm.
    rotation_per_minute=4600.0,
    readahead_bytes=512 * KIB,
    source="ECMA-267; typical access times of slim DVD drives",
)

USB_2 = Drive(
    name="usb-2",
    title="USB 2",
    capacity_bytes=16_000_000_000,
    # Command, data and status phase of the bulk-only transport, each in 125 µs frames.
    overhead_ms=0.4,
    # Set so that a random read of 4 KiB takes 0.99 ms in all: sticks do about 1,000 a second
    # (1,010 by CrystalDiskMark for a Lexar S75; 4.2 MB/s in 4 KiB reads of a Cruzer Blade).
    seek_track_ms=0.45,
    seek_average_ms=0.45,
    seek_full_ms=0.45,
    # USB 2 storage reads 30 to 42 MB/s of the 53 MB/s that the protocol leaves.
    first_rate_bytes_per_second=30e6,
    last_rate_bytes_per_second=30e6,
    source="USB 2.0, table 5-10; measurements of sticks by reviewers",
)

SD_CARD = Drive(
    name="sd-card",
    title="SD card",
    capacity_bytes=32_000_000_000,
    # Typical.
    overhead_ms=0.25,
    # Set so that a random read of 4 KiB takes 1/1500 s in all: class A1 is 1,500 a second.
    seek_track_ms=0.21,
    seek_average_ms=0.21,
    seek_full_ms=0.21,
    # Typical of class 10 cards on a 25 MB/s bus; class A1 promises 10 MB/s.
    first_rate_bytes_per_second=20e6,
    last_rate_bytes_per_second=20e6,
    source="SD specification 5.1, application performance class A1; typical rate",
)

HARD_DISK = Drive(
    name="hard-disk",
    title="hard disk 5400 rpm",
    capacity_bytes=320_072_933_376,
    # IBM Travelstar specification: command overhead.
    overhead_ms=1.0,
    # Hitachi Travelstar 5K320 specification, 4.4.2: typical, read.
    seek_track_ms=1.0,
    seek_average_ms=12.0,
    seek_full_ms=20.0,
    # Typical of 2.5 inch disks of 2008; the inner tracks have half the circumference.
    first_rate_bytes_per_second=70e6,
    last_rate_bytes_per_second=35e6,
    rotation_per_minute=5400.0,
    readahead_bytes=8 * KIB * KIB,
    source="Hitachi Travelstar 5K320 specification, 4.4.2; typical rate",
)

NVME = Drive(
    name="nvme",
    title="NVMe",
    capacity_bytes=1_000_000_000_000,
    # Intel P4500 (1 TB): read latency 10 µs sequential, 85 µs random, 3.2 GB/s.
    overhead_ms=0.010,
    seek_track_ms=0.075,
    seek_average_ms=0.075,
    seek_full_ms=0.075,
    first_rate_bytes_per_second=3.2e9,
    last_rate_bytes_per_second=3.2e9,
    source="Intel SSD DC P4500 data sheet",
)

DRIVES = dict(zip(DRIVE_NAMES, (CD_24X, DVD_8X, USB_2, SD_CARD, HARD_DISK, NVME), strict=True))
"""The drives that are described here, by name."""


def load_drive(stream: BinaryIO, file_name: str) -> Drive:
    """Read the description of a drive: TOML, the attributes of :class:`Drive` as keys.

    Args:
        stream: The file.
        file_name: What to call it in an error.

    Raises:
        FormatError: It is not TOML.
        InputError: A key is missing, not known or of the wrong type, or the numbers describe no
            drive.
    """
    try:
        table = tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{file_name}: not TOML: {error}") from None
    known = {field.name: field for field in fields(Drive)}
    for key in table:
        if key not in known:
            raise InputError(f"{file_name}: unknown key {key!r}", hint=f"known: {', '.join(known)}")
    values: dict[str, Any] = {}
    for key, field in known.items():
        if key not in table:
            if field.default is MISSING:
                raise InputError(f"{file_name}: {key} is missing")
            continue
        value = table[key]
        wanted = TOML_TYPES[str(field.type)]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InputError(f"{file_name}: {key} is of the wrong type: {value!r}")
        values[key] = value
    try:
        return Drive(**values)
    except InputError as error:
        raise InputError(f"{file_name}: {error.message}", hint=error.hint) from None
