# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The root tree of a live image: a bootstrapped one, cleaned and configured.

It is made in two stages with separate caches. The bootstrap takes minutes and depends only on
packages and archive; the second stage works on a copy of it and takes seconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import desktop, features, hooks, identity, languages, overlay, patches
from bootprof.builder.config import LiveConfig, System
from bootprof.builder.hooks import Hooks
from bootprof.builder.overlay import Overlay
from bootprof.builder.patches import Patches
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.errors import InputError, UnsupportedError
from bootprof.process import run

UDEV_RULES_FOLDER = "usr/lib/udev/rules.d"
DPKG_STATUS = "var/lib/dpkg/status"
DAY_SECONDS = 86400
# The release becomes a part of file names and of the names of packages.
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")


@dataclass(frozen=True)
class Kernel:
    """The kernel of a root tree.

    Attributes:
        release: As ``uname -r`` prints it.
        image: Path of the kernel on the build host, free of links.
        initrd: Path of its initial ramdisk on the build host, free of links.
        options: Its build configuration (``CONFIG_… =y`` lines), or an empty string.
    """

    release: str
    image: Path
    initrd: Path
    options: str = ""


@dataclass(frozen=True)
class Additions:
    """What a build adds to a bootstrapped tree besides settings.

    Attributes:
        patches: Patches to apply after the cleaning, or None.
        files: What is copied over the tree after the patches, so that nothing of it is cleaned
            away, or None.
        hooks: Programs to run, or None.
        udev_rules: File of udev rules, or None.
    """

    patches: Patches | None = None
    files: Overlay | None = None
    hooks: Hooks | None = None
    udev_rules: Path | None = None


def finish(
    config: LiveConfig,
    bootstrapped: Path,
    target: Path,
    added: Additions,
    log_file: Path,
) -> None:
    """Make the root tree of an image from a bootstrapped one.

    Args:
        config: Host name, password, languages and desktop.
        bootstrapped: The bootstrapped tree, which is not changed.
        target: Folder to make; it is whole only when this function has returned.
        added: Patches, files, hooks and rules.
        log_file: Where the output of hooks goes.
    """
    # Shares the content where the file system can (btrfs, XFS), and copies it elsewhere.
    run(["cp", "--archive", "--reflink=auto", "--no-target-directory", bootstrapped, target])
    times = bootstrapped.stat()
    epoch = source_date_epoch(bootstrapped)
    variables = hooks.environment(config, epoch)

    def run_hooks(step: str) -> None:
        if added.hooks is not None:
            hooks.run_step(added.hooks, step, target, variables, log_file)

    run_hooks("bootstrapped")
    with open_tree(target) as tree:
        identity.clean(tree)
        configure(config.system, tree, int(times.st_mtime))
        languages.configure(config.system, target, tree, log_file)
        desktop.configure(config.desktop, tree)
        for path, content in features.files(config).items():
            tree.write_file(path, content)
        for path, text in features.executables(config).items():
            tree.write_file(path, text.encode(), 0o755)
        if added.udev_rules is not None:
            rules = added.udev_rules
            tree.write_file(f"{UDEV_RULES_FOLDER}/{rules.name}", rules.read_bytes())
        if added.patches is not None:
            patches.apply(added.patches, tree)
        if added.files is not None:
            overlay.apply(added.files, tree)
    run_hooks("configured")
    with open_tree(target) as tree:
        limit_times(tree, epoch)
    # An image's time is that of its bootstrap, however often the rest is done again.
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def leave_out(tree: RootTree, patterns: Iterable[str]) -> bool:
    """Remove what matches wildcards; return whether anything did."""
    found = [path for pattern in patterns for path in tree.glob(pattern)]
    for path in found:
        tree.remove(path)
    return bool(found)


def limit_times(tree: RootTree, epoch: int) -> None:
    """Set the time of everything that changed after the epoch to it, in seconds since 1970."""
    for path, found in tree.walk():
        if found.st_mtime_ns > epoch * 10**9:
            tree.set_time(path, epoch * 10**9)


def configure(system: System, tree: RootTree, epoch: int) -> None:
    """Write the host name, and the password of root if there is one.

    Args:
        system: Which.
        tree: Root tree.
        epoch: When the password was changed, in seconds since 1970.
    """
    tree.write_file("etc/hostname", f"{system.hostname}\n".encode())
    hosts = f"127.0.0.1\tlocalhost\n127.0.1.1\t{system.hostname}\n"
    tree.write_file("etc/hosts", hosts.encode())
    if system.root_password:
        set_root_password(tree, system.root_password, epoch)


def set_root_password(tree: RootTree, password: str, epoch: int) -> None:
    """Set the password of root in etc/shadow, without running a program of the tree.

    The salt comes from the password, so that the same configuration gives the same bytes.

    Raises:
        InputError: The tree has no entry for root.
        UnsupportedError: This machine has no libcrypt.
    """
    lines = tree.read_file("etc/shadow").split(b"\n") if tree.is_file("etc/shadow") else []
    for number, line in enumerate(lines):
        fields = line.split(b":")
        if fields[0] == b"root" and len(fields) == 9:
            fields[1] = hashed(password)
            fields[2] = str(epoch // DAY_SECONDS).encode()
            lines[number] = b":".join(fields)
            tree.rewrite_file("etc/shadow", b"\n".join(lines))
            return
    raise tree.error("etc/shadow", "no entry for root, whose password system.root_password sets")


def hashed(password: str) -> bytes:
    """Return the SHA-512 hash of a password as crypt(5) describes it."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        raise UnsupportedError(
            "system.root_password needs libcrypt", hint="apt-get install libcrypt1"
        ) from None
    library.crypt.restype = ctypes.c_char_p
    salt = hashlib.sha256(b"bootprof\0" + password.encode()).hexdigest()[:16]
    result = library.crypt(password.encode(), f"$6${salt}$".encode())
    if not result or not bytes(result).startswith(b"$6$"):
        raise UnsupportedError("libcrypt cannot hash a password with SHA-512")
    return bytes(result)


def find_kernel(root: Path) -> Kernel:
    """Find the kernel of a root tree: the newest one that has an initrd.

    Raises:
        InputError: There is none.
    """
    found = []
    with open_tree(root) as tree:
        for image in tree.glob("boot/vmlinuz-*"):
            release = image.removeprefix("boot/vmlinuz-")
            initrd, options = f"boot/initrd.img-{release}", f"boot/config-{release}"
            if RELEASE.fullmatch(release) and tree.is_file(image) and tree.is_file(initrd):
                text = tree.read_file(options) if tree.is_file(options) else b""
                kernel = Kernel(
                    release, tree.locate(image), tree.locate(initrd), text.decode(errors="replace")
                )
                found.append(kernel)
    if not found:
        raise InputError(
            f"{root}: no kernel with an initrd in /boot",
            hint="add linux-image-amd64 and live-boot to system.packages",
        )
    return max(found, key=lambda kernel: version_key(kernel.release))


def packages(root: Path) -> dict[str, str]:
    """Return the version of each package that is installed in a root tree, by its name.

    Format: deb822(5), dpkg's status file; a package of another architecture has its own name.
    """
    found = {}
    with open_tree(root) as tree:
        status = tree.read_file(DPKG_STATUS) if tree.is_file(DPKG_STATUS) else b""
    for paragraph in status.decode(errors="replace").split("\n\n"):
        # A continuation line begins with a space.
        lines = (line.partition(": ") for line in paragraph.splitlines() if line[:1] != " ")
        fields = {name: value for name, _, value in lines}
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found[f"{fields['Package']}:{fields.get('Architecture', '')}"] = fields.get(
                "Version", ""
            )
    return dict(sorted(found.items()))


def version_key(release: str) -> list[tuple[int, str]]:
    """Return a key that sorts kernel releases by version: 6.1.0-10 after 6.1.0-9."""
    words = release.replace("-", ".").replace("+", ".").split(".")
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words]


def source_date_epoch(root: Path) -> int:
    """Return the time (seconds since 1970) that everything in an image carries at the latest.

    SOURCE_DATE_EPOCH of the reproducible-builds specification, or else the time at which the
    root tree was bootstrapped, so that a second build from the same tree gives the same bytes.

    Raises:
        InputError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    configured = os.environ.get("SOURCE_DATE_EPOCH")
    if not configured:
        return int(root.stat().st_mtime)
    if not (configured.isascii() and configured.isdigit() and len(configured) <= 10):
        raise InputError(
            f"SOURCE_DATE_EPOCH: not a number: {configured!r:.60}",
            hint="set it to seconds since 1970",
        )
    return int(configured)
