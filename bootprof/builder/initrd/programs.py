# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Programs of the root tree in an initrd archive, with the libraries that they are linked with."""

from __future__ import annotations

import io
from pathlib import Path

from bootprof.builder.roottree import RootTree
from bootprof.errors import FormatError, InputError

# Where the dynamic linker looks, besides the folders of an architecture below them.
LIBRARY_FOLDERS = ("usr/lib", "lib", "usr/lib64", "lib64")
ARCHITECTURES = {"amd64": "x86_64-linux-gnu", "i386": "i386-linux-gnu"}
# Of the C library: every initrd that has a program has them.
ALWAYS_THERE = ("ld-linux", "libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so")
# A program with more than that is nothing for an initrd.
MOST_LIBRARIES = 60


def add_program(tree: RootTree, path: str, staging: Path, arch: str) -> None:
    """Copy a program of a root tree, and its libraries, into a staged archive.

    Args:
        tree: The root tree.
        path: The program, as ``usr/sbin/e2fsck``.
        staging: Folder that becomes the archive.
        arch: Debian architecture of the tree.

    Raises:
        InputError: The tree has no such program, or not one of its libraries.
        FormatError: It is no program of Linux.
    """
    if not tree.is_file(path):
        raise InputError(
            f"{tree.error(path, 'not in the root tree')}",
            hint=f"install the package that has {path.rpartition('/')[2]}",
        )
    _copy(tree, path, staging, 0o755)
    wanted, done = needed(tree.read_file(path), path), set[str]()
    while wanted:
        name = wanted.pop()
        if name in done or name.startswith(ALWAYS_THERE):
            continue
        done.add(name)
        if len(done) > MOST_LIBRARIES or "/" in name:
            raise FormatError(f"{path}: needs too many libraries, or one with a path: {name!r:.60}")
        library = find_library(tree, name, arch)
        if library is None:
            raise InputError(f"{path}: the root tree does not have its library {name!r:.60}")
        content = _copy(tree, library, staging, 0o644)
        wanted += needed(content, library)


def find_library(tree: RootTree, name: str, arch: str) -> str | None:
    """Return the path of a library in a root tree, or None."""
    for folder in LIBRARY_FOLDERS:
        for path in (f"{folder}/{ARCHITECTURES[arch]}/{name}", f"{folder}/{name}"):
            if tree.is_file(path):
                return path
    return None


def needed(content: bytes, name: str) -> list[str]:
    """Return the libraries that a program or a library is linked with.

    Raises:
        FormatError: It is none.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(io.BytesIO(content))
        return [
            str(tag.needed)  # type: ignore[attr-defined] # made when the tag is read
            for section in file.iter_sections()
            if isinstance(section, DynamicSection)
            for tag in section.iter_tags("DT_NEEDED")
        ]
    except (ELFError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise FormatError(f"{name}: no program of Linux: {error}") from None


def _copy(tree: RootTree, path: str, staging: Path, mode: int) -> bytes:
    content = tree.read_file(path)
    target = staging / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(mode)
    return content
