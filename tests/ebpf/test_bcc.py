# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The bcc tracer: its errors anywhere, what it records where bcc has headers to compile against."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ebpf.support import TOP, compile_program, parse

PROGRAM = TOP / "ebpf/bootprof_bcc.py"
TRACEFS = Path("/sys/kernel/tracing")


def run(
    *words: str | Path, environment: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the tracer where tracefs is mounted, in a mount namespace of its own."""
    script = f'[ -e {TRACEFS}/events ] || mount -t tracefs none {TRACEFS}; exec "$@"'
    command: list[str | Path] = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, PROGRAM]
    return subprocess.run(
        [*command, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )


@pytest.mark.root
def test_what_is_missing_is_said_in_one_line_and_a_hint(tmp_path: Path) -> None:
    done = run("true", environment={"BCC_KERNEL_SOURCE": str(tmp_path)})
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error in (
        "bootprof_bcc: error: bcc is not installed",
        f"bootprof_bcc: error: {tmp_path}: no kernel headers (BCC_KERNEL_SOURCE)",
    )
    assert hint.startswith("bootprof_bcc: hint: ")


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where bcc finds headers: its own way, or those of Debian's kernel in one folder.

    The host may run another kernel than Debian's. The tracer reads nothing but the arguments of
    tracepoints, so the headers of another one will do.
    """
    if Path(f"/lib/modules/{os.uname().release}/build").exists():
        return {}
    merged = tmp_path_factory.mktemp("headers")
    # Debian splits them; the folder of the architecture is laid over what all share.
    for flavour in ("common", "amd64"):
        for source in sorted(Path("/usr/src").glob(f"linux-headers-*-{flavour}"))[-1:]:
            subprocess.run(["cp", "-rsf", f"{source}/.", merged], check=True)
    return {"BCC_KERNEL_SOURCE": str(merged)}


@pytest.mark.root
def test_opened_names_are_recorded_in_order(tmp_path: Path, headers: dict[str, str]) -> None:
    tried = run("--output", tmp_path / "events", "true", environment=headers)
    if tried.returncode:
        pytest.skip(f"bcc cannot run here: {tried.stderr}")
    # Under a name of its own: other tests may run the same program meanwhile.
    workload = compile_program(TOP / "tests/kmod/workload.c", tmp_path / "bcc-workload")
    folder = tmp_path / "w"
    folder.mkdir()
    words: list[str | Path] = [workload, "storm", folder, "1", "46"]
    done = run("--output", tmp_path / "events", *words, environment=headers)
    assert done.returncode == 0, done.stderr
    log = parse((tmp_path / "events").read_bytes())
    opened = [event for event in log.events if event.command == workload.name]
    names = [event.path for event in opened if "/storm-" in event.path]
    expected = [f"storm-{number}" for number in [*range(23), *range(23), *range(23)]]
    assert [Path(name).name for name in names] == expected
    assert str(workload) in [event.path for event in log.events if event.operation == "exec"]
    assert log.lost == 0


def test_the_event_is_read_as_the_header_lays_it_out() -> None:
    header = (TOP / "ebpf/bootprof_event.h").read_text()
    found = re.search(r"sizeof\(struct bootprof_event\) == (\d+)", header)
    assert found
    layout = re.search(r'EVENT = struct.Struct\("(.*)"\)', PROGRAM.read_text())
    assert layout
    assert struct.calcsize(layout[1]) == int(found[1])
