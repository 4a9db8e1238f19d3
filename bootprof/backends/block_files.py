"""Files that were found by the blocks that were read: what all block backends make bootlogs of."""

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

    from optimizer.blockmap import FileMap, Found
    from optimizer.formats.events import Bootlog
    from optimizer.images.iso9660 import SquashfsPlace

MEDIUM: Final = b"/run/live/medium"
"""Where the ISO itself is mounted in a Debian live system: paths of its files begin with this, so
that they are not taken for files of the root file system."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image whose files are known.

    Attributes:
        path: Of the image.
        size_bytes: Its size.
        places: The file systems of squashfs in it; none in an ISO that holds plain files.
        files: What lies where.
    """

    path: Path
    size_bytes: int
    places: tuple[SquashfsPlace, ...]
    files: FileMap


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
    found: Found
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

        A header line, then four fields separated by tabs: path (escaped as in a rich bootlog),
        confidence from 0 to 1, bytes of the file that were read, bytes that it has.
        """
        from optimizer.formats.text import escape

        stream.write(b"#path\tconfidence\tbytes_covered\tbytes_total\n")
        for index in self.found.order().tolist():
            confidence, covered, total = self.found.findings[index].tolist()
            path = escape(self.files.files[index].path)
            stream.write(b"%b\t%.3f\t%d\t%d\n" % (path, confidence, covered, total))


def open_image(path: Path) -> Image:
    """Find the files of an image: a squashfs, an ISO or a disk image, whoever built it.

    Raises:
        FormatError: It holds neither squashfs nor ISO 9660, or it is corrupt.
    """
    from optimizer.blockmap import map_files
    from optimizer.errors import FormatError
    from optimizer.images.iso9660 import is_iso, list_squashfs, read_iso
    from optimizer.images.squashfs.layout import read_layout

    if not path.is_file():
        raise InputError(f"{path}: no such image", hint="give the image that was booted: --image")
    places = list_squashfs(path)
    iso = read_iso(path) if is_iso(path) else None
    if not places and iso is None:
        raise FormatError(
            f"{path}: neither squashfs nor ISO 9660 is in this image",
            hint="other root file systems (erofs, ext4) cannot be told into files by their blocks",
        )
    layouts = [read_layout(path, place.offset_bytes) for place in places]
    files = map_files(layouts, iso, MEDIUM if places else b"")
    return Image(path, path.stat().st_size, tuple(places), files)


def needed_image(path: Path | None, name: str) -> Image:
    """Open the image of a recording that is of no use without.

    Raises:
        InputError: It is not at hand.
        FormatError: As :func:`open_image`.
    """
    if path is None:
        raise InputError(
            f"{name}: tells blocks, and files can only be found with the image that was booted",
            hint="give it with --image",
        )
    return open_image(path)


def locate(
    image: Image, reads: NDArray[np.void], header: Mapping[str, str], *, exact: bool = False
) -> Located:
    """Find the files of reads that have no process.

    Args:
        image: The image that was read.
        reads: As :func:`optimizer.blockmap.find_files` wants them.
        header: For the bootlog.
        exact: As there.
    """
    import numpy as np

    from optimizer.blockmap import find_files

    nobody = np.zeros(len(reads), np.int64)
    return Located(
        header={**header, "image": os.fsdecode(image.path.name)},
        files=image.files,
        found=find_files(image.files, reads, exact=exact),
        times_ns=reads["time_ns"],
        pids=nobody,
        commands=nobody,
        command_names=[b""],
    )
