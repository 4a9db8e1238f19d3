# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrds of a finished ISO: readahead and quick probes added, drivers left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootprof import progress
from bootprof.boot.entries import find_entries
from bootprof.boot.volumes import Volume
from bootprof.builder.initrd import foreign
from bootprof.builder.initrd.foreign import Recognized, Trim
from bootprof.builder.initrd.readahead import ReadaheadRequest, make_list
from bootprof.builder.initrd.repack import drivers_in
from bootprof.errors import InputError
from bootprof.rewrite import has_hfsplus
from optimizer.images.image import Image, open_image

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


@dataclass(frozen=True)
class Changes:
    """What is changed in initrds.

    Attributes:
        request: What is read ahead; None for nothing.
        quick_probes: Whether probes are kept off the medium's far end.
        trim: Drivers that are left out, where the root has them; None for none.
    """

    request: ReadaheadRequest | None = None
    quick_probes: bool = False
    trim: Trim | None = None

    @property
    def title(self) -> str:
        """What is changed, for a person."""
        named = {
            "readahead": self.request is not None,
            "quick probes": self.quick_probes,
            "fewer drivers": self.trim is not None,
        }
        return ", ".join(name for name, chosen in named.items() if chosen)


def changed(
    initrds: tuple[IsoInitrd, ...],
    changes: Changes,
    squashfs: Path,
    path: bytes,
    folder: Path,
    *,
    keep_sizes: bool,
) -> Mapping[bytes, Path]:
    """Write initrds that read ahead from a squashfs, probe its medium quickly, or are smaller.

    If an initrd keeps its size, nothing else moves in the ISO. That takes up to a minute where the
    quick level of compression is not enough, and so is tried only for an ISO that xorriso cannot
    write again without a loss.

    Args:
        initrds: The initrds.
        changes: What is changed.
        squashfs: The squashfs as it will be in the ISO.
        path: Its path in the ISO.
        folder: Where the new initrds go.
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
    content = None if changes.request is None else make_list(changes.request, squashfs)
    drivers = drivers_in(open_image(squashfs).layout().paths) if changes.trim else set()
    # All are of one ISO.
    slow = keep_sizes and has_hfsplus(initrds[0].volume.image)
    for number, each in enumerate(initrds):
        name = each.path.encode(errors="surrogateescape")
        old = each.content(folder)
        if old in known:
            written[name] = known[old]
            continue
        kind = each.recognized.kind.title
        with progress.step(f"{changes.title} in {each.path} ({kind})") as update:
            new, added = old, b""
            if changes.trim is not None:
                new = foreign.without_drivers(old, each.path, changes.trim, drivers) or old
            if content is not None or changes.quick_probes:
                archive = folder / f"added{number}"
                quick = changes.quick_probes
                foreign.make_archive(
                    each.recognized, content, path, archive, epoch=EPOCH, quick_probes=quick
                )
                added = archive.read_bytes()
            fitted = None
            if keep_sizes and new is old:
                fitted = foreign.fitted(old, each.path, added, slow=slow)
            result = foreign.joined(new, added) if fitted is None else fitted
            target = folder / f"initrd{number}"
            target.write_bytes(result)
            update(
                f"{len(old) / 1e6:.1f} MB, now {len(result) / 1e6:.1f} MB"
                if fitted is None
                else "compressed again, its size is the same"
            )
        written[name] = known[old] = target
    return written
