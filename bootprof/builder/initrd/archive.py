# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Initrd archives in addition to an image's own initrd, and the static programs in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof.builder import prepared, store
from bootprof.files import staging_beside
from bootprof.process import run
from bootprof.sources import GUEST

# Shared by the guest's C programs: headers, sources, make rules.
COMMON = (*sorted((GUEST / "common").iterdir()), GUEST / "program.mk")

STATIC = ("-static", "-Os", "-s", "-Wall", "-Werror")


@contextmanager
def staged(target: Path, epoch: int) -> Iterator[Path]:
    """Give an empty folder whose content becomes an initrd archive if the block ends well.

    Args:
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    with staging_beside(target) as staging:
        yield staging
        archive(staging, target, epoch)


def add(source: Path, staging: Path, folder: str) -> None:
    """Copy a file into a folder of a staged archive; of its mode, only "executable" counts."""
    (staging / folder).mkdir(parents=True, exist_ok=True)
    copied = Path(shutil.copyfile(source, staging / folder / source.name))
    copied.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def archive(staging: Path, target: Path, epoch: int) -> None:
    """Write a folder as an initrd archive; the same content gives the same bytes.

    Of modes, only "executable" counts: the others are those that the user's umask left.
    """
    names = sorted(path.relative_to(staging) for path in staging.rglob("*"))
    for name in names:
        path = staging / name
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch))
    target.write_bytes(
        run(
            ["cpio", "--create", "--format=newc", "--reproducible", "--owner=+0:+0", "--quiet"],
            cwd=staging,
            stdin="".join(f"{name}\n" for name in names).encode(),
        )
    )


def compile_static(source: Path, target: Path, arch: str) -> None:
    """Compile a C program that runs without any library of the system."""
    machine = ["-m32"] if arch == "i386" else []
    run(["gcc", *machine, *STATIC, "-o", target, source])


def compile_small(source: Path, target: Path, arch: str) -> None:
    """Compile a small C program for an initrd: 40 KB with musl, where glibc takes 800 KB."""
    ready = prepared.find(small_name(source, arch))
    if ready is not None:
        shutil.copy(ready, target)
    elif arch == "i386":
        compile_static(source, target, arch)
    else:
        run(["musl-gcc", *STATIC, "-o", target, source])


def small_name(source: Path, arch: str) -> str:
    """Return the name under which a small program is prepared in advance."""
    return f"{source.stem}-{store.digest_of(arch, STATIC, source, *COMMON)}"
