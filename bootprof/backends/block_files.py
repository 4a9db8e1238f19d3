# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files found from block reads; all block backends make their bootlogs from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from bootprof.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from optimizer.blockmap import FileMap, FoundFiles
    from optimizer.formats.blocktrace import Reads
    from optimizer.formats.events import Bootlog
    from optimizer.images.image import FileSystem, Image

MEDIUM: Final = b"/run/live/medium"
"""Where the ISO itself is mounted in a Debian live system: paths of its files begin with this, so
that they are not taken for files of the root file system."""


@dataclass(frozen=True, eq=False)
class MappedImage:
    """An image, and which of its bytes belong to which files.

    Attributes:
        image: The image.
        files: What lies where.
    """

    image: Image
    files: FileMap

    @property
    def path(self) -> Path:
        """Path of the image."""
        return self.image.path

    @property
    def size_bytes(self) -> int:
        """Size of the image."""
        return self.image.size_bytes

    @property
    def places(self) -> tuple[FileSystem, ...]:
        """The file systems in the image; none in an ISO that holds plain files."""
        return self.image.places


@dataclass(frozen=True, eq=False)
class Located:
    """The files that a boot read, each with a confidence.

    Attributes:
        header: For the bootlog: who recorded, and what.
        files: What lies where on the image.
        found: What was read of it.
        times_ns: Time of each read.
        pids: Process of each read, 0 if it is not known.
        commands: Name of the process of each read, as positions in ``command_names``.
        command_names: Distinct names of processes.
        lost: Number of records that are missing from the recording.
    """

    header: Mapping[str, str]
    files: FileMap
    found: FoundFiles
    times_ns: NDArray[np.int64]
    pids: NDArray[np.int64]
    commands: NDArray[np.int64]
    command_names: list[bytes]
    lost: int = 0

    def bootlog(self, threshold: float | None = None) -> Bootlog:
        """Return the accesses to the files whose confidence reaches a threshold.

        One event for each piece of a file (a squashfs block, or the tail of the file) that was
        read whole, at the time of the first read that brought any of it.

        Args:
            threshold: From 0 to 1; None for the one that was found to be best.
        """
        import numpy as np

        from optimizer.blockmap import DEFAULT_THRESHOLD
        from optimizer.formats.events import EVENT_DTYPE, Bootlog, Operation

        least = DEFAULT_THRESHOLD if threshold is None else threshold
        confident = self.found.findings["confidence"] >= least
        touches = self.found.touches[confident[self.found.touches["file"]]]
        read, file = touches["read"], touches["file"]
        events = np.zeros(len(touches), EVENT_DTYPE)
        events["operation"] = Operation.BLOCK
        events["time_ns"] = self.times_ns[read]
        events["pid"] = self.pids[read]
        events["command"] = self.commands[read]
        events["offset_bytes"] = touches["file_offset_bytes"]
        events["length_bytes"] = touches["file_bytes"]
        distinct, first, number = np.unique(file, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        # Several file systems of one image may have the same path: the upper one hides the others.
        paths: dict[bytes, int] = {}
        file_systems: dict[bytes, int] = {}
        files = [self.files.files[index] for index in distinct[order].tolist()]
        path_of = np.array([paths.setdefault(item.path, len(paths)) for item in files], np.int64)
        system_of = np.array(
            [file_systems.setdefault(item.file_system, len(file_systems)) for item in files],
            np.int64,
        )
        inode_of = np.array([item.inode for item in files], np.uint64)
        events["path"] = path_of[rank[number]] if files else 0
        events["file_system"] = system_of[rank[number]] if files else 0
        events["inode"] = inode_of[rank[number]] if files else 0
        below = int(np.unique(self.found.touches["file"]).size - distinct.size)
        header = {
            **self.header,
            "confidence_threshold": f"{least:g}",
            "files_below_threshold": str(below),
        }
        return Bootlog(
            header=header,
            lost=self.lost,
            events=events,
            commands=list(self.command_names),
            file_systems=list(file_systems),
            paths=list(paths),
        )

    def write_confidence(self, stream: BinaryIO) -> None:
        """Write the table of all files that were touched, in the order of first access.

        A header line, then four fields separated by tabs: path (escaped as in bootlog.events),
        confidence from 0 to 1, bytes of the file that were read, bytes that it has.
        """
        from optimizer.formats.text import escape

        stream.write(b"#path\tconfidence\tbytes_covered\tbytes_total\n")
        for index in self.found.order().tolist():
            confidence, covered, total = self.found.findings[index].tolist()
            path = escape(self.files.files[index].path)
            stream.write(b"%b\t%.3f\t%d\t%d\n" % (path, confidence, covered, total))


def needed_image(path: Path | None, name: str) -> MappedImage:
    """Open the image of a recording that contains block reads only, and map its files.

    Args:
        path: The image that was booted; None if it is not given.
        name: What to call the recording in errors.

    Raises:
        InputError: There is no image.
        FormatError: It holds neither squashfs nor ISO 9660, or it is corrupt.
    """
    from bootprof import progress
    from optimizer.blockmap import map_files
    from optimizer.images.image import open_image

    if path is None:
        raise InputError(
            f"{name}: contains block reads only, and no image is given",
            hint="give the booted image with --image to map the reads to files",
        )
    if not path.is_file():
        raise InputError(f"{path}: no such image", hint="give the image that was booted: --image")
    image = open_image(path)
    layouts = image.layouts()
    for remark in image.remarks:
        progress.note(f"bootprof: {remark}")
    return MappedImage(image, map_files(layouts, image.iso, MEDIUM if layouts else b""))


def locate(
    image: MappedImage, reads: Reads, header: Mapping[str, str], *, exact: bool = False
) -> Located:
    """Find the files of reads that have no process.

    Args:
        image: The image that was read.
        reads: As for :func:`optimizer.blockmap.find_files`.
        header: For the bootlog.
        exact: As there.
    """
    import numpy as np

    from optimizer.blockmap import find_files

    unknown = np.zeros(len(reads), np.int64)
    return Located(
        header={**header, "image": os.fsdecode(image.path.name)},
        files=image.files,
        found=find_files(image.files, reads, exact=exact),
        times_ns=reads["time_ns"],
        pids=unknown,
        commands=unknown,
        command_names=[b""],
    )
