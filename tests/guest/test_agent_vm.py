# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The agent as first process of a real kernel: the boot continues whatever the backends do."""

import os
from pathlib import Path

import pytest

from bootprof.builder import store
from tests.guest.programs import AGENT, build
from tests.guest.test_agent import compile_program
from vmtest.guest import complaints, run_guest
from vmtest.kernels import GuestKernel, fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]

HERE = Path(__file__).parent
SUITES = os.environ.get("BOOTPROF_SUITES", "bookworm").split()
READY_SECONDS = 5


@pytest.fixture(scope="module", params=SUITES)
def kernel(request: pytest.FixtureRequest, output: Path) -> GuestKernel:
    cache = output / "cache"
    with store.opened(cache):
        return fetch_kernel(request.param, cache)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("agent")
    recorder = folder / "recorder"
    compile_program(recorder, HERE / "recorder.c", "-static")
    agent = build(AGENT, folder, f"-DREADY_SECONDS={READY_SECONDS}")
    names = ("bootprof-trace", "bootprof-watch")
    return {"bootprof/agent": agent} | {f"bootprof/{name}": recorder for name in names}


@pytest.mark.parametrize(
    ("backend", "behaviour", "results"),
    [
        (
            "auto",
            {"ebpf": "hangs", "fanotify": "crashes", "inotify": "records"},
            [
                "kmod failed: the profiler archive has no kernel module",
                f"ebpf failed: not ready after {READY_SECONDS} s",
                "fanotify failed: exited without an error message",
                "inotify started",
            ],
        ),
        ("ebpf", {"ebpf": "hangs"}, [f"ebpf failed: not ready after {READY_SECONDS} s"]),
        ("none", {}, []),
    ],
    ids=["auto", "one", "none"],
)
def test_the_boot_continues(
    kernel: GuestKernel,
    programs: dict[str, Path],
    tmp_path: Path,
    backend: str,
    behaviour: dict[str, str],
    results: list[str],
) -> None:
    told = tmp_path / "behaviour"
    told.write_text("".join(f"{name} {does}\n" for name, does in behaviour.items()))
    script = "dmesg | sed -n 's/.*bootprof-agent: //p' > $OUT; echo $PPID > $OUT\n"
    result = run_guest(
        kernel,
        script,
        files=programs | {"behaviour": told},
        kernel_options=f"rdinit=/bootprof/agent bootprof={backend}",
    )
    assert result.status == 0, result.console
    assert complaints(result.console) == [], result.console
    # The parent of the script is the image's /init, the first process still.
    assert result.output.decode().splitlines() == [*results, "1"]
