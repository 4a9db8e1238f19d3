# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What holds for every test of the builder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder import canary

# Where the links and files of a Debian root lead, if they are followed on the host.
HOST = (
    *("etc/alternatives", "etc/apt", "etc/default", "etc/ssh", "etc/systemd", "boot"),
    *("etc/fstab", "etc/group", "etc/hostname", "etc/hosts", "etc/localtime", "etc/machine-id"),
    *("etc/passwd", "etc/shadow", "usr/bin/sh", "usr/share/zoneinfo/Etc", "var/lib/dpkg/info"),
)


def host_state() -> dict[str, tuple[int, ...]]:
    """Return what a change of a file of the host would change; ctime tells any change."""
    found: dict[str, tuple[int, ...]] = {}
    for name in HOST:
        top = Path("/", name)
        for path in (top, *top.rglob("*")) if top.is_dir() else (top,):
            if os.path.lexists(path):
                status = path.lstat()
                found[str(path)] = (
                    status.st_ino,
                    status.st_mode,
                    status.st_uid,
                    status.st_ctime_ns,
                )
    return found


@pytest.fixture(scope="module", autouse=True)
def untouched_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the host changes, nor of a tree beside the folders of the tests."""
    folder = canary.plant(tmp_path_factory.mktemp("canary"))
    before = host_state(), canary.state(folder)
    yield
    assert (host_state(), canary.state(folder)) == before
