# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Kernels of Debian's suites for virtual machines: unpacked, never installed on the host."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import store
from bootprof.builder.kernelmodule import find_headers
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.errors import InputError, UnsupportedError
from bootprof.process import ISOLATED, run


def chosen_suites() -> list[str]:
    """Return the suites whose kernels tests boot: BOOTPROF_SUITES="bullseye bookworm trixie sid".

    By default one kernel with a system call table, and one without.
    """
    return os.environ.get("BOOTPROF_SUITES", "bookworm bullseye").split()


@dataclass(frozen=True)
class GuestKernel:
    """A kernel for a virtual machine, unpacked and not installed.

    Attributes:
        release: As ``uname -r`` says it.
        image: The kernel.
        modules: Its folder of modules (``lib/modules/<release>``).
        busybox: A static busybox for the same processor.
    """

    release: str
    image: Path
    modules: Path
    busybox: Path


def fetch_kernel(
    suite: str,
    cache: Path,
    *,
    architecture: str = "amd64",
    kernel_release: str | None = None,
    mirrors: Sequence[str] = (),
) -> GuestKernel:
    """Get a kernel, its modules and a busybox from a suite; nothing is installed on the host.

    Args:
        suite: Debian suite.
        cache: Folder to unpack into.
        architecture: Debian architecture.
        kernel_release: Kernel to get; None for the newest that the suite has.
        mirrors: Where packages come from, as mmdebstrap takes it; it chooses by itself if empty.
    """
    chroot, release = find_headers(
        suite, cache, architecture, kernel_release, mirrors, lambda _: None
    )

    def make(target: Path) -> None:
        inside = "/tmp/bootprof-kernel"
        # As root and not as _apt: the folder is in a chroot that only root can enter.
        apt = "apt-get -o APT::Sandbox::User=root -q"
        # From 7.1 on, kernel and modules are packages of their own, which -image- depends on.
        pattern = f"^linux-(image|binary|modules)-{re.escape(release)}$"
        shell = (
            f"cd {inside} && {apt} update && {apt} download busybox-static"
            f" $(apt-cache pkgnames linux- | grep -E '{pattern}')"
        )
        with open_tree(chroot) as tree:
            # Remains of a killed run.
            tree.remove(inside)
            tree.make_folder(inside)
            try:
                run([*ISOLATED, f"--root={chroot}", "sh", "-c", shell])
                for name in tree.glob(f"{inside}/*.deb"):
                    run(["dpkg-deb", "-x", tree.locate(name), target])
            finally:
                tree.remove(inside)

    unpacked = store.obtain(cache, f"kernel-{release}", architecture + "+busybox", make)[0]
    with open_tree(unpacked) as tree:
        return GuestKernel(
            release,
            first_of(tree, f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz"),
            first_of(tree, f"lib/modules/{release}", f"usr/lib/modules/{release}"),
            first_of(tree, "bin/busybox", "usr/bin/busybox"),
        )


def first_of(tree: RootTree, *names: str) -> Path:
    """Return the first of some paths that exists in a package; a link stays in it.

    Raises:
        UnsupportedError: None does.
    """
    for name in names:
        if tree.status(name, follow=True) is not None:
            return tree.locate(name)
    raise UnsupportedError(
        f"{tree.path}: neither {' nor '.join(names)} in the kernel's package",
        hint="Debian may have changed where a kernel package puts its files",
    )


def table_offset(symbols: Path) -> int:
    """Return the distance of sys_call_table from _stext in bytes, for ``table_offset=``.

    Both move together when the kernel is loaded at a random address.

    Args:
        symbols: System.map of the kernel, or its vmlinux with symbols.

    Raises:
        InputError: The symbols are not there, or this is neither.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    wanted = ("_stext", "sys_call_table")
    found: dict[str, int] = {}
    with symbols.open("rb") as stream:
        if stream.read(4) == b"\x7fELF":
            try:
                table = ELFFile(stream).get_section_by_name(".symtab")
            except ELFError as error:
                raise InputError(f"{symbols}: {error}", hint="name a System.map") from None
            if isinstance(table, SymbolTableSection):
                for name in wanted:
                    for symbol in table.get_symbol_by_name(name) or ():
                        found[name] = symbol["st_value"]
        else:
            stream.seek(0)
            for line in stream:
                match = re.match(rb"([0-9a-f]+) [A-Za-z] (_stext|sys_call_table)\n", line)
                if match:
                    found[match[2].decode()] = int(match[1], 16)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"{symbols}: no symbol {missing[0]}",
            # That in Debian's packages of kernels is a stub.
            hint="name the System.map or the vmlinux in the package linux-image-RELEASE-dbg",
        )
    return found["sys_call_table"] - found["_stext"]
