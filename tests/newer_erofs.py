# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The erofs-utils of a newer suite than that of the host: unpacked, with their own loader."""

from __future__ import annotations

from pathlib import Path

from bootprof.builder import store
from bootprof.process import run

SUITE = "trixie"
PROGRAMS = ("mkfs.erofs", "fsck.erofs", "dump.erofs")


def newer_erofs(output: Path, folder: Path, suite: str = SUITE) -> Path:
    """Write scripts that start the programs of erofs-utils of a suite.

    Args:
        output: Folder of builds; its cache keeps the programs.
        folder: An empty folder for the scripts, which have the names of the programs.
        suite: Debian suite.

    Returns:
        ``folder``, to stand first in PATH.
    """

    def unpack(target: Path) -> None:
        run(
            [
                *("mmdebstrap", "--variant=extract", "--include=erofs-utils"),
                # The archive of sid may be older than its Release file allows.
                *("--aptopt=Acquire::Check-Valid-Until false", suite, target),
            ]
        )

    with store.opened(output / "cache"):
        name, digest = f"erofs-utils-{suite}", store.digest_of(suite)
        unpacked, _ = store.obtain(output / "cache", name, digest, unpack)
    usr = unpacked.resolve() / "usr"
    loader = usr / "lib64/ld-linux-x86-64.so.2"
    for program in PROGRAMS:
        script = folder / program
        script.write_text(
            f"#!/bin/sh\nexec {loader} --library-path {usr}/lib/x86_64-linux-gnu "
            f'{usr}/bin/{program} "$@"\n'
        )
        script.chmod(0o755)
    return folder
