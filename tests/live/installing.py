# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Machines that run a script of a test, in a live system and in what was installed by it.

The script is on a disk of its own, so that all tests boot the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.builder.media.booting import OPTIONS, Booted, Step, add_check, boot, build, configure

MIB = 1 << 20
# An installation on an emulated machine, beside other tests.
INSTALL_SECONDS = 800
# What is installed boots to the same probe.
PROBING = "init=/usr/local/sbin/probe panic=5"
SETTINGS = f"""
name = "installs"
[system]
files = "files"
files_owner = "root"
hooks = "hooks"
packages = [
    "cryptsetup-initramfs", "dbus", "kmod", "linux-image-amd64", "live-boot", "login", "lvm2",
    "mdadm", "rsync", "squashfs-tools", "systemd-sysv", "udev",
]
[squashfs]
compressor = "lz4"
[media]
title = "Installs"
label = "INSTALLS"
boot_options = "{OPTIONS}"
[live]
tools = true
"""
# Disks have the same names in each boot by their serial numbers.
RUN = """\
#!/bin/sh
for disk in /sys/block/vd*; do
    case $(cat "$disk/serial") in
    script) script=/dev/${disk##*/} ;;
    target) target=/dev/${disk##*/} ;;
    esac
done
# The udev daemon, which device mapper and mdadm wait for, has ended with the initial ramdisk.
export target DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1
[ -z "$script" ] || { tr -d '\\0' < "$script" > /run/script; . /run/script; }
"""


# Most drivers are not needed, and make everything slow; one that only the root has is kept.
TRIM = """\
#!/bin/sh
set -e
cd "$1"
rm -rf usr/share/doc usr/share/locale usr/share/man
cd usr/lib/modules/*
for folder in $(cd kernel && echo sound net/* drivers/* drivers/scsi/* fs/*); do
    case $folder in
    drivers/scsi | drivers/scsi/sd_mod.ko | drivers/scsi/sr_mod.ko | drivers/scsi/scsi*) ;;
    drivers/scsi/aic7xxx) ;;
    drivers/ata | drivers/block | drivers/cdrom | drivers/char | drivers/firmware) ;;
    drivers/hid | drivers/input | drivers/md | drivers/nvme | drivers/usb | drivers/virtio) ;;
    fs/ext4 | fs/fat | fs/nls | fs/isofs | fs/squashfs | fs/overlayfs | fs/efivarfs | fs/jbd2) ;;
    fs/mbcache.ko) ;;
    *) rm -rf "kernel/$folder" ;;
    esac
done
/usr/sbin/depmod --basedir "$1" "${PWD##*/}"
"""


def make_image(output: Path, folder: Path) -> Path:
    """Build the live system."""
    config = configure(folder, SETTINGS)
    add_check(folder, "run", RUN)
    hook = folder / "hooks/configured/trim"
    hook.parent.mkdir(parents=True)
    hook.write_text(TRIM)
    hook.chmod(0o755)
    (iso,) = build(config, output, "--no-sort", "-D", f"media.boot_options={OPTIONS}")
    return iso


def blank(path: Path, size_mib: int = 2048) -> Path:
    """Make an empty disk."""
    with path.open("wb") as stream:
        stream.truncate(size_mib * MIB)
    return path


def disk(path: Path, serial: str, *options: str) -> list[str]:
    """Return what attaches a disk that keeps what is written to it."""
    name = f"disk-{serial}"
    device = ",".join((f"virtio-blk-pci,drive={name},serial={serial}", *options))
    return ["-drive", f"file={path},format=raw,if=none,id={name},cache=unsafe", "-device", device]


def medium(image: Path | str) -> list[str]:
    """Return what attaches a live medium that is booted before any disk.

    Args:
        image: File, or another name that QEMU knows it by.
    """
    drive = f"file={image},format=raw,if=none,id=medium,media=cdrom,readonly=on"
    return ["-drive", drive, "-device", "ide-cd,drive=medium,bootindex=0"]


def run_script(
    script: str,
    target: Path,
    *further: str,
    folder: Path,
    kind: str = "bios",
    memory_mib: int = 1024,
    steps: Sequence[Step] = (),
    seconds: float = INSTALL_SECONDS,
) -> Booted:
    """Boot a machine with a target disk, and run a script in what it boots."""
    path = folder / "script"
    path.write_bytes(script.encode() + bytes(-len(script.encode()) % 512))
    return boot(
        *further,
        *disk(path, "script"),
        *disk(target, "target", *(() if further else ("bootindex=0",))),
        folder=folder,
        kind=kind,
        memory_mib=memory_mib,
        steps=steps,
        seconds=seconds,
    )
