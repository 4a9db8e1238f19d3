# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A finished image with its file system in another order: the image is copied, and verified.

The file system is written over the old one where it fits, so that not one other byte of the image
changes. Where it does not, xorriso replaces the file in an ISO, and keeps its boot records.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from bootprof import progress
from bootprof.checksums import Covering, renew, write_content
from bootprof.errors import BootprofError, InputError, MixedError, ToolError
from bootprof.files import replacing, scratch_folder
from bootprof.process import run
from bootprof.repacking import repack
from bootprof.units import quantity
from optimizer.formats.text import printable
from optimizer.images.image import Image
from optimizer.images.iso9660 import Region, content_pieces, read_iso
from optimizer.images.layout import FileType, Layout
from optimizer.images.reorder import Reordered, Wanted, reorder, repacking, unequal

# A squashfs is padded to this, and a file of an ISO to its sector.
PADDING_BYTES = 4096
# LiveOS/rootfs.img in squashfs.img, as kiwi and older Fedora have it, is all of the content.
NESTED_SHARE, NESTED_FILES = 0.9, 4
SECTOR_BYTES = 2048
COPY_BYTES = 1 << 20

Way = Literal["whole", "in place", "xorriso", "xorriso without HFS+"]
WAYS = {
    "whole": "the image is the file system",
    "in place": "written over the old one; nothing else moves in the image",
    "xorriso": "replaced in the ISO by xorriso, which keeps its boot records",
    "xorriso without HFS+": "replaced in the ISO by xorriso, which keeps its boot records but not "
    "the HFS+ file system that old Macs boot from",
}
XORRISO = ("xorriso", "-return_with", "FAILURE", "32", "-indev")
# Is handed the new file system, a folder, and whether the image is written in place if the files
# keep their sizes; returns other files of the ISO to replace.
Additions = Callable[[Path, Path, bool], Mapping[bytes, Path]]


@dataclass(frozen=True)
class Rewritten:
    """What a rewriting did.

    Attributes:
        reordered: Figures of the file system.
        way: How it got into the image.
        covering: Checksums that were renewed, and signatures that no longer match.
    """

    reordered: Reordered
    way: Way
    covering: Covering

    def sentences(self) -> list[str]:
        """Say for a person what was done."""
        figures = self.reordered
        change = figures.size_bytes - figures.size_before_bytes
        said = [
            f"{figures.files} files, {quantity(figures.placed_bytes, 'bytes')} placed; "
            f"{quantity(figures.recompressed_bytes, 'bytes')} compressed again; "
            f"{len(figures.missing)} paths are not on the image",
            f"{WAYS[self.way]} ({change:+d} bytes)",
        ]
        renewed = [printable(path) for path in self.covering.lists]
        renewed += ["the implanted MD5 of the ISO"] if self.covering.implanted else []
        if renewed:
            said.append(f"checksums renewed: {', '.join(renewed)}")
        if self.covering.signatures:
            said.append(f"no longer match: {'; '.join(self.covering.signatures)}")
        return said


def refuse_same(image: Path, target: Path) -> None:
    """Refuse to write an image over the one that is read.

    Raises:
        InputError: They are the same file.
    """
    if target.exists() and target.samefile(image):
        raise InputError(
            f"{target}: is the image that is read", hint="choose another name with --output"
        )


def rewrite(
    image: Image,
    wanted: Wanted,
    target: Path,
    covering: Covering,
    additions: Additions | None = None,
) -> Rewritten:
    """Write an image whose chosen file system is in another order.

    Args:
        image: The image.
        wanted: The order.
        target: Image to write; it appears when it is whole and verified.
        covering: The checksums that :func:`bootprof.checksums.checked_covering` found in the image.
        additions: Makes other files of the ISO that depend on the new order.

    Raises:
        InputError: The file system has no order to change, or does not fit into this image; or
            there are additions, and the image is no ISO.
        BootprofError: The result differs from the original: an error of bootprof.
    """
    layout = image.layout()
    place = image.chosen
    assert place is not None  # layout() raised if not
    bare = place.offset_bytes == 0 and image.iso is None
    refuse_nested(image, layout)
    in_iso = image.iso is not None and bool(place.path)
    if additions is not None and not in_iso:
        raise InputError(
            f"{image.path}: files can be replaced in an ISO only",
            hint="omit --readahead",
        )
    room = room_of(image)
    with replacing(target) as temporary, scratch_folder() as folder:
        written = temporary.with_name(f"{temporary.name}.filesystem")
        try:
            with progress.step(f"{layout.format} in another order") as update:
                limited = replace(wanted, room_bytes=None if bare else room)
                done = write_order(image, limited, written)
                update(f"{done.placed_bytes / 1e6:.1f} MB placed")
            with progress.step("comparing every file with the original"):
                verify(image, written)
            if bare:
                written.replace(temporary)
                return Rewritten(done, "whole", covering)
            fits = done.size_bytes <= room
            others = additions(written, folder, fits) if additions is not None else {}
            if fits and same_sizes(image, others):
                with progress.step(f"image {target}"):
                    overwrite(image, written, room, temporary)
                    overwrite_files(image, others, temporary)
                    renew(image, covering, temporary)
                return Rewritten(done, "in place", covering)
            if not in_iso:
                raise InputError(
                    f"{image.path}: the file system grew from {room} to {done.size_bytes} bytes, "
                    "and what follows it in a disk image cannot be moved",
                    hint="reorder the file system by itself, and put it into the image",
                )
            with progress.step(f"image {target}, by xorriso"):
                way = replace_in_iso(image, {place.path: written, **others}, temporary)
                renew(image, covering, temporary)
            return Rewritten(done, way, covering)
        finally:
            written.unlink(missing_ok=True)


def refuse_nested(image: Image, layout: Layout) -> None:
    """Refuse a file system that only holds the image of another one.

    Raises:
        InputError: It does.
    """
    files = layout.inodes["type"] == FileType.FILE
    sizes = np.where(files, layout.inodes["size_bytes"], 0)
    if sizes.size and sizes.max() > NESTED_SHARE * sizes.sum() and files.sum() <= NESTED_FILES:
        name = layout.paths_of(int(sizes.argmax()))[0]
        if name.endswith((b".img", b".ext4", b".raw", b".erofs", b".squashfs")):
            raise InputError(
                f"{image.path}: {printable(name)} is a file system in the file system, whose "
                "blocks have no order that could be changed",
                hint="build the image with the files in the squashfs itself",
            )


def room_of(image: Image) -> int:
    """Return how many bytes the chosen file system may take without moving anything else."""
    place = image.chosen
    assert place is not None
    if image.iso is not None:
        regions = [region for region in image.iso.at(place.offset_bytes) if region.kind == "file"]
        if regions:
            length = sum(region.length_bytes for region in regions)
            return -(-length // SECTOR_BYTES) * SECTOR_BYTES
    padded = -(-place.size_bytes // PADDING_BYTES) * PADDING_BYTES
    return min(padded, image.size_bytes - place.offset_bytes)


def write_order(image: Image, wanted: Wanted, target: Path) -> Reordered:
    """Write the file system of an image in another order.

    One that no order of its blocks makes faster is packed again, if its format has a way.

    Raises:
        InputError: It cannot be brought into another order.
        UnsupportedError: It cannot be packed again here.
    """
    layout = image.layout()
    with image.path.open("rb") as source:
        try:
            with target.open("w+b") as stream:
                return reorder(layout, source, wanted, stream)
        except MixedError as mixed:
            found = repacking(layout, source, wanted)
            if found is None:
                raise
            progress.note(f"bootprof: {mixed.message}")
            return repack(image, found, wanted, target)


def verify(image: Image, written: Path) -> None:
    """Compare a written file system with the original.

    Raises:
        BootprofError: They differ.
    """
    layout = image.layout()
    place = image.chosen
    assert place is not None
    with image.path.open("rb") as one, written.open("rb") as other:
        different = unequal(layout, one, place.format.read(written, 0), other)
    if different is not None:
        raise BootprofError(
            f"{image.path}: the file system in another order is not the same: {different}",
            hint="this is an error of bootprof; nothing was written",
        )


def overwrite(image: Image, written: Path, room: int, target: Path) -> None:
    """Copy an image, with another file system in the place of the old one, filled up with zeros."""
    place = image.chosen
    assert place is not None
    shutil.copyfile(image.path, target)
    with target.open("r+b") as stream, written.open("rb") as source:
        stream.seek(place.offset_bytes)
        shutil.copyfileobj(source, stream, COPY_BYTES)
        left = place.offset_bytes + room - stream.tell()
        stream.write(bytes(max(0, min(left, image.size_bytes - stream.tell()))))


def same_sizes(image: Image, replacements: Mapping[bytes, Path]) -> bool:
    """Return whether files have the size of those that they replace in an ISO."""
    files = image.iso.files() if image.iso is not None else {}
    return all(
        sum(region.length_bytes for region in files[path]) == file.stat().st_size
        for path, file in replacements.items()
    )


def overwrite_files(image: Image, replacements: Mapping[bytes, Path], target: Path) -> None:
    """Write files of the same size over those of a copied ISO."""
    files = image.iso.files() if image.iso is not None else {}
    with target.open("r+b") as stream:
        for path, file in replacements.items():
            write_content(stream, files[path], file.read_bytes())


def replace_in_iso(image: Image, replacements: Mapping[bytes, Path], target: Path) -> Way:
    """Replace files of an ISO; boot records and partitions are kept.

    Args:
        image: The ISO.
        replacements: What becomes the content of each path.
        target: ISO to write.

    Returns:
        How it was done.

    Raises:
        BootprofError: xorriso wrote something else.
        ToolError: xorriso failed.
    """
    assert image.iso is not None
    maps = [
        word
        for path, file in replacements.items()
        for word in ("-map", file, path.decode(errors="surrogateescape"))
    ]
    begin = (*XORRISO, image.path, "-outdev", target)
    replay = ("-boot_image", "any", "replay", "-padding", "0")
    way: Way = "xorriso"
    try:
        run([*begin, *replay, *maps, "-commit"])
    except ToolError as error:
        # For some ISOs with HFS+, such as those of grub-mkrescue, it makes partitions that overlap,
        # which it refuses itself.
        if not has_hfsplus(image.path):
            raise refused(image, error) from None
        way = "xorriso without HFS+"
        target.write_bytes(b"")
        try:
            run([*begin, *replay, "-hfsplus", "off", *maps, "-commit"])
        except ToolError as second:
            raise refused(image, second) from None
    before, after = image.iso.files(), read_iso(target).files()
    # xorriso writes their own place into some boot images.
    patched = {each.offset_bytes for each in image.iso.regions if each.kind.startswith("boot ")}
    with image.path.open("rb") as old, target.open("rb") as new:
        for path, regions in before.items():
            if path not in replacements:
                same = regions[0].offset_bytes in patched or same_content(
                    old, regions, new, after.get(path, ())
                )
            else:
                with replacements[path].open("rb") as file:
                    length = replacements[path].stat().st_size
                    whole = [Region("file", path, 0, length)]
                    same = same_content(file, whole, new, after.get(path, ()))
            if not same:
                raise BootprofError(
                    f"{image.path}: xorriso did not write {printable(path)} as it should"
                )
    return way


def has_hfsplus(iso: Path) -> bool:
    """Return whether xorriso would write an HFS+ file system into an ISO again."""
    return b"-hfsplus on" in run([*XORRISO, iso, "-report_system_area", "cmd"])


def refused(image: Image, error: ToolError) -> ToolError:
    """Return the error for an ISO that xorriso cannot write again."""
    return ToolError(
        f"{image.path}: xorriso cannot write this ISO again: {error.hint}",
        hint="run bootprof reorder on its file system alone, and let the tool that made the ISO "
        "make it of the result",
    )


def same_content(
    one: BinaryIO, regions: Sequence[Region], other: BinaryIO, others: Sequence[Region]
) -> bool:
    """Return whether two files have the same content.

    Args:
        one: What has the first one.
        regions: Where it lies.
        other: What has the second one.
        others: Where it lies.
    """
    return sum(each.length_bytes for each in regions) == sum(
        each.length_bytes for each in others
    ) and all(
        first == second
        for first, second in zip(pieces_of(one, regions), pieces_of(other, others), strict=True)
    )


def pieces_of(stream: BinaryIO, regions: Sequence[Region]) -> Iterator[bytes]:
    """Return the content of a file in an image, in pieces of a size that only the file decides."""
    rest = b""
    for data in content_pieces(stream, regions):
        rest += data
        if len(rest) >= COPY_BYTES:
            yield rest[:COPY_BYTES]
            rest = rest[COPY_BYTES:]
    if rest:
        yield rest
