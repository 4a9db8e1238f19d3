# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files of a root tree that belong to the machine that it was made on or that it ran on."""

from __future__ import annotations

import stat

from bootprof.builder.roottree import RootTree

# Files that belong to the build host, to the bootstrap or to one machine.
REMOVED = (
    "etc/.pwd.lock",
    "etc/fstab",
    "etc/group-",
    "etc/gshadow-",
    "etc/mtab",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/ssh/ssh_host_*",
    "etc/subgid-",
    "etc/subuid-",
    "etc/udev/rules.d/70-persistent-*",
    "root/.bash_history",
    "var/cache/apt/*.bin",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/NetworkManager/secret_key",
    "var/lib/apt/lists/*_*",
    "var/lib/dbus/machine-id",
    "var/lib/dhcp/*.lease*",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/log/*.log",
    "var/log/apt/*",
)
# Files of this kind whose owner and mode count: programs expect them.
EMPTIED = (
    "var/cache/debconf/passwords.dat",
    "var/log/btmp",
    "var/log/faillog",
    "var/log/lastlog",
    "var/log/wtmp",
)


# Mount points: what a builder or a container left there is hidden in a running system. A build
# without root privileges cannot have device nodes, and gives the same bytes as one with them.
MOUNT_POINTS = ("dev", "proc", "sys")


def clean(tree: RootTree) -> None:
    """Remove what belongs to the build host or to one machine from a root tree."""
    for pattern in REMOVED:
        for path in tree.glob(pattern):
            found = tree.status(path)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                tree.remove(path)
    for folder in MOUNT_POINTS:
        status = tree.status(folder)
        if status is not None and stat.S_ISDIR(status.st_mode):
            for name in tree.listing(folder):
                tree.remove(f"{folder}/{name}")
    for path in EMPTIED:
        tree.empty_file(path)
    # An empty file, and not a missing one: systemd then makes an identity on each boot.
    tree.write_file("etc/machine-id", b"")
