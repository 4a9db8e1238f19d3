# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files of a root tree that belong to the machine that it was made on or that it ran on."""

from __future__ import annotations

import stat

from bootprof.builder.roottree import RootTree

# Files that belong to the build host, to the bootstrap or to one machine.
REMOVED = (
    "etc/.pwd.lock",
    "etc/NetworkManager/system-connections/*",
    "etc/adjtime",
    "etc/crypttab",
    "etc/fstab",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostid",
    "etc/iscsi/initiatorname.iscsi",
    "etc/modprobe.conf",
    "etc/mtab",
    "etc/network/interfaces.d/*",
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
    "var/lib/NetworkManager/*",
    "var/lib/apt/lists/*_*",
    "var/lib/dbus/machine-id",
    "var/lib/dhcp/*.lease*",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/timers/stamp-*",
    "var/lib/systemd/timesync/clock",
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


# Folders of apt that apt makes again. Their owner tells whether its user could read the build
# host's folders, so that the place of a build would change its bytes.
APT_FOLDERS = ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial")
# Folders with what one machine has paired with and logged.
FOLDERS = (*APT_FOLDERS, "var/lib/bluetooth/*", "var/log/journal/*")
# Network cards are one machine's; this is what Debian's ifupdown installs.
INTERFACES = b"""\
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback
"""
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
    for pattern in FOLDERS:
        for path in tree.glob(pattern):
            tree.remove(path)
    if tree.is_file("etc/network/interfaces"):
        tree.write_file("etc/network/interfaces", INTERFACES)
    for path in EMPTIED:
        tree.empty_file(path)
    # An empty file, and not a missing one: systemd then makes an identity on each boot.
    tree.write_file("etc/machine-id", b"")
