# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The agent: whatever a backend does, the boot continues, and the host is told."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guest.programs import AGENT, CHECKS, GUEST, build, run_checked

pytestmark = pytest.mark.root

PROGRAM = re.compile(r'R\("\w+", \d+, "([^"]+)"')
HERE = Path(__file__).parent
# Instead of 60 seconds.
SHORT = ("-DREADY_SECONDS=1", "-DSILENT_SECONDS=1")


def programs() -> set[str]:
    """Return the programs that the agent's table names."""
    return set(PROGRAM.findall((GUEST / "agent/recorders.h").read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent with short limits, its parts with the sanitizers, and a recorder to start."""
    folder = tmp_path_factory.mktemp("programs")
    build(AGENT, folder, *SHORT)
    sources = [GUEST / "agent" / name for name in ("start.c", "harvest.c", "notes.c")]
    sources += [GUEST / "common/files.c", HERE / "agent_driver.c"]
    includes = [f"-I{GUEST / name}" for name in ("agent", "common")]
    compile_program(folder / "driver", *sources, *CHECKS, *SHORT, *includes)
    compile_program(folder / "recorder", HERE / "recorder.c", "-static")
    return folder


def compile_program(target: Path, *words: str | Path) -> None:
    subprocess.run(
        ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", target, *words], check=True
    )


def make_root(folder: Path, target: Path, behaviour: Mapping[str, str]) -> Path:
    """An initramfs with the profiler; its recorders behave as they are told."""
    (target / "bootprof").mkdir(parents=True)
    (target / "debugfs").mkdir()
    for name in programs():
        shutil.copy(folder / "recorder", target / "bootprof" / name)
    lines = [f"{name} {does}\n" for name, does in behaviour.items()]
    (target / "behaviour").write_text("".join(lines))
    return target


@dataclass(frozen=True)
class Harvest:
    files: dict[str, bytes]

    @property
    def log(self) -> list[list[str]]:
        return [line.split("\t") for line in self.files["agent.log"].decode().splitlines()]


def start(folder: Path, root: Path, backend: str) -> Harvest:
    """Let the agent's parts start backends and harvest them."""
    done = run_checked(Path("/usr/bin/unshare"), "--mount", folder / "driver", root, backend)
    assert done.returncode == 0, done.stderr
    files, rest = {}, done.stdout
    while rest != b"end\n":
        line, _, rest = rest.partition(b"\n")
        word, name, length = line.decode().split(" ")
        assert word == "file"
        files[name], rest = rest[: int(length)], rest[int(length) :]
    return Harvest(files)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("hangs", "not ready after 1 s"),
        ("crashes", "exited without an error message"),
        ("exits", "exited without an error message"),
        ("explains", "no such thing here"),
    ],
)
def test_auto_goes_on_to_the_next_backend(
    folder: Path, tmp_path: Path, does: str, reason: str
) -> None:
    behaviour = {"ebpf": does, "fanotify": does, "inotify": "records"}
    harvest = start(folder, make_root(folder, tmp_path / "root", behaviour), "auto")
    assert harvest.log == [
        ["kmod", "failed", "the profiler archive has no kernel module"],
        ["ebpf", "failed", reason],
        ["fanotify", "failed", reason],
        ["inotify", "started", ""],
    ]
    # systemd kills the processes of an initramfs whose names do not start with an at sign.
    assert harvest.files["inotify.events"] == b"log of inotify by @bootprof-watch\n"


def test_each_backend_of_a_list_is_started_whatever_the_others_do(
    folder: Path, tmp_path: Path
) -> None:
    behaviour = {"ebpf": "records", "fanotify": "hangs", "block_dump": "records"}
    root = make_root(folder, tmp_path / "root", behaviour)
    harvest = start(folder, root, "ebpf+nonsense+fanotify+block_dump")
    assert harvest.log == [
        ["ebpf", "started", ""],
        ["nonsense", "failed", "unknown backend"],
        ["fanotify", "failed", "not ready after 1 s"],
        ["block_dump", "started", ""],
    ]
    assert set(harvest.files) == {"ebpf.events", "block_dump.log", "processor", "agent.log"}


def test_a_missing_program_is_named(folder: Path, tmp_path: Path) -> None:
    root = make_root(folder, tmp_path / "root", {})
    (root / "bootprof/bootprof-trace").unlink()
    log = start(folder, root, "ebpf").log
    assert log == [["ebpf", "failed", "/bootprof/bootprof-trace: No such file or directory"]]


def test_a_recorder_that_does_not_end_costs_its_own_log_only(folder: Path, tmp_path: Path) -> None:
    behaviour = {"ebpf": "ignores", "fanotify": "records"}
    root = make_root(folder, tmp_path / "root", behaviour)
    harvest = start(folder, root, "ebpf+fanotify")
    assert harvest.files["ebpf.events"] == b"unfinished"
    assert harvest.files["fanotify.events"].startswith(b"log of fanotify")
    assert harvest.log[-1] == ["ebpf", "failed", "its log has no end after 1 s"]


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ("", None),
        ("missing.ko ranges=1\n", "missing.ko: ENOENT"),
        ("nonsense.ko\n", "nonsense.ko: E"),
        ("hangs.ko ranges=1\n", "hangs.ko: not loaded after 1 s"),
    ],
)
def test_a_kernel_module_that_cannot_be_loaded_does_not_hold_up_the_others(
    folder: Path, tmp_path: Path, modules: str, reason: str | None
) -> None:
    root = make_root(folder, tmp_path / "root", {"ebpf": "records"})
    (root / "bootprof/modules").write_text(modules)
    (root / "bootprof/nonsense.ko").write_bytes(b"no module")
    # A file whose opening waits for a writer.
    os.mkfifo(root / "bootprof/hangs.ko")
    log = start(folder, root, "kmod+ebpf").log
    assert log[-1] == ["ebpf", "started", ""]
    if reason is not None:
        assert log[0][:2] == ["kmod", "failed"]
        assert log[0][2].startswith(reason)


@pytest.mark.parametrize("modules", [None, "missing.ko\n", "hangs.ko\n"])
def test_the_image_is_booted_when_no_backend_starts(
    folder: Path, tmp_path: Path, modules: str | None
) -> None:
    root = make_root(folder, tmp_path / "root", {})
    shutil.copy(folder / "agent", root / "bootprof")
    shutil.copy("/bin/busybox", root / "busybox")
    os.mkfifo(root / "bootprof/hangs.ko")
    if modules is not None:
        (root / "bootprof/modules").write_text(modules)
    init = root / "init"
    init.write_text("#!/busybox sh\n/busybox echo $$ $0; /busybox ls /sys /proc\n")
    init.chmod(0o755)
    # The kernel's command line of this host names no backend, so it is kmod.
    command: list[str | Path] = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "chroot",
        root,
        "/bootprof/agent",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # The first process still, and nothing mounted that the image does not expect.
    assert done.stdout.splitlines()[0] == "1 /init"
    assert done.stdout.splitlines()[1:] in (["/proc:", "", "/sys:"], ["/sys:", "", "/proc:"], [])
