# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The manifest of an image: what it was built from."""

from __future__ import annotations

import json

from bootprof.builder import root
from bootprof.builder.request import BuildRequest, BuildResult
from bootprof.builder.root import Kernel
from bootprof.files import file_digest, write_output


def write_manifest(
    request: BuildRequest, result: BuildResult, kernel: Kernel, version: tuple[int, int, int]
) -> None:
    """Write the inputs of an image as JSON next to it."""
    sort = result.sort
    manifest = {
        "image": result.image.name,
        "image_bytes": result.image.stat().st_size,
        "image_sha256": file_digest(result.image),
        "squashfs": str(result.squashfs.relative_to(request.output)),
        "squashfs_bytes": result.squashfs.stat().st_size,
        "root": str(result.root.relative_to(request.output)),
        "kernel": kernel.release,
        "sort": str(sort) if sort else None,
        "sort_sha256": file_digest(sort) if sort else None,
        "mksquashfs": ".".join(str(number) for number in version),
        "packages": root.packages(result.root),
        "profiling": request.profiling,
        "readahead": request.readahead.source if request.readahead else None,
    }
    content = json.dumps(manifest, indent=2) + "\n"
    write_output(result.image.with_suffix(".json"), content.encode())
