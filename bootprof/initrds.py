# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrds of a finished ISO, with readahead and quick probes added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootprof import progress
from bootprof.boot.entries import find_entries
from bootprof.boot.volumes import Volume
from bootprof.builder.initrd import foreign
from bootprof.builder.initrd.foreign import Recognized
from bootprof.builder.initrd.readahead import ReadaheadRequest, make_list
from bootprof.errors import InputError
from bootprof.rewrite import has_hfsplus
from optimizer.images.image import Image

EPOCH = 0


@dataclass(frozen=True)
class IsoInitrd:
    """An initrd that boot entries of an ISO use.

    Attributes:
        path: Its path in the ISO.
        volume: The file system of the ISO.
        recognized: Its kind.
    """

    path: str
    volume: Volume
    recognized: Recognized

    def content(self, folder: Path) -> bytes:
        """Read it, by a temporary file in a folder."""
        return read(self.volume, self.path, folder)


def read(volume: Volume, path: str, folder: Path) -> bytes:
    """Read a file of an image, by a temporary file in a folder."""
    copied = folder / "initrd"
    volume.copy(path, copied)
    content = copied.read_bytes()
    copied.unlink()
    return content


def find_initrds(image: Image, folder: Path) -> tuple[IsoInitrd, ...]:
    """Return the initrds of an ISO that a program can be added to.

    Of an entry with several, it is the last. Initrds of an unknown kind, as of an installer, are
    left out if there are others.

    Args:
        image: The image.
        folder: For temporary files.

    Raises:
        InputError: There is none.
        FormatError: The directories of the ISO are damaged.
    """
    found: dict[str, IsoInitrd] = {}
    reasons: dict[str, InputError] = {}
    for entry in find_entries(image.path):
        if not entry.initrds or entry.volume.regions is None:
            continue
        path = entry.initrds[-1]
        if path in found or path in reasons:
            continue
        try:
            recognized = foreign.recognize(
                read(entry.volume, path, folder), f"{image.path}: {path}"
            )
        except InputError as error:
            reasons[path] = error
        else:
            found[path] = IsoInitrd(path, entry.volume, recognized)
    if not found:
        if reasons:
            raise next(iter(reasons.values()))
        raise InputError(
            f"{image.path}: no boot entry has an initrd in the ISO, so nothing can be added to one",
            hint=foreign.HINT,
        )
    return tuple(found.values())


def with_additions(
    initrds: tuple[IsoInitrd, ...],
    request: ReadaheadRequest | None,
    squashfs: Path,
    path: bytes,
    folder: Path,
    *,
    quick_probes: bool,
    keep_sizes: bool,
) -> Mapping[bytes, Path]:
    """Write initrds that read ahead from a squashfs, or probe its medium quickly.

    If an initrd keeps its size, nothing else moves in the ISO. That takes up to a minute where the
    quick level of compression is not enough, and so is tried only for an ISO that xorriso cannot
    write again without a loss.

    Args:
        initrds: The initrds.
        request: What is read ahead; None for nothing.
        squashfs: The squashfs as it will be in the ISO.
        path: Its path in the ISO.
        folder: Where the new initrds go.
        quick_probes: Whether probes are kept off the medium's far end.
        keep_sizes: Whether the sizes of initrds count, because nothing else grows.

    Returns:
        The new initrd for each path in the ISO.

    Raises:
        InputError: The squashfs has none of the files.
        ToolError: A compiler is missing or failed.
    """
    written: dict[bytes, Path] = {}
    # Two names often have one content.
    known: dict[bytes, Path] = {}
    content = None if request is None else make_list(request, squashfs)
    what = " and ".join(["readahead"] * (content is not None) + ["quick probes"] * quick_probes)
    for number, each in enumerate(initrds):
        name = each.path.encode(errors="surrogateescape")
        old = each.content(folder)
        if old in known:
            written[name] = known[old]
            continue
        kind = each.recognized.kind.title
        with progress.step(f"{what} in {each.path} ({kind})") as update:
            archive, target = folder / f"added{number}", folder / f"initrd{number}"
            foreign.make_archive(
                each.recognized, content, path, archive, epoch=EPOCH, quick_probes=quick_probes
            )
            added, new = archive.read_bytes(), None
            if keep_sizes:
                slow = has_hfsplus(each.volume.image)
                new = foreign.fitted(old, each.path, added, slow=slow)
            target.write_bytes(foreign.joined(old, added) if new is None else new)
            update(
                f"{len(added) / 1e3:.0f} kB added"
                if new is None
                else "compressed again, its size is the same"
            )
        written[name] = known[old] = target
    return written
