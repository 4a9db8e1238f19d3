# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a live system can do beyond booting, and all that each of these features needs.

This is the one table: what a chosen feature lists gets into package selection, the initrd, the
kernel command line and the root, and ``initrd.leave_out`` cannot remove it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bootprof.builder import catalogues
from bootprof.builder.bootmenu import check_boot_options
from bootprof.builder.config import LiveConfig
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from bootprof.sources import GUEST, KEY_TOOL, LIVE_PARTS, LIVE_TOOL

SCRIPTS_FOLDER = "usr/lib/live/boot"
# Where an address may lead, and the kernel's name of the version.
NFS_VERSIONS = {"nfs": "3", "nfs4": "4.2"}
NETWORK_CARDS = (
    "drivers/net/ethernet",
    "drivers/net/net_failover",
    "drivers/net/phy",
    "drivers/net/mii",
    "drivers/net/usb",
    "drivers/net/virtio_net",
    "drivers/net/vmxnet3",
    "drivers/net/hyperv",
    "net/core",
)


@dataclass(frozen=True)
class Feature:
    """What a feature needs.

    Attributes:
        name: As the documentation calls it.
        packages: Debian packages of the root.
        needs: Files of the root that come with these packages; with ``system.source``, no
            packages are installed.
        drivers: Modules and folders of modules, below the modules' ``kernel``, that stay in the
            initrd.
        modules: Kernel modules that are copied into the initrd, with those that they need; the
            scripts load them.
        programs: Programs of the root that are copied into the initrd, with their libraries.
        scripts: Scripts for live-boot in the initrd.
        options: Kernel command line.
        files: Files of the root, by their path.
        executables: Scripts of the root, by their path.
    """

    name: str
    packages: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    scripts: tuple[Path, ...] = ()
    options: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    executables: Mapping[str, str] = field(default_factory=dict)


def persistence(config: LiveConfig) -> Feature:
    """Persistence on the stick: checked before it is mounted, and no other disk is written to."""
    settings = config.persistence
    encryption = "none,luks" if settings.encrypted else "none"
    return Feature(
        "persistence",
        packages=("e2fsprogs", *(("cryptsetup-initramfs",) if settings.encrypted else ())),
        needs=("sbin/cryptsetup", "lib/cryptsetup/askpass") if settings.encrypted else (),
        drivers=(
            "drivers/usb/storage",
            "drivers/scsi/sd_mod",
            "fs/ext4",
            *(("drivers/md/dm-crypt", "crypto", "arch/x86/crypto") if settings.encrypted else ()),
        ),
        programs=("usr/sbin/e2fsck",),
        scripts=(GUEST / "initrd/9999-persistence.sh",),
        options=(
            "persistence persistence-storage=filesystem "
            f"persistence-encryption={encryption} "
            f"bootprof.persistence-wait={settings.wait_seconds}"
        ),
    )


def network_root(config: LiveConfig) -> Feature:
    """The root by NFS or HTTP, with the drivers of network cards."""
    address = urlsplit(config.network.root)
    if address.scheme == "http":
        options = f"netboot fetch={config.network.root}"
    else:
        port = f",port={address.port}" if address.port else ""
        options = (
            f"netboot=nfs nfsroot={address.hostname}:{address.path} "
            f"bootprof.nfs={NFS_VERSIONS[address.scheme]}"
            f"{port and f' nfsopts={port[1:]}'}"
        )
    return Feature(
        f"network root ({address.scheme})",
        drivers=(*NETWORK_CARDS, "fs/nfs", "fs/nfs_common", "fs/lockd", "fs/fscache", "fs/netfs",
                 "net/sunrpc", "net/ipv4", "net/ipv6", "net/packet"),
        scripts=(GUEST / "initrd/9999-network-root.sh",),
        options=f"{options} ip={config.network.ip}",
    )  # fmt: skip


def erofs_root(config: LiveConfig) -> Feature:
    """An EROFS as root image, which live-boot does not know."""
    del config
    return Feature(
        "EROFS root",
        # By which libcrc32c, which EROFS needs, finds its algorithm.
        modules=("crc32c_generic", "erofs"),
        scripts=(GUEST / "initrd/9999-erofs.sh",),
    )


def eject(config: LiveConfig) -> Feature:
    """The disc is ejected when the system goes down; live-tools knows sticks and toram."""
    del config
    return Feature(
        "eject",
        packages=("live-tools", "eject"),
        needs=("lib/systemd/system-shutdown/live-tools.shutdown", "usr/bin/eject"),
        # Or the shutdown waits for a key, which no rack has.
        files={"etc/live/tools.conf": "LIVE_MEDIUM_EJECT_VERBOSE=false\n"},
    )


def live_tools(config: LiveConfig) -> Feature:
    """The running live system copies its medium, and installs itself."""
    return Feature(
        "live tools",
        # sfdisk, mke2fs, e2fsck and mkfs.vfat for partitions, windows and languages of the wizard,
        # and what enters an installed system into the menu of UEFI.
        packages=("dosfstools", "e2fsprogs", "efibootmgr", "fdisk", "gettext-base", "whiptail"),
        needs=("sbin/mke2fs", "sbin/sfdisk", "sbin/mkfs.vfat"),
        files={
            **{
                f"usr/lib/bootprof-live/{part.name}": part.read_text()
                for part in sorted(LIVE_PARTS.glob("*.sh"))
            },
            **catalogues.compiled(),
            "usr/share/man/man8/bootprof-live.8": (LIVE_PARTS / "bootprof-live.8").read_text(),
            "usr/lib/bootprof-live/environment": environment(config),
        },
        executables={
            "usr/sbin/bootprof-live": LIVE_TOOL.read_text(),
            # Consoles show the installer, if the kernel command line asks for it.
            "usr/lib/systemd/system-generators/bootprof-live": (
                LIVE_PARTS / "install-generator"
            ).read_text(),
        },
    )


def key(config: LiveConfig) -> Feature:
    """The medium carries the builder, which a command of the live system mounts and runs."""
    del config
    return Feature("key", executables={"usr/sbin/bootprof": KEY_TOOL.read_text()})


def environment(config: LiveConfig) -> str:
    """Return the variables of an installation for a shell: those that hooks of a build see."""
    system = config.system
    variables = {
        **system.install_env,
        "BOOTPROF_NAME": config.name,
        "BOOTPROF_LANGUAGES": " ".join(system.languages),
    }
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())
    )


def chosen(config: LiveConfig) -> tuple[Feature, ...]:
    """Return the features that a configuration asks for."""
    found = []
    if config.root.format == "erofs":
        found.append(erofs_root(config))
    if config.persistence.enabled:
        found.append(persistence(config))
    if config.network.root:
        found.append(network_root(config))
    if config.media.eject:
        found.append(eject(config))
    if config.live.tools:
        found.append(live_tools(config))
    if config.key.enabled:
        found.append(key(config))
    return tuple(found)


def applied(config: LiveConfig) -> LiveConfig:
    """Return a configuration with what its features need.

    Their packages are installed, their drivers stay in the initrd whatever ``initrd.leave_out``
    says, and their options are on the kernel command line.

    Raises:
        InputError: The kernel command line gets too long.
    """
    features = chosen(config)
    installed = [*config.system.packages, *(name for each in features for name in each.packages)]
    if config.system.source:
        installed = []
    kept = [*config.initrd.keep, *(name for each in features for name in each.drivers)]
    options = [config.media.boot_options, *(each.options for each in features if each.options)]
    try:
        check_boot_options(" ".join(options))
    except ValueError as error:
        raise InputError(f"media.boot_options with those of features: {error}") from None
    return replace(
        config,
        system=replace(config.system, packages=tuple(dict.fromkeys(installed))),
        initrd=replace(config.initrd, keep=tuple(dict.fromkeys(kept))),
        media=replace(config.media, boot_options=" ".join(options)),
    )


def check_root(config: LiveConfig, tree: Path) -> None:
    """Check that a root tree has what the chosen features need.

    Raises:
        InputError: It lacks a file.
    """
    with open_tree(tree) as root:
        for feature in chosen(config):
            for path in feature.needs:
                if not root.is_file(path):
                    raise InputError(
                        f"{feature.name}: the root tree has no {path}",
                        hint=f"install in it: {' '.join(feature.packages)}",
                    )


def files(config: LiveConfig) -> dict[str, bytes]:
    """Return the files of the root that features add, by their path."""
    return {
        path: content.encode() if isinstance(content, str) else content
        for each in chosen(config)
        for path, content in each.files.items()
    }


def executables(config: LiveConfig) -> dict[str, str]:
    """Return the scripts of the root that features add, by their path."""
    return {path: text for each in chosen(config) for path, text in each.executables.items()}
