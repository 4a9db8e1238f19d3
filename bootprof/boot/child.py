# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Starting the programs of a boot, without privileges, so that they end with bootprof.

QEMU runs a guest that may be hostile, and nbdkit answers it. Where bootprof runs as root, both run
as the user ``nobody`` without any capability. The kernel kills them when bootprof ends, even by
SIGKILL. setpriv(1) of util-linux does both; a shell in between checks that bootprof still ran
when this was set up.

They need no folder that they could enter: files and sockets are opened by bootprof and inherited.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootprof.process import program

# The parent may have ended before PR_SET_PDEATHSIG was set: then this shell has another one.
START = '[ "$PPID" = "$0" ] && exec "$@"'
# As systemd activates a service by its socket (sd_listen_fds(3)): the number of the process, which
# is this shell's, and the socket as descriptor 3.
START_LISTENING = (
    '[ "$PPID" = "$0" ] && export LISTEN_FDS=1 LISTEN_PID=$$ && exec "$@" 3<&0 0</dev/null'
)
LISTEN_DESCRIPTOR = 3
NOBODY = "nobody"
READ_ANY_FILE = "dac_read_search"


@dataclass(frozen=True)
class User:
    """Whom the programs of a boot run as.

    Attributes:
        uid: User.
        gid: Group.
    """

    uid: int
    gid: int


def unprivileged_user() -> User | None:
    """Return the user that programs run as; None if that is the user of this process."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(NOBODY)
    except KeyError:
        # The kernel's number for users that cannot be named (/proc/sys/kernel/overflowuid).
        return User(65534, 65534)
    return User(found.pw_uid, found.pw_gid)


def leash(
    *, groups: Sequence[int] = (), capabilities: Sequence[str] = (), script: str = START
) -> list[str]:
    """Return the command in front of a program that is to run unprivileged and end with us.

    Args:
        groups: Numbers of supplementary groups, where the user is changed.
        capabilities: Names of capabilities to keep, where the user is changed.
        script: The last commands of the shell; :data:`START` or :data:`START_LISTENING`.
    """
    command = [program("setpriv"), "--no-new-privs", "--pdeathsig=KILL"]
    user = unprivileged_user()
    if user is not None:
        kept = "".join(f",+{name}" for name in capabilities)
        command += [
            *(f"--reuid={user.uid}", f"--regid={user.gid}"),
            f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups",
            f"--bounding-set=-all{kept}",
            f"--inh-caps=-all{kept}",
            *([f"--ambient-caps=-all{kept}"] if kept else []),
        ]
    return [*command, "--", "sh", "-c", script, str(os.getpid())]


def start(
    command: Sequence[str | Path],
    *,
    groups: Sequence[int] = (),
    capabilities: Sequence[str] = (),
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    descriptors: Iterable[int] = (),
    listener: socket.socket | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program of a boot.

    Args:
        command: Program and arguments; the program is looked up with
            :func:`bootprof.process.program`.
        groups: As for :func:`leash`.
        capabilities: As for :func:`leash`.
        stdout: Where its standard output goes.
        stderr: Where its standard error goes.
        descriptors: File descriptors that it inherits.
        listener: Socket that it accepts connections on, as a service that systemd activates.
        stdin: What its standard input is, if that is not the listener.

    Raises:
        ToolError: The program is not installed.
    """
    name, *arguments = map(str, command)
    inherited = list(descriptors)
    script = START
    if listener is not None:
        assert LISTEN_DESCRIPTOR not in inherited
        script = START_LISTENING
    in_front = leash(groups=groups, capabilities=capabilities, script=script)
    return subprocess.Popen(
        [*in_front, program(name), *arguments],
        stdin=stdin if listener is None else listener.fileno(),
        stdout=stdout,
        stderr=stderr,
        pass_fds=inherited,
    )


def give(descriptor: int) -> None:
    """Let the programs of a boot open a file that they inherit, to write to it."""
    user = unprivileged_user()
    if user is not None:
        os.fchown(descriptor, user.uid, user.gid)


def take_back(descriptor: int) -> None:
    """Undo :func:`give`."""
    os.fchown(descriptor, os.geteuid(), os.getegid())


def readable(path: Path) -> bool:
    """Return whether the programs of a boot can read a file.

    The kernel decides: a program is started as they are, and opens the file.
    """
    if unprivileged_user() is None:
        return os.access(path, os.R_OK)
    child = start(["sh", "-c", 'exec < "$0"', path.resolve()])
    return child.wait() == 0
