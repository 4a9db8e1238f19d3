# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Builds by an ordinary user: the whole command runs again as root of a user namespace.

In it, files can belong to any of the user's subordinate IDs, which the image's users are mapped to;
the host's root has no part in it. Device nodes cannot be made there.

Source: user_namespaces(7), subuid(5), newuidmap(1), unshare(1).
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from pathlib import Path

from bootprof.errors import ToolError, UnsupportedError
from bootprof.process import program, run

# The IDs of a Debian system: 0 to 65534 (nobody).
WANTED_IDS = 65536
NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto")
FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


def become_root() -> None:
    """Run this program again as root of a user namespace, if it does not run as root.

    Raises:
        UnsupportedError: This machine or account does not allow it; the text says why.
    """
    if os.geteuid() == 0:
        return
    check()
    os.execv(program(NAMESPACE[0]), [*NAMESPACE, sys.executable, *sys.orig_argv[1:]])


def check() -> None:
    """Find out whether this user can have a namespace with enough IDs.

    Raises:
        UnsupportedError: What is missing, and what mends it.
    """
    user = getpass.getuser()
    if shutil.which("newuidmap") is None:
        raise refused("newuidmap is not installed", "apt-get install uidmap")
    for path in FILES:
        if subordinate(path.read_text() if path.is_file() else "", user) < WANTED_IDS:
            raise refused(
                f"{path} gives {user} no {WANTED_IDS} subordinate IDs",
                f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    try:
        run([*NAMESPACE, "true"])
    except ToolError as error:
        raise refused(
            f"the kernel or newuidmap refuses a user namespace ({error.hint})",
            "see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns",
        ) from None


def refused(why: str, hint: str) -> UnsupportedError:
    """Return the error of a user who can build only as root."""
    return UnsupportedError(
        f"cannot build without root privileges: {why}", hint=f"sudo, or: {hint}"
    )


def subordinate(text: str, user: str) -> int:
    """Return how many subordinate IDs a user has.

    Args:
        text: Content of /etc/subuid or /etc/subgid.
        user: Name of the user.
    """
    names = (user, str(os.getuid()))
    lines = (line.split(":") for line in text.splitlines())
    return sum(
        int(line[2]) for line in lines if len(line) == 3 and line[0] in names and line[2].isdigit()
    )
