# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Block reads in the log of a kernel before 5.14 (``vm.block_dump``), recorded in the guest.

:mod:`bootprof.imports.block_dump` reads the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootprof.backends import Backend

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

LOG_NAME = "block_dump.log"


def locate_files(recording: Recording) -> Located:
    """Find the files that the log covers, with any confidence.

    Raises:
        InputError: There is no log or no image, or they have nothing to do with each other.
        FormatError: The log has no reads, or the image is corrupt.
    """
    from bootprof.imports.block_dump import IMPORT
    from bootprof.imports.common.blocks import locate_recorded

    return locate_recorded(recording, LOG_NAME, IMPORT, "vm.block_dump is gone since Linux 5.14")


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="block_dump",
    summary="reads of the block layer, from the kernel's log, mapped to files",
    starts="the first process, before the root is mounted",
    needs="a profiling image and Linux before 5.14",
    blind_to="reads by the boot loader; reads that the page cache serves",
    agent="block_dump",
    recorded=(LOG_NAME,),
    read=read,
)
