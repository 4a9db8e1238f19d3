# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is asked of a build, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.config import LiveConfig
from bootprof.builder.initrd.readahead import (
    ReadaheadRequest,
)
from bootprof.builder.media.contents import RootImage


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        config: The configuration.
        base: Folder that paths in the configuration are relative to.
        output: Folder for everything that is built.
        image: First image to write, or None for ``<output>/<name>.iso`` and the like.
        profiling: Add the profiler archive and start it.
        sort: Use the configured sort file if it exists.
        readahead: What the image reads ahead, or None.
        refresh: Bootstrap again, even if packages and archive addresses are unchanged.
    """

    config: LiveConfig
    base: Path
    output: Path
    image: Path | None = None
    profiling: bool = False
    sort: bool = True
    readahead: ReadaheadRequest | None = None
    refresh: bool = False


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    Attributes:
        images: The media, in the order of ``media.kinds``.
        roots: The root images on them, the lowest layer first.
        root: Root tree that it was packed from.
        sort: Sort file that ordered it, or None.
    """

    images: tuple[Path, ...]
    roots: tuple[RootImage, ...]
    root: Path
    sort: Path | None
