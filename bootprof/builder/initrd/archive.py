"""Initrd archives that go beside an image's own initrd, and the static programs in them."""

from __future__ import annotations

import os
from pathlib import Path

from bootprof.process import run

STATIC = ("-static", "-Os", "-s", "-Wall", "-Werror")


def archive(staging: Path, target: Path, epoch: int) -> None:
    """Write a folder as an initrd archive; the same content gives the same bytes."""
    names = sorted(path.relative_to(staging) for path in staging.rglob("*"))
    for name in names:
        os.utime(staging / name, (epoch, epoch))
    target.write_bytes(
        run(
            ["cpio", "--create", "--format=newc", "--reproducible", "--owner=+0:+0", "--quiet"],
            cwd=staging,
            stdin="".join(f"{name}\n" for name in names).encode(),
        )
    )


def compile_static(source: Path, target: Path, arch: str) -> None:
    """Compile a C program that needs nothing of the system that it runs on."""
    machine = ["-m32"] if arch == "i386" else []
    run(["gcc", *machine, *STATIC, "-o", target, source])


def compile_small(source: Path, target: Path, arch: str) -> None:
    """Compile a C program for each initrd: with musl 40 KB, and not the 800 KB of glibc."""
    if arch == "i386":
        compile_static(source, target, arch)
    else:
        run(["musl-gcc", *STATIC, "-o", target, source])
