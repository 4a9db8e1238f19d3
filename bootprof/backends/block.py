"""The block trace alone: reads of the medium, told into files with the help of the image.

It needs nothing of the guest, so it works for any image that boots in QEMU.
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
    """Find the files of a block trace, whatever their confidence.

    Raises:
        InputError: There is no block trace or no image, or they are not of each other.
        FormatError: The image is corrupt, or of a kind that is not known.
    """
    from optimizer.images.image import check_trace

    trace = recording.block_trace
    if trace is None:
        raise InputError("block trace: not recorded", hint="only images served by us have one")
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
    summary="block trace: files found by the blocks that were read, each with a confidence; "
    "works on any image, changed or not",
    starts="power-on: what the boot loader reads is in it too",
    agent=NOTHING,
    read=read,
)
