# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reads of block devices, as logged by kernels, mapped to files of the image.

Such a log contains all devices of the machine. A squashfs on a medium is mounted through a loop
device, so each of its blocks is read twice: from the loop device, by the file system, and from the
medium, by the loop driver with readahead. The reads of the loop device are better evidence, so only
they are used if a loop device matches the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from bootprof.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bootprof.backends.block_files import Located, MappedImage

SECTOR_BYTES: Final = 512
"""The kernel's unit, for any sector size of the device."""

# The largest of the blocks that a squashfs reads its device in (fs/squashfs/super.c: at least
# 1 KiB, or the logical blocks of the device).
_DEVICE_BLOCK_BYTES = 4096
# Of the reads of a loop device, how many have to begin where a block of the squashfs does.
_LEAST_FIT = 0.5
_LOOP = re.compile(rb"loop\d+\Z")
_NO_MEDIUM = re.compile(rb"(?:loop|ram|zram|dm-|md|nbd|fd)\d+")
# mmcblk0p1, nvme0n1p2; sda1, vda2. sr0, mmcblk0 and nvme0n1 are whole.
_PARTITION = re.compile(rb"((?:mmcblk\d+|nvme\d+n\d+))p(\d+)\Z|((?:sd|vd|hd|xvd)[a-z]+)(\d+)\Z")


class DeviceRead(NamedTuple):
    """A read of a block device.

    Attributes:
        time_ns: Nanoseconds since boot, 0 if unknown.
        device: Name without ``/dev/``; ``major:minor`` if that is all that is known.
        offset_bytes: Where on the device.
        length_bytes: How much.
        pid: Process that asked, 0 if it is not known.
        command: Its name.
    """

    time_ns: int
    device: bytes
    offset_bytes: int
    length_bytes: int
    pid: int
    command: bytes


@dataclass(frozen=True)
class _Chosen:
    reads: list[DeviceRead]
    offset_bytes: list[int]
    exact: bool


def locate_device_reads(
    image: MappedImage,
    reads: Iterable[DeviceRead],
    header: Mapping[str, str],
    name: str,
    *,
    from_partition: bool = True,
    lost: int = 0,
) -> Located:
    """Find the files of an image that a log of device reads covers.

    Args:
        image: The image that was booted.
        reads: In the order of the log.
        header: For the bootlog.
        name: Of the log, for errors.
        from_partition: Offsets on a partition count from its start; otherwise from that of the
            disk, as the kernel's tracepoints have them.
        lost: Number of records that are missing from the log.

    Raises:
        InputError: None of the reads is of this image.
    """
    import numpy as np

    from bootprof.backends.block_files import Located
    from optimizer.blockmap import find_files
    from optimizer.formats.blocktrace import READ_DTYPE

    by_device: dict[bytes, list[DeviceRead]] = {}
    for one in reads:
        by_device.setdefault(one.device, []).append(one)
    chosen = _loops(image, by_device) or _medium(image, by_device, from_partition)
    if chosen is None:
        devices = ", ".join(device.decode(errors="replace") for device in sorted(by_device))
        raise InputError(
            f"{name}: contains no read of a device that could hold {image.path}",
            hint=f"it contains reads of {devices}" if by_device else "it contains no reads",
        )
    array = np.zeros(len(chosen.reads), READ_DTYPE)
    array["time_ns"] = [one.time_ns for one in chosen.reads]
    array["offset_bytes"] = chosen.offset_bytes
    array["length_bytes"] = [one.length_bytes for one in chosen.reads]
    commands: dict[bytes, int] = {}
    numbers = [commands.setdefault(one.command, len(commands)) for one in chosen.reads]
    used = dict.fromkeys(one.device.decode(errors="replace") for one in chosen.reads)
    return Located(
        header={**header, "image": image.path.name, "devices": " ".join(used)},
        files=image.files,
        found=find_files(image.files, array, exact=chosen.exact),
        times_ns=array["time_ns"],
        pids=np.array([one.pid for one in chosen.reads], np.int64),
        commands=np.array(numbers, np.int64),
        command_names=list(commands),
        lost=lost,
    )


def _loops(image: MappedImage, by_device: Mapping[bytes, list[DeviceRead]]) -> _Chosen | None:
    """Return the reads of the loop devices that one of the image's squashfs is mounted from."""
    placed: list[tuple[int, DeviceRead, int]] = []
    for device, reads in by_device.items():
        if not _LOOP.match(device):
            continue
        fits = [
            (_fit(image, place.offset_bytes, reads), place.offset_bytes)
            for place in image.places
            if max(one.offset_bytes for one in reads) < place.size_bytes
        ]
        share, base = max(fits, default=(0.0, 0))
        if share >= _LEAST_FIT:
            placed += [(one.time_ns, one, base + one.offset_bytes) for one in reads]
    if not placed:
        return None
    # Those of one device are in order; Python's sort keeps it where the log has no times.
    placed.sort(key=lambda item: item[0])
    return _Chosen([one for _, one, _ in placed], [offset for _, _, offset in placed], True)


def _fit(image: MappedImage, base_bytes: int, reads: list[DeviceRead]) -> float:
    """Return which share of reads begins where a block does, if the device begins at a place.

    Reads of the tables are ignored: they are not in the map of files.
    """
    import numpy as np

    starts = image.files.extents.extents["offset_bytes"]
    starts = starts[starts >= base_bytes]
    offsets = np.array([one.offset_bytes for one in reads]) + base_bytes
    if not starts.size:
        return 0.0
    place = np.searchsorted(starts, offsets)
    found = place < starts.size
    distance = starts[np.minimum(place, starts.size - 1)] - offsets
    return _share(found, distance < _DEVICE_BLOCK_BYTES)


def _share(counted: NDArray[np.bool_], good: NDArray[np.bool_]) -> float:
    total = int(counted.sum())
    return int((counted & good).sum()) / total if total else 0.0


def _medium(
    image: MappedImage, by_device: Mapping[bytes, list[DeviceRead]], from_partition: bool
) -> _Chosen | None:
    """Return the reads of the disk that most was read of within the image's squashfs."""
    from optimizer.images.partitions import partition_offsets

    partitions = partition_offsets(image.path) if from_partition else {}
    disks: dict[bytes, list[tuple[int, DeviceRead, int]]] = {}
    for device, reads in by_device.items():
        if _NO_MEDIUM.match(device):
            continue
        disk, base = device, 0
        partition = _PARTITION.match(device)
        if partition is not None:
            disk = partition[1] or partition[3]
            if from_partition:
                number = int(partition[2] or partition[4])
                if number not in partitions:
                    continue
                base = partitions[number]
        disks.setdefault(disk, []).extend(
            (one.time_ns, one, base + one.offset_bytes) for one in reads
        )
    inside = [(place.offset_bytes, place.offset_bytes + place.size_bytes) for place in image.places]
    inside = inside or [(0, image.size_bytes)]

    def hits(placed: list[tuple[int, DeviceRead, int]]) -> int:
        return sum(
            one.length_bytes
            for _, one, offset in placed
            if any(start <= offset < end for start, end in inside)
        )

    best = max(disks.values(), key=hits, default=[])
    if not hits(best):
        return None
    best.sort(key=lambda item: item[0])
    return _Chosen([one for _, one, _ in best], [offset for _, _, offset in best], False)
