# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Where the files lie that bootprof compiles or copies into an image.

Everything that runs in a guest or in an image, and the plugin that serves an image like a slow
drive, is compiled when it is needed. In a checkout the kernel module and the BPF tracer are
folders of the top level; a wheel carries them inside the package, because a wheel must not
install top-level folders named ``kmod`` and ``ebpf``. (pyproject.toml maps them.)

The folders may be read-only and shared by several users: compile into a folder of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE = Path(__file__).parent


def find_folder(name: str, package: Path = _PACKAGE) -> Path:
    """Return a folder that is at the top level of a checkout and in the package of a wheel.

    Args:
        name: The name of the folder at the top level.
        package: The folder of the package ``bootprof``.
    """
    installed = package / "native" / name
    return installed if installed.is_dir() else package.parent / name


# The kernel module, with its Kbuild.
KERNEL_MODULE: Final = find_folder("kmod")
# bootprof-trace, the BPF tracer, with its Makefile (BUILD= names the folder for what it makes).
TRACER: Final = find_folder("ebpf")
# Agent, watcher, readahead, and what goes into the initrd or the root of an image.
GUEST: Final = _PACKAGE / "guest"
# The program that copies live media, in a live system and on a host, and the folder of its parts.
LIVE_PARTS: Final = GUEST / "live"
LIVE_TOOL: Final = LIVE_PARTS / "bootprof-live"
# What mounts and runs the builder of a key.
KEY_TOOL: Final = GUEST / "key/bootprof"
# The plugin for nbdkit that serves an image like a drive.
DRIVE_PLUGIN: Final = _PACKAGE / "boot/drive.c"
# The library that lets mksquashfs use compressed blocks again.
BLOCKS_LIBRARY: Final = _PACKAGE / "builder/blocks.c"
