# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A pool: the packages of a bootstrap and an index of them, from which apt installs again.

Format: deb-control(5); sources.list(5), an archive without suites ("./"); the fields of an index
and of a Release file are those of apt-ftparchive(1).
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from bootprof import progress
from bootprof.builder import store
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from bootprof.files import file_digest
from bootprof.process import run

INDEX, RELEASE = "Packages", "Release"
# Where apt keeps what it has downloaded.
ARCHIVES = "var/cache/apt/archives"


def options(further: Sequence[str]) -> tuple[str, ...]:
    """Return options of mmdebstrap that keep the packages in the root tree.

    Args:
        further: Packages that are downloaded with what they depend on, but not installed.
    """
    kept = ("--skip=essential/unlink,cleanup/apt/cache",)
    if not further:
        return kept
    download = "apt-get --yes --download-only install"
    names = " ".join(map(shlex.quote, further))
    return (*kept, f'--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {download} {names}')


def obtain_pool(cache: Path, tree: Path, suite: str, epoch: int) -> Path:
    """Make the pool of a root tree that has kept its packages, or find the one made before.

    Args:
        cache: Where pools are kept.
        tree: The root tree.
        suite: What it was bootstrapped from.
        epoch: Time stamp of everything in the pool (seconds since 1970).

    Raises:
        InputError: The tree has none.
    """

    def make(target: Path) -> None:
        target.mkdir()
        with open_tree(tree) as root:
            found = [root.locate(path) for path in root.glob(f"{ARCHIVES}/*.deb")]
        if not found:
            raise InputError(f"{tree}: no packages in /{ARCHIVES}")
        for path in found:
            shutil.copyfile(path, target / path.name)
        (target / INDEX).write_bytes(b"\n".join(described(path) for path in found))
        (target / RELEASE).write_text(release(target / INDEX, suite))
        for path in target.iterdir():
            path.chmod(0o644)
            os.utime(path, (epoch, epoch))
        update(f"{len(found)} packages, {sum(p.stat().st_size for p in found) / 1e6:.1f} MB")

    with progress.step("pool of packages") as update:
        digest = store.digest_of(tree.name, tree.stat().st_mtime_ns, suite, epoch, Path(__file__))
        folder, reused = store.obtain(cache, "pool", digest, make)
        if reused:
            update("unchanged, reused")
    return folder


def release(index: Path, suite: str) -> str:
    """Return the Release file: mmdebstrap takes the essential packages of the suite it names."""
    size = index.stat().st_size
    return (
        f"Suite: {suite}\nCodename: {suite}\nSHA256:\n {file_digest(index)} {size} {index.name}\n"
    )


def described(package: Path) -> bytes:
    """Return the paragraph of an index for a package."""
    fields = run(["dpkg-deb", "--field", package])
    return (
        fields
        + (
            f"Filename: ./{package.name}\n"
            f"Size: {package.stat().st_size}\n"
            f"SHA256: {file_digest(package)}\n"
        ).encode()
    )
