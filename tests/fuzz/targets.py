# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The targets, by name: what reads some bytes, and inputs to start from."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bootprof.boot.menus import LONGEST_TEXT, MenuEntry, read_grub, read_loader_entry, read_syslinux
from bootprof.errors import BootprofError
from bootprof.imports import Source, candidates, load, names
from bootprof.imports.common.source import Counts
from optimizer.formats.blocktrace import read_block_trace
from optimizer.formats.bootlog import read_bootlog, write_events, write_list
from optimizer.formats.events import Bootlog
from optimizer.formats.sortfile import distinct_paths_of
from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.layout import read_layout as read_erofs
from optimizer.images.reorder import Wanted, reorder
from tests.imports.samples import READ_LINES, SAMPLES

GRUB = b"""set default="1>0"
if [ "${grub_platform}" = "efi" ]; then set a=/live; else set a="/li\\"ve"; fi
source /boot/grub/more.cfg
menuentry 'Live (amd64)' --hotkey=l { linux ($root)$a/vmlinuz boot=live x=${y} -- 5
\tinitrd /live/a.img newc:b:/b /live/c.img }
submenu "More" { menuentry "Safe" --class a { linuxefi ../k \\\n nomodeset; initrdefi /i } }
"""
SYSLINUX = b"""default two
menu include other.cfg title
append quiet
label one
  menu label ^One
  linux /live/vmlinuz x
  append initrd=/live/a.img,/live/b.img boot=live
label two
  menu default
  kernel k
  initrd i
"""
LOADER = b"title Live\nlinux /vmlinuz\ninitrd /a.img\ninitrd /b.img\noptions quiet root=x\n"


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes:
        run: Reads them. Whatever it raises but BootprofError is a fault.
        seeds: Inputs that it reads well.
    """

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def readable(bootlog: Bootlog) -> None:
    """Write a bootlog in both formats, and read it back: what an import gives must be valid."""
    stream = io.BytesIO()
    write_events(stream, bootlog)
    stream.seek(0)
    again = read_bootlog(stream, "again")
    assert again.events.tolist() == bootlog.events.tolist()
    assert (again.paths, again.lost) == (bootlog.paths, bootlog.lost)
    # Recorders also name what is no file (pipe:[4711]), which a list of paths does not hold.
    write_list(io.BytesIO(), (path for path in bootlog.paths if path.startswith(b"/")))


def run_import(name: str, content: bytes) -> None:
    """Let an import read a file, and all of them look at it."""
    source = Source("log.7", io.BytesIO(content))
    candidates(source)
    bootlog = load(name).bootlog([source])
    assert all(path.startswith(b"/") for path in bootlog.paths)
    readable(bootlog)


def block_reads(name: str, source: Source) -> list[object]:
    """Return the reads of a log of block devices, which no image is needed for."""
    module = importlib.import_module(f"bootprof.imports.{name}")
    counts = Counts()
    if name == "blkparse":
        return list(module._reads(source, counts))
    log = module._Log(counts)
    reads: Iterable[object] = (
        log.reads(source) if name == "tracepoints" else source.records(counts, log.parse)
    )
    return list(reads)


def run_block_log(name: str, content: bytes) -> None:
    """Let an import read a log of block devices."""
    source = Source("log", io.BytesIO(content))
    candidates(source)
    for one in block_reads(name, source):
        assert min(one.time_ns, one.offset_bytes, one.length_bytes, one.pid) >= 0  # type: ignore[attr-defined]
        assert one.offset_bytes + one.length_bytes < 1 << 63  # type: ignore[attr-defined]


def run_strace_files(content: bytes) -> None:
    """Let strace's import read several files (-ff)."""
    parts = content.split(b"\xff\n")
    sources = [Source(f"log.{n}", io.BytesIO(part)) for n, part in enumerate(parts, 7)]
    readable(load("strace").bootlog(sources))


def run_menu(read: Callable[[Callable[[str], str | None], str], object], content: bytes) -> None:
    """Let a reader of boot menus read one, which may include itself and others."""
    found = read(lambda _: content.decode(errors="replace"), "/boot/menu")
    for entry in found if isinstance(found, list) else [found]:
        if entry is None:
            continue
        assert isinstance(entry, MenuEntry)
        assert len(entry.options) <= LONGEST_TEXT
        assert all(path.startswith("/") for path in (entry.kernel, *entry.initrds))
        assert "/../" not in f"{entry.kernel}/"


def run_erofs(content: bytes) -> None:
    """Read an EROFS, all of its contents, and write it in another order."""
    layout = read_erofs(io.BytesIO(content))
    reader = Reader(layout, io.BytesIO(content))
    for inode in range(layout.inodes.size):
        reader.xattrs(inode)
        # Holes may be as large as the file system allows.
        for piece in itertools.islice(reader.pieces(inode), 64):
            assert len(piece) <= 1 << 24 or not piece.strip(b"\0")
    with tempfile.TemporaryFile() as target:
        wanted = Wanted(layout.paths[::3], even_if_slower=True)
        reorder(layout, io.BytesIO(content), wanted, target)


def _erofs_images() -> tuple[bytes, ...]:
    """Return small images; none where mkfs.erofs is missing."""
    forms = ((), ("-zlz4hc", "-C65536"), ("-zlz4", "-Efragments,legacy-compress"))
    found = []
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        for number in range(12):
            (tree / f"file-{number}").write_bytes(b"%d " % number * (700 * number + 1))
        os.setxattr(tree / "file-1", "user.name", b"value")
        (tree / "link").symlink_to("file-1")
        for form in forms:
            image = Path(name) / "image"
            command = ["mkfs.erofs", "-T1000", *form, str(image), str(tree)]
            if shutil.which(command[0]):
                subprocess.run(command, check=True, capture_output=True)
                found.append(image.read_bytes())
    return tuple(found)


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for name in names():
        seeds = [sample.content for sample in SAMPLES.get(name, {}).values()]
        seeds += READ_LINES.get(name, {}).values()
        if name == "block":
            continue
        run = run_block_log if load(name).needs_image else run_import

        def read(content: bytes, name: str = name, run: Callable[[str, bytes], None] = run) -> None:
            run(name, content)

        found[name] = Target(read, tuple(seeds))
    strace = [sample.content for sample in SAMPLES["strace"].values()]
    found["strace-ff"] = Target(
        run_strace_files, tuple(b"\xff\n".join(strace[n : n + 3]) for n in range(20))
    )
    found["bootlog"] = Target(
        lambda content: readable(read_bootlog(io.BytesIO(content), "bootlog")),
        (
            b"#bootprof-bootlog 1\n#backend: kmod\n#lost: 3\n"
            b"1000\t1\tinit\topen\t0\t4096\t0:21\t4711\toverlay\t/etc/a\\040b\n",
        ),
    )
    found["list"] = Target(
        lambda content: distinct_paths_of(io.BytesIO(content), "list"),
        tuple(sample.content for sample in SAMPLES["sortfile"].values()),
    )
    found["erofs"] = Target(run_erofs, _erofs_images())
    found["blocktrace"] = Target(
        lambda content: read_block_trace(io.BytesIO(content), "trace"),
        (b"#bootprof-blocktrace 1\n#image: a.iso\n#image_bytes: 4096\n#target_ns: 5\n1\t0\t512\n",),
    )
    found["grub"] = Target(lambda content: run_menu(read_grub, content), (GRUB,))
    found["syslinux"] = Target(lambda content: run_menu(read_syslinux, content), (SYSLINUX,))
    found["loader"] = Target(lambda content: run_menu(read_loader_entry, content), (LOADER,))
    return found


TARGETS = _targets()


def attempt(target: Target, content: bytes) -> None:
    """Run a target; only what is no BootprofError comes out."""
    log = logging.getLogger("optimizer")
    level = log.level
    # A log that is cut short is worth a warning, but not a thousand of them.
    log.setLevel(logging.ERROR)
    try:
        with contextlib.suppress(BootprofError):
            target.run(content)
    finally:
        log.setLevel(level)
