"""The root file system of a live image, bootstrapped from Debian packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.config import System
from bootprof.errors import InputError
from bootprof.process import ISOLATED, program, run

# What a build leaves behind that belongs to the build host or to one machine only.
LEFTOVERS = (
    "etc/fstab",
    "etc/mtab",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "etc/udev/rules.d/70-persistent-*",
    "root/.bash_history",
    "var/cache/apt/*.bin",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*_*",
    "var/lib/dbus/machine-id",
    "var/log/*.log",
    "var/log/apt/*",
)


@dataclass(frozen=True)
class Kernel:
    """The kernel of a root file system.

    Attributes:
        release: As ``uname -r`` says it.
        image: Path of the kernel on the build host.
        initrd: Path of its initial ramdisk on the build host.
    """

    release: str
    image: Path
    initrd: Path


def make_root(
    system: System,
    target: Path,
    *,
    files: Path | None,
    udev_rules: Path | None,
    log_file: Path,
    progress: Callable[[str], None],
) -> None:
    """Bootstrap a root file system and clean it, then copy the user's files over it.

    Args:
        system: What to install.
        target: Folder to make; it is whole only when this function has returned.
        files: Folder whose content is copied over the root, after the cleaning, so that what it
            brings is never cleaned away.
        udev_rules: File of udev rules to add, if any.
        log_file: Where mmdebstrap's words go.
        progress: Called with the last of these words.
    """
    run(
        [
            *ISOLATED,
            program("mmdebstrap"),
            "--variant=minbase",
            f"--architectures={system.arch}",
            f"--components={','.join(system.components)}",
            f"--include={','.join(sorted(system.packages))}",
            # The archive's copy of a moving suite can be older than its Release file allows.
            *(['--aptopt=Acquire::Check-Valid-Until "false"'] if system.suite == "sid" else []),
            system.suite,
            target,
            *system.mirrors,
        ],
        env=system.install_env,
        log_file=log_file,
        progress=progress,
    )
    clean(target)
    configure(system, target)
    if udev_rules is not None:
        shutil.copy(udev_rules, target / "usr/lib/udev/rules.d")
    if files is not None:
        shutil.copytree(files, target, symlinks=True, dirs_exist_ok=True)


def clean(root: Path) -> None:
    """Remove what belongs to the build host from a root file system."""
    for pattern in LEFTOVERS:
        for path in root.glob(pattern):
            if not path.is_dir() or path.is_symlink():
                path.unlink()
    # An empty file, and not a missing one: systemd then makes an identity on each boot.
    (root / "etc/machine-id").write_bytes(b"")


def configure(system: System, root: Path) -> None:
    """Write the host name, and the password of root if there is one."""
    (root / "etc/hostname").write_text(f"{system.hostname}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{system.hostname}\n")
    if system.root_password:
        run(["chroot", root, "chpasswd"], stdin=f"root:{system.root_password}\n".encode())


def find_kernel(root: Path) -> Kernel:
    """Find the kernel of a root file system: the newest one that has an initrd.

    Raises:
        InputError: There is none.
    """
    found = []
    for image in root.glob("boot/vmlinuz-*"):
        release = image.name.removeprefix("vmlinuz-")
        initrd = root / "boot" / f"initrd.img-{release}"
        if initrd.is_file():
            found.append(Kernel(release, image, initrd))
    if not found:
        raise InputError(
            f"{root}: no kernel with an initrd in /boot",
            hint="add linux-image-amd64 and live-boot to system.packages",
        )
    return max(found, key=lambda kernel: version_key(kernel.release))


def version_key(release: str) -> list[tuple[int, str]]:
    """Return a key that sorts kernel releases by version: 6.1.0-10 after 6.1.0-9."""
    words = release.replace("-", ".").replace("+", ".").split(".")
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words]


def source_date_epoch(root: Path) -> int:
    """Return the time (seconds since 1970) that everything in an image carries at the latest.

    SOURCE_DATE_EPOCH of the reproducible-builds specification, or else the time at which the
    root file system was made, so that a second build from the same root gives the same bytes.
    """
    return int(os.environ.get("SOURCE_DATE_EPOCH") or root.stat().st_mtime)
