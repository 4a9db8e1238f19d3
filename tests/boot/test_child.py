# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The programs of a boot: unprivileged, and gone with bootprof."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.boot import child
from bootprof.process import program, wait_for


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def is_running(pid: int) -> bool:
    try:
        return status_of(pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_parent_takes_its_programs_with_it() -> None:
    script = (
        "import os, signal; from bootprof.boot import child;"
        "process = child.start(['sleep', '1000']); print(process.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    pid = int(done.stdout)
    assert wait_for(lambda: not is_running(pid), 10)


def test_a_program_whose_parent_has_gone_already_does_not_start() -> None:
    command = child.leash()
    # As if this process had been another one when it asked.
    command[-1] = str(os.getpid() + 1)
    done = subprocess.run([*command, "echo", "started"], capture_output=True, check=False)
    assert (done.returncode != 0, done.stdout) == (True, b"")


@pytest.mark.root
def test_a_program_of_root_has_no_privilege_left(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    process = child.start(["sleep", "1000"], groups=[0])
    try:
        command = f"{program('sleep')}\0001000\0".encode()
        assert wait_for(lambda: read_command(process.pid) == command, 10)
        status = status_of(process.pid)
        assert "0" not in status["Uid"].split()
        assert "0" not in status["Gid"].split()
        assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
        assert status["NoNewPrivs"] == "1"
    finally:
        process.kill()
        process.wait()
    assert not child.readable(secret)


def read_command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
