# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A file system that is unpacked, and packed again with the wanted files first."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bootprof import progress
from bootprof.builder.roottree import Attributes, RootTree, open_tree
from bootprof.errors import BootprofError, FormatError, UnsupportedError
from bootprof.files import remove
from bootprof.process import run
from bootprof.units import quantity
from optimizer.formats.text import printable
from optimizer.images.image import Image
from optimizer.images.layout import Layout
from optimizer.images.reorder import (
    Reordered,
    Repacking,
    TreeEntry,
    Wanted,
    content_bytes,
    reorder,
)


def check_program(found: Repacking) -> None:
    """Check that the program has all that it needs, and that the tree can be unpacked.

    Raises:
        UnsupportedError: It does not, or it cannot.
    """
    listed = run([found.program, "--help"]).decode(errors="replace")
    missing = [word for word in found.needs if word not in listed]
    if missing:
        raise UnsupportedError(
            f"{found.program}: too old to pack the file system again: it has no "
            f"{', '.join(missing)}",
            hint=found.hint,
        )
    if os.geteuid() != 0:
        raise UnsupportedError(
            "to pack the file system again, with owners and devices, needs root",
            hint="run the command as root, or build the image again with the boot's files first",
        )


def check_room(layout: Layout, folder: Path) -> None:
    """Check that the tree and two images fit, whatever sizes an image states for its files.

    Raises:
        BootprofError: They do not.
    """
    needed = content_bytes(layout) + 2 * layout.size_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BootprofError(
            f"{folder}: {quantity(needed, 'bytes')} are needed to pack the file system again, and "
            f"{quantity(free, 'bytes')} are free",
            hint="write to another file system",
        )


def repack(image: Image, found: Repacking, wanted: Wanted, target: Path) -> Reordered:
    """Pack a file system again with the wanted files first, and then reorder it.

    Args:
        image: The image with the file system.
        found: How it is packed.
        wanted: The order.
        target: File system to write. The tree is unpacked beside it.

    Raises:
        UnsupportedError: The program is too old, or this is not root.
        BootprofError: There is no room for it.
    """
    place = image.chosen
    assert place is not None
    check_program(found)
    check_room(image.layout(), target.parent)
    unpacked, packed = (target.with_name(f"{target.name}.{name}") for name in ("tree", "packed"))
    try:
        with progress.step("packed again with the files of the boot first") as update:
            unpacked.mkdir(0o700)
            with open_tree(unpacked) as tree:
                unpack(found, tree)
            update("unpacked, packing")
            run([found.program, *found.arguments, packed, f"{unpacked}/"])
            with packed.open("r+b") as stream:
                found.finish(stream, packed)
            update(f"{packed.stat().st_size / 1e6:.1f} MB")
        layout = place.format.read(packed, 0)
        with packed.open("rb") as source, target.open("w+b") as stream:
            done = reorder(layout, source, wanted.of(layout), stream)
        before = image.layout().size_bytes
        return replace(done, size_before_bytes=before, recompressed_bytes=done.size_bytes)
    finally:
        remove(unpacked)
        packed.unlink(missing_ok=True)


def unpack(found: Repacking, tree: RootTree) -> None:
    """Write all entries into an empty tree, out of which no path leads."""
    folders: list[tuple[str, Attributes]] = []
    for entry in found.entries():
        path = os.fsdecode(entry.path)
        attributes = Attributes(stat.S_IMODE(entry.mode), entry.owner, entry.mtime_ns, entry.xattrs)
        if stat.S_ISDIR(entry.mode):
            if path:
                tree.make_folder(path)
            # What is written into a folder changes its time.
            folders.append((path, attributes))
            continue
        with refused(entry.path):
            write(entry, path, tree)
            if not entry.same_as:
                tree.set_attributes(path, attributes)
    for path, attributes in reversed(folders):
        with refused(os.fsencode(path)):
            tree.set_attributes(path, attributes)


@contextmanager
def refused(path: bytes) -> Iterator[None]:
    """Turn what no file system of this machine can hold into an error.

    Raises:
        FormatError: A name has a NUL, a time is out of range, or the like.
    """
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise FormatError(
            f"{printable(path)}: cannot be unpacked: {error}", hint="copy or build the image again"
        ) from None


def write(entry: TreeEntry, path: str, tree: RootTree) -> None:
    """Write an entry that is no folder, without its attributes."""
    if entry.same_as:
        tree.make_hard_link(path, os.fsdecode(entry.same_as))
    elif stat.S_ISREG(entry.mode):
        tree.write_file(path, entry.content)
    elif stat.S_ISLNK(entry.mode):
        tree.make_link(path, os.fsdecode(entry.link))
    else:
        tree.make_node(path, stat.S_IFMT(entry.mode) | 0o600, os.makedev(*entry.device))
