# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Who may build without root privileges, and what is said to those who may not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.builder import unprivileged
from bootprof.errors import UnsupportedError
from tests.builder.users import as_user


def test_subordinate_ids_are_counted_by_name_and_by_number() -> None:
    text = f"anna:100000:65536\n{os.getuid()}:200000:10\nbob:300000:65536\nbroken\nanna:x:y\n"
    assert unprivileged.subordinate(text, "anna") == 65546
    assert unprivileged.subordinate("", "anna") == 0


@pytest.mark.root
def test_a_user_becomes_root_of_a_namespace_with_the_ids_of_a_system(tmp_path: Path) -> None:
    program = (
        "from bootprof.builder.unprivileged import become_root; become_root(); import os; "
        "print(os.geteuid()); open('file', 'w'); os.chown('file', 42, 65000)"
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        as_user(tmp_path, [sys.executable, "-c", program]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
    owner = (tmp_path / "file").stat()
    # Of the ranges that the account has, and of no one else on this machine.
    assert (owner.st_uid, owner.st_gid) == (200_000 + 41, 200_000 + 64_999)


@pytest.mark.root
def test_a_user_without_subordinate_ids_is_told_what_to_do(tmp_path: Path) -> None:
    program = "from bootprof.builder.unprivileged import become_root; become_root()"
    done = subprocess.run(
        as_user(tmp_path, [sys.executable, "-c", program], subordinate_ids=10),
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    assert done.returncode
    assert "cannot build without root privileges: /etc/subuid gives builder no 65536" in said


def test_a_machine_without_newuidmap_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match="newuidmap is not installed") as caught:
        unprivileged.check()
    assert caught.value.hint == "sudo, or: apt-get install uidmap"
