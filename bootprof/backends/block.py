# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The block trace alone: reads of the medium, mapped to files with the layout of the image.

It needs nothing in the guest, so it works for any image that boots in QEMU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootprof.backends import NOTHING, Backend
from bootprof.backends.block_files import locate, needed_image
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog


def locate_files(recording: Recording) -> Located:
    """Find the files of a block trace, with any confidence.

    Raises:
        InputError: The block trace or the image is missing, or the trace is of another image.
        FormatError: The image is corrupt, or of an unknown kind.
    """
    from optimizer.images.image import check_trace

    trace = recording.block_trace
    if trace is None:
        raise InputError(
            "block trace: not recorded", hint="record the boot again with bootprof profile"
        )
    image = needed_image(recording.image, "block trace")
    check_trace(image.image, trace)
    header = {"backend": "block"}
    if trace.image_sha256:
        header["image_sha256"] = trace.image_sha256
    return locate(image, trace.reads, header)


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="block",
    summary="reads of the medium, mapped to files, each with a confidence",
    starts="power-on: what the boot loader reads is included",
    needs="an image that boots in QEMU, unchanged",
    blind_to="processes; reads that the page cache serves; which file of a shared block was wanted",
    agent=NOTHING,
    read=read,
)
