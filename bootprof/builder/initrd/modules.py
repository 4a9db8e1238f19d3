# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Kernel modules of the root tree in an initrd archive, for a script that loads them by insmod.

The initrd of a root tree has the modules that its own tools chose. Its indexes of modules name no
others, so modprobe does not find what an archive adds; insmod does, in the right order.

Format: modules.dep(5).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bootprof.builder.roottree import RootTree
from bootprof.errors import InputError

# In the initrd; a script loads what is there in the order of the names.
FOLDER = "usr/lib/bootprof/modules"


def add_modules(tree: RootTree, release: str, names: Iterable[str], staging: Path) -> list[str]:
    """Copy modules, and those that they need, into a staged archive.

    Args:
        tree: The root tree.
        release: Of its kernel.
        names: Of the modules, without folder and suffix. What is built into the kernel is skipped.
        staging: Folder that becomes the archive.

    Returns:
        The names of the copied files, in the order in which they have to be loaded.

    Raises:
        InputError: The kernel has no such module.
    """
    base = f"lib/modules/{release}"
    needs: dict[str, list[str]] = {}
    for line in _lines(tree, f"{base}/modules.dep"):
        module, colon, others = line.partition(":")
        if colon:
            needs[module] = others.split()
    known = {_name(module): module for module in needs}
    builtin = {_name(line) for line in _lines(tree, f"{base}/modules.builtin")}
    ordered: dict[str, None] = {}
    for name in names:
        if name in builtin:
            continue
        if name not in known:
            raise InputError(
                f"{tree.path}: kernel {release} has no module {name}",
                hint="take a kernel that has it, or another root.format",
            )
        # The first one that a module is listed with needs all others.
        ordered.update(dict.fromkeys([*reversed(needs[known[name]]), known[name]]))
    copied = []
    for number, module in enumerate(ordered):
        file = f"{number:02d}-{PurePosixPath(module).name}"
        target = staging / FOLDER / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tree.read_file(f"{base}/{module}"))
        target.chmod(0o644)
        copied.append(file)
    return copied


def _lines(tree: RootTree, path: str) -> list[str]:
    if not tree.is_file(path):
        return []
    return tree.read_file(path).decode(errors="surrogateescape").splitlines()


def _name(path: str) -> str:
    """Return the name of a module, as the kernel writes it: crc32c_intel for crc32c-intel.ko.xz."""
    return PurePosixPath(path).name.partition(".")[0].replace("-", "_")
