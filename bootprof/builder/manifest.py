# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The manifest of an image: what it was built from."""

from __future__ import annotations

import json
from pathlib import Path

from bootprof.builder import root
from bootprof.builder.erofs import Packer
from bootprof.builder.request import BuildRequest, BuildResult
from bootprof.builder.root import Kernel
from bootprof.files import file_digest, write_output


def write_manifest(
    request: BuildRequest,
    result: BuildResult,
    kernel: Kernel,
    version: tuple[int, int, int],
    packer: Packer | None,
) -> None:
    """Write the inputs of a build as JSON next to its first image."""
    sort = result.sort
    lowest = result.roots[0].file
    squashfs = request.config.root.format == "squashfs"
    manifest = {
        "images": [described(image) for image in result.images],
        # The lowest layer; "roots" has all of them, of whatever format.
        "squashfs": str(lowest.relative_to(request.output)) if squashfs else None,
        "squashfs_bytes": lowest.stat().st_size if squashfs else None,
        "roots": {
            image.name: {
                "file": str(image.file.relative_to(request.output)),
                "bytes": image.file.stat().st_size,
            }
            for image in result.roots
        },
        "root": str(result.root.relative_to(request.output)),
        "kernel": kernel.release,
        "sort": str(sort) if sort else None,
        "sort_sha256": file_digest(sort) if sort else None,
        "mksquashfs": ".".join(str(number) for number in version),
        # 1.5 and older do not print their version.
        "mkfs.erofs": (packer.version or "unknown") if packer else None,
        "packages": root.packages(result.root),
        "profiling": request.profiling,
        "readahead": request.readahead.source if request.readahead else None,
    }
    content = json.dumps(manifest, indent=2) + "\n"
    write_output(result.images[0].with_suffix(".json"), content.encode())


def described(image: Path) -> dict[str, object]:
    """Return name, size in bytes and digest of a medium; a folder has a digest for each file."""
    if image.is_file():
        size = image.stat().st_size
        return {"name": image.name, "bytes": size, "sha256": file_digest(image)}
    files = sorted(path for path in image.rglob("*") if path.is_file())
    return {
        "name": image.name,
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": {str(path.relative_to(image)): file_digest(path) for path in files},
    }
