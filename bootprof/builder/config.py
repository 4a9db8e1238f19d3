# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The configuration of a live image: every key with its type, default, meaning and check.

The checks, the errors, ``bootprof config`` and the table in the documentation are made from this
table. :mod:`bootprof.builder.layers` reads configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bootprof.builder import bootmenu
from bootprof.builder.keys import (
    COMPONENT,
    EROFS_FEATURE,
    HOST_NAME,
    LOCALE,
    SUITE,
    check_arguments,
    check_block_size,
    check_ip,
    check_keyboard,
    check_name,
    check_network_root,
    check_packages,
    check_password,
    check_program,
    check_session,
    check_timezone,
    check_user,
    check_variables,
    key,
    matches,
    within,
)

LONGEST_TIMEOUT_SECONDS = 86400
# Shapes of a medium; each has a module in bootprof/builder/media.
KINDS = ("iso", "disk", "partition", "netboot")


def check_kinds(value: tuple[str, ...]) -> None:
    """Check kinds of media: at least one, each known, none twice."""
    for kind in value:
        if kind not in KINDS:
            raise ValueError(f"expected {', '.join(KINDS)}, found {kind!r:.40}")
    if not value or len(set(value)) != len(value):
        raise ValueError("expected at least one kind, and each once")


@dataclass(frozen=True)
class System:
    """``[system]``: the root tree."""

    source: str = key(
        "",
        "folder, tar archive or container image of a root tree, used instead of a bootstrap",
    )
    suite: str = key("bookworm", "Debian suite to bootstrap", matches(SUITE, "the name of a suite"))
    arch: Literal["amd64", "i386"] = key("amd64", "Debian architecture of the image")
    packages: tuple[str, ...] = key(
        (),
        "packages on top of the minimal base system; a kernel and `live-boot` are needed",
        check_packages,
    )
    components: tuple[str, ...] = key(
        ("main",), "archive components", matches(COMPONENT, "the name of a component")
    )
    mirrors: tuple[str, ...] = key(
        (), "archive addresses (default: those of mmdebstrap)", check_arguments
    )
    keyring: str = key(
        "",
        "file with the keys, and the only ones, that sign the archives of `system.mirrors` "
        "(default: those that mmdebstrap finds on the build host)",
    )
    hostname: str = key("live", "host name", matches(HOST_NAME, "a host name", 64))
    root_password: str = key(
        "", "password of root; if empty, the account is locked", check_password
    )
    files: str = key("", "folder to copy over the cleaned root tree")
    files_owner: Literal["source", "root"] = key(
        "source", "owner of these copies: the owner of each source, or `root`"
    )
    patches: str = key(
        "", "folder of unified diffs (`*.patch`, `*.diff`) to apply before the files are copied"
    )
    hooks: str = key("", "folder of programs to run at named steps")
    languages: tuple[str, ...] = key(
        (),
        'locales to generate, for example `["de_DE.UTF-8", "fr_FR.UTF-8"]`; the first is the '
        "default",
        matches(LOCALE, "a locale like de_DE.UTF-8"),
    )
    keyboard: str = key("", "keyboard layout, for example `de` or `de:nodeadkeys`", check_keyboard)
    timezone: str = key("", "time zone, for example `Europe/Berlin`", check_timezone)
    install_env: Mapping[str, str] = key(
        {},
        "environment variables for package scripts and hooks; `${NAME}` in `system.packages` is "
        "replaced by the value",
        check_variables,
    )
    additional_modules: tuple[str, ...] = key(
        (),
        "kernel modules (.ko) that the profiler archive loads in the initrd; they must be built "
        "for the image's kernel",
    )


@dataclass(frozen=True)
class Desktop:
    """``[desktop]``: the display manager (lightdm, gdm3, sddm)."""

    autologin: str = key("", "user to log in at boot", check_user)
    preselect: str = key("", "user that the login screen proposes", check_user)
    session: str = key("", "session of these users, for example `xfce`", check_session)


@dataclass(frozen=True)
class Root:
    """``[root]``: the files that hold the root tree on the medium."""

    format: Literal["squashfs", "erofs", "ext4"] = key(
        "squashfs",
        "file system of the root image; EROFS needs a hook in the initrd, which the build adds, "
        "and ext4 is not compressed, and has neither order nor readahead",
    )
    largest_mb: int = key(
        0,
        "megabytes (10^6 bytes) that no root image exceeds: a larger squashfs is split by files, "
        "for example with 4000 for FAT32; 0 for no limit",
        within(0, 10**9),
    )
    separate_changes: bool = key(
        False,
        "pack what patches, files and hooks change as a second squashfs on top, so that a change "
        "of them takes seconds to rebuild",
    )


@dataclass(frozen=True)
class Squashfs:
    """``[squashfs]``: how the root tree is packed."""

    compressor: Literal["gzip", "lzma", "lzo", "lz4", "xz", "zstd"] = key(
        "zstd", "compressor, by its name in mksquashfs"
    )
    block_size: int = key(
        131072, "bytes of a block: a power of two from 4096 to 1048576", check_block_size
    )
    options: tuple[str, ...] = key((), "further arguments for mksquashfs")
    sort: str = key("distrib.sort", "sort file, used if it exists")
    reorder: bool = key(
        False,
        "pack the root without the sort file, and then move the packed blocks into its order: "
        "a new sort file is a matter of seconds",
    )
    separate_fragments: bool = key(
        False,
        "let the tails of the sort file's files share fragment blocks with each other only; for "
        "a sort file with the files at the end",
    )
    stale_percent: float = key(
        5.0,
        "warn if a larger share of the sort file's files is missing from the root tree",
        within(0, 100),
    )
    exclude: tuple[str, ...] = key(
        ("boot/vmlinuz-*", "boot/initrd.img-*", "boot/System.map-*"),
        "wildcards to leave out of the squashfs; by default what the medium has copies of",
    )


@dataclass(frozen=True)
class Erofs:
    """``[erofs]``: how the root tree is packed with ``root.format = "erofs"``."""

    compressor: Literal["none", "lz4", "lz4hc", "lzma", "deflate", "libdeflate", "zstd"] = key(
        "lz4hc",
        "compressor, by its name in mkfs.erofs; the kernel of Debian 12 reads `none`, `lz4` and "
        "`lz4hc` only",
    )
    level: int = key(-1, "compression level; -1 for the default of mkfs.erofs", within(-1, 109))
    cluster_size: int = key(
        65536,
        "largest compressed cluster in bytes: a power of two from 4096 to 1048576",
        check_block_size,
    )
    features: tuple[str, ...] = key(
        (),
        "extended options of mkfs.erofs (`-E`): `fragments`, `all-fragments`, `dedupe`, "
        "`ztailpacking`",
        matches(EROFS_FEATURE, "an extended option of mkfs.erofs"),
    )
    options: tuple[str, ...] = key((), "further arguments for mkfs.erofs")
    program: str = key(
        "mkfs.erofs",
        "name or path of mkfs.erofs; that of Debian 12 has `lz4` and `lz4hc` only",
        check_program,
    )
    sort: str = key("distrib.sort", "sort file, used if it exists")
    reorder: bool = key(
        False,
        "pack the root without the sort file, and then move the packed clusters into its order: "
        "a new sort file is a matter of seconds",
    )
    stale_percent: float = key(
        5.0,
        "warn if a larger share of the sort file's files is missing from the root tree",
        within(0, 100),
    )
    exclude: tuple[str, ...] = key(
        ("boot/vmlinuz-*", "boot/initrd.img-*", "boot/System.map-*"),
        "wildcards to leave out of the EROFS; by default what the medium has copies of",
    )


@dataclass(frozen=True)
class Initrd:
    """``[initrd]``: the initrd that the root's own tools have made, recompressed."""

    compressor: Literal["zstd", "keep"] = key(
        "zstd",
        "recompress the initrd with zstd (level 19) if the kernel supports it, or `keep` it",
    )
    leave_out: tuple[str, ...] = key(
        (),
        "drivers (`drivers/block/rbd`) and folders of drivers (`drivers/net`) that finding "
        "the root does not need: left out of the initrd unless another module needs them, and "
        "loaded from the root",
    )
    keep: tuple[str, ...] = key((), "exceptions to `leave_out`, for example `drivers/scsi/sd_mod`")


@dataclass(frozen=True)
class Media:
    """``[media]``: the medium and its boot menu."""

    title: str = key("Live system", "title in the boot menu", bootmenu.check_title)
    label: str = key(
        "LIVE", "volume identifier, by which GRUB finds the medium", bootmenu.check_label
    )
    boot_options: str = key(
        "boot=live quiet console=tty0 console=ttyS0",
        "kernel command line",
        bootmenu.check_boot_options,
    )
    kinds: tuple[str, ...] = key(
        ("iso",),
        "what to write: `iso` (a hybrid image for discs and sticks), `disk` (a GPT disk image for "
        "sticks), `partition` (partitions for a stick that keeps its first one, and a script that "
        "adds them), `netboot` (kernel, initrd and scripts for a boot server)",
        check_kinds,
    )
    file_system: Literal["fat", "ext4"] = key(
        "fat", "file system of `disk` and `partition`; with `fat`, each file is below 4 GiB"
    )
    boot_loader: Literal["grub", "isolinux"] = key(
        "grub", "what a BIOS starts from an ISO; UEFI always starts GRUB"
    )
    entries: Mapping[str, str] = key(
        {},
        "further entries of the boot menu: their titles, and the boot options that they add",
        bootmenu.check_entries,
    )
    toram: bool = key(False, "add an entry that copies the live system to memory first")
    memory_test: bool = key(
        False, "add a memory test to the menu; the package `memtest86+` must be in the root"
    )
    local_disk: bool = key(False, "add an entry that boots from the machine's own disk")
    timeout: int = key(
        0,
        "time that the menu waits, in seconds; -1 for no limit",
        within(-1, LONGEST_TIMEOUT_SECONDS),
    )
    eject: bool = key(
        False, "eject the disc at shutdown and reboot; not with a stick, nor after toram"
    )
    quick_probes: bool = key(
        True,
        "keep udev and live-boot from probing for RAID members, ZFS and partition tables at the "
        "medium's far end",
    )
    reading_order: bool = key(
        True, "place the files of the ISO in the order in which a boot reads them"
    )
    outer_edge: bool = key(
        False,
        "place kernel and initrd behind the squashfs, near the outer edge of a disc, which is "
        "read faster; for CDs and DVDs",
    )


@dataclass(frozen=True)
class Persistence:
    """``[persistence]``: what a user changes is kept on the stick."""

    enabled: bool = key(
        False,
        "keep changes on a partition with the label `persistence` of the stick, or of another "
        "removable or USB disk; it is checked before it is mounted",
    )
    encrypted: bool = key(False, "look into LUKS partitions, too, and ask for their passphrase")
    wait_seconds: int = key(
        5, "how long the boot waits for the partition to appear", within(0, 3600)
    )


@dataclass(frozen=True)
class Live:
    """``[live]``: what the running live system can do with itself."""

    tools: bool = key(
        False,
        "install `bootprof-live`, which copies the running live medium to a stick or installs the "
        "system to a disk, and the programs that it needs; adds an entry `Install` to the menu",
    )


@dataclass(frozen=True)
class Key:
    """``[key]``: a medium that holds what is needed to make another one."""

    enabled: bool = key(
        False,
        "add the builder with its tools, a pool of packages and a recorder to the medium: its "
        "running system records its boot, and builds and copies media without a network",
    )
    packages: tuple[str, ...] = key(
        (),
        "packages in the pool that are not installed, for systems that are built from it; what "
        "they depend on is added",
        check_packages,
    )
    source: str = key(
        "",
        "the folder `builder` of a key: builder and pool are taken from it, and not made again",
    )


@dataclass(frozen=True)
class Network:
    """``[network]``: a root on a server."""

    root: str = key(
        "",
        "where the root is: `nfs://ADDRESS/PATH` (NFS 3), `nfs4://ADDRESS[:PORT]/PATH`, or "
        "`http://ADDRESS/filesystem.squashfs`, which is copied to memory",
        check_network_root,
    )
    ip: str = key("dhcp", "network settings of the initrd, as the kernel's `ip=`", check_ip)


@dataclass(frozen=True)
class Readahead:
    """``[readahead]``: what the image reads ahead while it boots."""

    bootlog: str = key(
        "",
        "bootlog that names what to read ahead; `--readahead` and `--no-readahead` override it",
    )
    what: Literal["all", "tables"] = key(
        "all", "`tables` reads only the tables ahead, before the mount, and needs no bootlog"
    )
    drive: str = key(
        "cd-24x", "drive to optimize the readahead list for; `--readahead-drive` overrides it"
    )


@dataclass(frozen=True)
class LiveConfig:
    """A whole configuration."""

    name: str = key("", "base name of the image", check_name)
    system: System = System()
    desktop: Desktop = Desktop()
    root: Root = Root()
    squashfs: Squashfs = Squashfs()
    erofs: Erofs = Erofs()
    initrd: Initrd = Initrd()
    media: Media = Media()
    persistence: Persistence = Persistence()
    network: Network = Network()
    live: Live = Live()
    readahead: Readahead = Readahead()
    key: Key = Key()

    @property
    def packing(self) -> Squashfs | Erofs:
        """How the root tree is packed; both have sort file, order and wildcards to leave out."""
        return self.erofs if self.root.format == "erofs" else self.squashfs
