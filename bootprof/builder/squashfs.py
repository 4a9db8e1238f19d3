# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packing a root tree with mksquashfs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bootprof.builder.config import Squashfs
from bootprof.errors import ToolError
from bootprof.files import scratch_folder
from bootprof.process import run
from optimizer.formats.sortfile import fragment_action, paths_of_sort_file

# Messages of mksquashfs when it leaves out a sort file entry and continues.
SORT_COMPLAINT = re.compile(
    r"^.*(?:[Cc]annot stat sortlist entry|Bad entry|exceeds range).*$", re.M
)


def mksquashfs_version() -> tuple[int, int, int]:
    """Return the version of mksquashfs, for example (4, 5, 1).

    Raises:
        ToolError: It is not installed, or is one whose order of files cannot be relied on: 4.7
            brought parallel readers and, until 4.7.5, races between them.
    """
    found = re.search(
        rb"mksquashfs version (\d+)\.(\d+)(?:\.(\d+))?", run(["mksquashfs", "-version"])
    )
    if found is None:
        raise ToolError("mksquashfs -version: prints no known version number")
    version = (int(found[1]), int(found[2]), int(found[3] or 0))
    if (4, 7, 0) <= version < (4, 7, 5):
        raise ToolError(
            "mksquashfs {}.{}.{} does not keep the order of files".format(*version),
            hint="install squashfs-tools 4.7.5 or newer, or one older than 4.7",
        )
    return version


def make_squashfs(
    options: Squashfs,
    root: Path,
    target: Path,
    *,
    sort: Path | None,
    epoch: int,
    log_file: Path,
    progress: Callable[[str], None],
    leave_out: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """Pack a root tree.

    Args:
        options: Compressor, block size and the rest.
        root: Root tree.
        target: Image to write.
        sort: Sort file (path and priority a line, paths relative to the root), or None.
        epoch: Newest time stamp in the image (seconds since 1970).
        log_file: Where the output of mksquashfs goes.
        progress: Called with the last line of that output.
        leave_out: Wildcards to leave out besides those of the options.
        variables: For the environment of mksquashfs.

    Returns:
        The complaints of mksquashfs about entries of the sort file, which it leaves out.
    """
    arguments: list[str | Path] = [
        "mksquashfs",
        root,
        target,
        "-noappend",
        "-no-progress",
        "-comp",
        options.compressor,
        "-b",
        str(options.block_size),
        *options.options,
    ]
    with scratch_folder() as folder:
        if sort is not None:
            arguments += ["-sort", sort]
            if options.separate_fragments:
                actions = folder / "actions"
                actions.write_bytes(fragment_action(paths_of_sort_file(sort.read_bytes())))
                arguments += ["-action-file", actions]
        if options.exclude or leave_out:
            excluded = folder / "excluded"
            excluded.write_bytes(os.fsencode("\n".join([*options.exclude, *leave_out, ""])))
            arguments += ["-wildcards", "-ef", excluded]
        run(
            arguments,
            env={**(variables or {}), "SOURCE_DATE_EPOCH": str(epoch)},
            log_file=log_file,
            progress=progress,
        )
    return SORT_COMPLAINT.findall(log_file.read_text(errors="replace"))
