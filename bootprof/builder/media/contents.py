# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is on a medium, whatever its shape: the live system, its kernel, and its boot menu."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import bootmenu
from bootprof.builder.bootmenu import Entry, Menu
from bootprof.builder.config import LiveConfig, Media
from bootprof.builder.media import incomplete
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from bootprof.files import file_digest

FILE_MODE = 0o644
# Its folder on the medium, and the option of the kernel by which consoles show the installer.
INSTALLATION = "install"
INSTALL_OPTIONS = "bootprof.install systemd.unit=multi-user.target"
MEMORY_TEST = "live/memtest"
# Where live-boot looks for the names of root images, if it does not know their suffix.
ROOTS = "live/filesystem.module"
# The archive of the entry that records a boot, and the folder of a key (bootprof/builder/key.py).
# Named unlike the profiler of a profiling image, which records each boot.
RECORDER = "live/recorder.cpio"
RECORD_TITLE = "{title} (record this boot)"
KEY, BUILDER, POOL = "builder", "builder.squashfs", "pool"
# Of the package memtest86+, the one that starts as a kernel does.
MEMORY_TESTS = {"amd64": "boot/memtest86+x64.bin", "i386": "boot/memtest86+ia32.bin"}


@dataclass(frozen=True)
class RootImage:
    """A file that holds the root file system, or a layer of it.

    Attributes:
        name: Its name in the folder ``live`` of the medium, where live-boot looks for it.
        file: The file.
    """

    name: str
    file: Path


@dataclass(frozen=True)
class KeyParts:
    """What a key has besides its live system: see :mod:`bootprof.builder.key`.

    Attributes:
        squashfs: The builder.
        pool: Folder with packages.
        recorder: Initial ramdisk archive with the profiler.
        options: Boot options that start it.
    """

    squashfs: Path
    pool: Path
    recorder: Path
    options: str

    def files(self) -> dict[str, Path]:
        """Return builder and pool, file by file, by their paths on the medium."""
        found = {f"{KEY}/{POOL}/{path.name}": path for path in sorted(self.pool.iterdir())}
        return {f"{KEY}/{BUILDER}": self.squashfs, **found}


@dataclass(frozen=True)
class Contents:
    """What is on a medium.

    Attributes:
        kernel: Kernel image.
        initrds: Initial ramdisk archives, in the order in which the kernel unpacks them.
        boot_options: Kernel command line.
        roots: Files with the root file system.
        memory_test: Program that tests the memory, or None.
        copies: Whether its live system can copy the medium.
        installation: Folder with what an installation needs, or None.
        key: What a key has, or None.
    """

    kernel: Path
    initrds: tuple[Path, ...]
    boot_options: str
    roots: tuple[RootImage, ...]
    memory_test: Path | None = None
    copies: bool = False
    installation: Path | None = None
    key: KeyParts | None = None


def find_memory_test(config: LiveConfig, tree: Path) -> Path | None:
    """Return the memory test of a root tree, if the configuration asks for it.

    Raises:
        InputError: The root tree has none.
    """
    if not config.media.memory_test:
        return None
    name = MEMORY_TESTS[config.system.arch]
    with open_tree(tree) as root:
        if not root.is_file(name):
            raise InputError(
                f"media.memory_test: the root tree has no {name}",
                hint='add "memtest86+" to system.packages',
            )
        return root.locate(name)


def menu_of(media: Media, contents: Contents) -> Menu:
    """Return the boot menu of a medium."""
    options = contents.boot_options
    entries = [Entry("live", media.title, options)]
    if media.toram:
        entries.append(Entry("toram", f"{media.title} (copy to memory)", f"{options} toram"))
    if contents.installation is not None:
        entries.append(Entry("install", f"Install {media.title}", f"{options} {INSTALL_OPTIONS}"))
    if contents.key is not None:
        title, more = RECORD_TITLE.format(title=media.title), contents.key.options
        entries.append(Entry("record", title, f"{options} {more}", initrds=(f"/{RECORDER}",)))
    for number, (title, more) in enumerate(media.entries.items(), 1):
        entries.append(Entry(f"entry-{number}", title, f"{options} {more}"))
    if contents.memory_test is not None:
        entries.append(Entry("memory", "Memory test", kind="memory"))
    if media.local_disk:
        entries.append(Entry("local", "Boot from the local disk", kind="local"))
    # The configuration has checked the first one, without the option of the profiler.
    for entry in entries[1:]:
        try:
            bootmenu.check_boot_options(entry.options)
        except ValueError as error:
            raise InputError(
                f"{entry.title}: {error}", hint="shorten media.boot_options or media.entries"
            ) from None
    initrds = tuple(f"/live/{path.name}" for path in contents.initrds)
    return Menu(tuple(entries), initrds, media.timeout)


def digest_of(media: Media, contents: Contents) -> str:
    """Return a digest of what a medium holds, from which its identifiers are made."""
    from bootprof.builder.store import digest_of

    files = [contents.kernel, *contents.initrds, *(root.file for root in contents.roots)]
    if contents.installation is not None:
        files += sorted(contents.installation.iterdir())
    if contents.key is not None:
        files += [contents.key.recorder, *contents.key.files().values()]
    return digest_of(media, contents.boot_options, contents.copies, *map(file_digest, files))


def stage(media: Media, contents: Contents, tree: Path, *, epoch: int) -> None:
    """Lay out the files that every medium has, with the boot menu for GRUB.

    Args:
        media: Titles and further entries.
        contents: What is on the medium.
        tree: Folder to make.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    (tree / "live").mkdir(parents=True)
    (tree / "boot/grub").mkdir(parents=True)
    if any(root.name.endswith(".erofs") for root in contents.roots):
        (tree / ROOTS).write_text("".join(f"{root.name}\n" for root in contents.roots))
    for root in contents.roots:
        link_or_copy(root.file, tree / "live" / root.name)
    shutil.copyfile(contents.kernel, tree / "live/vmlinuz")
    for initrd in contents.initrds:
        shutil.copyfile(initrd, tree / "live" / initrd.name)
    if contents.memory_test is not None:
        shutil.copyfile(contents.memory_test, tree / MEMORY_TEST)
    if contents.copies:
        incomplete.make_incomplete(tree / incomplete.NAME, epoch=epoch)
    if contents.installation is not None:
        shutil.copytree(contents.installation, tree / INSTALLATION)
    if contents.key is not None:
        (tree / KEY / POOL).mkdir(parents=True)
        for name, source in contents.key.files().items():
            link_or_copy(source, tree / name)
        shutil.copyfile(contents.key.recorder, tree / RECORDER)
    menu = menu_of(media, contents)
    (tree / "boot/grub/grub.cfg").write_text(bootmenu.configuration(menu))
    (tree / "boot/grub/loopback.cfg").write_text(bootmenu.loopback_configuration(menu))
    set_times(tree, contents, epoch)


def set_times(tree: Path, contents: Contents, epoch: int) -> None:
    """Give all files of a staged tree the same time, except those that the cache shares."""
    shared = {tree / "live" / root.name for root in contents.roots}
    if contents.key is not None:
        shared.update(tree / name for name in contents.key.files())
    for path in (tree, *tree.rglob("*")):
        if path not in shared:
            path.chmod(0o755 if path.is_dir() else FILE_MODE)
            os.utime(path, (epoch, epoch))


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where there can be none.

    Media record the mode and the time of the file: a copy is made where the mode is of another
    umask, and where the file is on another file system or belongs to another user.
    """
    if stat.S_IMODE(source.stat().st_mode) == FILE_MODE:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
    shutil.copy2(source, target)
    target.chmod(FILE_MODE)


def files_in_reading_order(tree: Path, contents: Contents) -> list[str]:
    """Return the files of a staged tree in the order in which a boot reads them."""
    loaded = ["live/vmlinuz", *(f"live/{path.name}" for path in contents.initrds)]
    roots = [f"live/{root.name}" for root in contents.roots]
    further = [] if contents.key is None else [RECORDER, *contents.key.files()]
    last = (*loaded, *roots, *further)
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    return [*(name for name in names if name not in last), *last]
