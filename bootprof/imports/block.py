"""Block traces of bootprof itself: ``blocktrace.tsv`` of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.errors import InputError
from bootprof.files import file_digest
from bootprof.imports import Import
from bootprof.imports.common.source import Source

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located

_MAGIC = b"#bootprof-blocktrace "


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
    if image is not None and image.is_file() and trace.image_sha256:
        same = image.stat().st_size == trace.image_bytes
        if not same or file_digest(image) != trace.image_sha256:
            raise InputError(
                f"{source.name}: is of another image than {image}: {trace.image}, "
                f"{trace.image_bytes} bytes",
                hint="an image that was built again has to be profiled again",
            )
    return locate_files(Recording(image=image, block_trace=trace))


IMPORT = Import(
    name="block",
    summary="blocktrace.tsv of a profile",
    gives="block",
    record="bootprof profile IMAGE --backend block",
    looks_like=lambda source: source.head.startswith(_MAGIC),
    locate=_locate,
)
