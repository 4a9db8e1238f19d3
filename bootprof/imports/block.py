# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Block traces of bootprof itself: ``blocktrace.tsv`` of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.source import Source
from optimizer.formats import TRACE_MAGIC

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located


def _locate(source: Source, image: Path | None) -> Located:
    """Find the files of a block trace.

    Raises:
        InputError: There is no image, or the trace is of another one.
        FormatError: The trace or the image is damaged.
    """
    from bootprof.backends import Recording
    from bootprof.backends.block import locate_files
    from optimizer.formats.blocktrace import read_block_trace

    source.stream.seek(0)
    trace = read_block_trace(source.stream, source.name)
    return locate_files(Recording(image=image, block_trace=trace))


IMPORT = Import(
    name="block",
    summary="blocktrace.tsv of a profile",
    gives="block",
    record="bootprof profile IMAGE --backend block",
    looks_like=lambda source: source.head.startswith(TRACE_MAGIC),
    locate=_locate,
)
