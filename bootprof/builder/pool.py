# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A pool: the packages of a bootstrap and an index of them, from which apt installs again.

Format: deb-control(5); sources.list(5), an archive without suites ("./"); the fields of an index
and of a Release file are those of apt-ftparchive(1).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
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
# And the lists of what the archives have.
LISTS = "var/lib/apt/lists"
DIGEST = re.compile(rb"^SHA256: ([0-9a-f]{64})$", re.M)


def options(further: Sequence[str]) -> tuple[str, ...]:
    """Return options of mmdebstrap that keep packages and lists of apt in the root tree.

    Args:
        further: Packages that are downloaded with what they depend on, but not installed.
    """
    kept = ("--skip=essential/unlink,cleanup/apt",)
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
            lists = [root.locate(path) for path in root.glob(f"{LISTS}/*_Packages")]
        if not found:
            raise InputError(f"{tree}: no packages in /{ARCHIVES}")
        for path in found:
            shutil.copyfile(path, target / path.name)
        (target / INDEX).write_bytes(index_of(found, lists))
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


def index_of(packages: Sequence[Path], lists: Iterable[Path]) -> bytes:
    """Return an index of packages, with their paragraphs of the archive's lists.

    These say what the archive has decided, above all the priority, by which mmdebstrap chooses; a
    package's own fields can differ.

    Args:
        packages: The packages, which lie beside the index.
        lists: Indexes of the archives that they are from.
    """
    by_digest = {file_digest(path).encode(): path for path in packages}
    found: dict[Path, bytes] = {}
    for path in lists:
        for paragraph in path.read_bytes().split(b"\n\n"):
            digest = DIGEST.search(paragraph)
            package = by_digest.get(digest[1]) if digest else None
            if package is not None:
                name = f"Filename: ./{package.name}".encode()
                lines = [
                    name if line.startswith(b"Filename: ") else line
                    for line in paragraph.strip().split(b"\n")
                ]
                found[package] = b"\n".join([*lines, b""])
    return b"\n".join(found.get(path) or described(path) for path in packages)


def described(package: Path) -> bytes:
    """Return the paragraph of an index for a package that no archive has, by its own fields."""
    fields = run(["dpkg-deb", "--field", package])
    return (
        fields
        + (
            f"Filename: ./{package.name}\n"
            f"Size: {package.stat().st_size}\n"
            f"SHA256: {file_digest(package)}\n"
        ).encode()
    )
