# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Compressed blocks that are kept from one squashfs to the next.

A changed file needs a new squashfs, but nearly all of its blocks are those of the one before.
``bootprof/builder/blocks.c``, loaded into mksquashfs, looks them up instead of compressing them
again. The bytes of the squashfs are the same with and without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof.builder import store
from bootprof.errors import ToolError
from bootprof.process import run
from bootprof.sources import BLOCKS_LIBRARY

# Whose functions the library stands in for; others are fast, or not called block by block.
COMPRESSORS = ("xz", "zstd")
# A store that is larger than this and this many times the squashfs begins anew.
LIMIT_BYTES = 2 << 30
LIMIT_TIMES = 3


@contextmanager
def kept(cache: Path, compressor: str, squashfs: Path) -> Iterator[dict[str, str]]:
    """Let mksquashfs use and keep compressed blocks.

    Args:
        cache: Where the blocks are kept. One build at a time works in it.
        compressor: By its name in mksquashfs.
        squashfs: Image that is being made.

    Yields:
        The variables for its environment: none where it cannot be done, which costs time only.
    """
    library = obtain_library(cache) if compressor in COMPRESSORS else None
    if library is None:
        yield {}
        return
    blocks = cache.resolve() / "compressed-blocks"
    before = os.environ.get("LD_PRELOAD", "")
    yield {
        "BOOTPROF_BLOCKS": str(blocks),
        "LD_PRELOAD": f"{library.resolve()} {before}".rstrip(),
    }
    limit_bytes = max(LIMIT_BYTES, LIMIT_TIMES * squashfs.stat().st_size)
    if blocks.exists() and blocks.stat().st_size > limit_bytes:
        blocks.unlink()


def obtain_library(cache: Path) -> Path | None:
    """Compile the library, or find the one made before; None if it cannot be compiled or loaded."""
    # The dynamic linker takes both for the end of a name.
    if shutil.which("gcc") is None or set(str(cache.resolve())) & set(" :"):
        return None

    def make(target: Path) -> None:
        compile_to = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(target)]
        run([*compile_to, BLOCKS_LIBRARY, "-ldl", "-lpthread"])

    try:
        return store.obtain(cache, "blocks", store.digest_of(BLOCKS_LIBRARY), make, ".so")[0]
    except ToolError:
        return None
