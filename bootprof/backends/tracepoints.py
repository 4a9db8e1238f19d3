# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The block tracepoints of the kernel, recorded in the guest.

:mod:`bootprof.imports.tracepoints` reads the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootprof.backends import Backend

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

LOG_NAME = "tracepoints.log"


def locate_files(recording: Recording) -> Located:
    """Find the files that the log covers, with any confidence.

    Raises:
        InputError: There is no log or no image, or they have nothing to do with each other.
        FormatError: The log has no reads, or the image is corrupt.
    """
    from bootprof.imports.common.blocks import locate_recorded
    from bootprof.imports.tracepoints import IMPORT

    return locate_recorded(recording, LOG_NAME, IMPORT, "tracefs has to be mounted in the guest")


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="tracepoints",
    summary="reads of the block layer, by the kernel's tracepoints, mapped to files",
    starts="the first process, before the root is mounted",
    needs="a profiling image and tracefs",
    blind_to="reads by the boot loader; reads that the page cache serves",
    agent="tracepoints",
    recorded=(LOG_NAME,),
    read=read,
)
