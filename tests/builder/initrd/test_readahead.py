# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrd archive with the readahead list: for this squashfs, and the same bytes each time."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootprof.builder.initrd.readahead import (
    FOLDER,
    SOURCES,
    ReadaheadRequest,
    make_archive,
    make_list,
)
from bootprof.errors import InputError
from optimizer.drives.models import DRIVES
from optimizer.formats.readahead_list import parse_list

EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root = tmp_path_factory.mktemp("builder") / "root"
    root.mkdir()
    for name in ("hot", "cold"):
        (root / name).write_bytes(os.urandom(300_000))
    made = root.parent / "image.squashfs"
    subprocess.run(["mksquashfs", root, made, "-no-progress", "-quiet"], check=True)
    return made


def unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    command = ["cpio", "--extract", "--make-directories", "--quiet", "--preserve-modification-time"]
    subprocess.run(command, cwd=target, input=archive.read_bytes(), check=True)


def test_the_archive_has_program_list_and_hook_and_is_reproducible(
    squashfs: Path, tmp_path: Path
) -> None:
    request = ReadaheadRequest("bootlog", {b"/hot": []}, DRIVES["usb-2"])
    archives = [tmp_path / "one.cpio", tmp_path / "two.cpio"]
    for target in archives:
        make_archive(make_list(request, squashfs), "amd64", target, epoch=EPOCH)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    unpack(archives[0], tmp_path / "tree")
    folder = tmp_path / "tree" / FOLDER
    for name in ("bootprof-readahead", "start-readahead"):
        assert os.access(folder / name, os.X_OK)
    with (folder / "readahead.list").open("rb") as stream:
        found = parse_list(stream, "readahead.list")
    assert found.superblock == squashfs.read_bytes()[:96]
    assert 300_000 < int(found.ranges["length_bytes"].sum()) < 400_000
    hook = tmp_path / "tree/usr/lib/live/boot/9999-readahead.sh"
    assert "start-readahead" in hook.read_text()
    assert int(hook.stat().st_mtime) == EPOCH
    # The program takes the list that it lies beside.
    command = [folder / "bootprof-readahead", folder / "readahead.list", squashfs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "complete" in done.stdout
    # Nothing is left of the folder that it was made in.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.cpio", "tree", "two.cpio"]


def test_a_bootlog_of_another_system_is_refused(squashfs: Path) -> None:
    request = ReadaheadRequest("some.list", {b"/elsewhere": []}, DRIVES["usb-2"])
    with pytest.raises(InputError, match=r"some\.list: none of its files is in the image"):
        make_list(request, squashfs)


def losetup_with_hook(tmp_path: Path, *words: str) -> list[str]:
    """Run losetup as live-boot does, in its output's place; return what was started with what."""
    hook = (Path(__file__).parents[3] / "bootprof/guest/readahead/9999-readahead.sh").read_text()
    started = tmp_path / "started"
    for name in ("start-readahead", "losetup"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {started}\necho noise\n')
        program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(hook.replace(f"/{FOLDER}", str(tmp_path)) + '\nlosetup "$@"\n')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", script, *words], env=environment, capture_output=True, text=True, check=True
    )
    # live-boot takes the output: only that of the real losetup is there.
    assert done.stdout == "noise\n"
    return started.read_text().splitlines()


def test_readahead_starts_when_live_boot_sets_up_the_squashfs(tmp_path: Path) -> None:
    path = "/run/live/medium/live/filesystem.squashfs"
    assert losetup_with_hook(tmp_path, "-r", "/dev/loop0", path) == [
        f"start-readahead {path}",
        f"losetup -r /dev/loop0 {path}",
    ]


def test_other_loop_devices_start_nothing(tmp_path: Path) -> None:
    assert losetup_with_hook(tmp_path, "--help") == ["losetup --help"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("command_line", "started"),
    [
        ("boot=live quiet", ["--background --log /dev/kmsg"]),
        ("boot=live bootprof.slowest=38 quiet", ["--slowest 38 --background --log /dev/kmsg"]),
        ("boot=live bootprof.readahead=off", []),
    ],
)
def test_the_kernel_command_line_switches_it_off_or_sets_what_is_slow(
    tmp_path: Path, command_line: str, started: list[str]
) -> None:
    for name in ("bin", "dev", "proc", "run", FOLDER):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dev/null").touch()
    shutil.copy("/usr/bin/busybox", tmp_path / "bin")
    (tmp_path / "proc/cmdline").write_text(command_line + "\n")
    tools = tmp_path / FOLDER
    for name in ("start-readahead", "bootprof-readahead.service"):
        shutil.copy(SOURCES / name, tools)
    program = tools / "bootprof-readahead"
    program.write_text('#!/bin/busybox sh\necho "$@" >> /started\n')
    program.chmod(0o755)
    (tools / "readahead.list").write_text("a list\n")
    script = (
        "/bin/busybox --install -s /bin; PATH=/bin sh /usr/lib/bootprof/start-readahead /squashfs;"
        "/bin/busybox cat /run/bootprof/options > /options"
    )
    subprocess.run(
        ["unshare", "--mount", "chroot", tmp_path, "/bin/busybox", "sh", "-c", script], check=False
    )
    said = tmp_path / "started"
    lines = said.read_text().splitlines() if said.exists() else []
    ends = " /run/bootprof/readahead.list /run/bootprof/squashfs"
    assert lines == [words + ends for words in started]
    options = [words.partition("--background")[0].strip() for words in started]
    # What the unit takes its options from.
    assert (tmp_path / "options").read_text() == "".join(f"OPTIONS={word}\n" for word in options)
