# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The recording of the running system, from a folder like the kernel module's in debugfs."""

import json
from pathlib import Path

import pytest

from bootprof.boot import running
from bootprof.boot.folder import PROFILE
from bootprof.boot.running import profile_running
from bootprof.cli import main
from bootprof.errors import BootprofError, UnsupportedError
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation


@pytest.fixture
def debugfs(tmp_path: Path) -> Path:
    folder = tmp_path / "debugfs"
    folder.mkdir()
    events = [
        Event(1000 * number, 1, b"init", Operation.OPEN, 0, 0, 8, 1, number, b"overlay", path)
        for number, path in enumerate((b"/usr/bin/b", b"/usr/bin/a", b"/usr/bin/b"), 1)
    ]
    with (folder / "events").open("wb") as stream:
        write_events(stream, Bootlog.of({"backend": "kmod", "kernel": "6.1"}, events))
    (folder / "stats").write_text("events 3\n")
    (folder / "bootlog.list").write_bytes(b"/usr/bin/b\n/usr/bin/a\n")
    (folder / "control").write_text("started\n")
    return folder


def test_the_recording_is_stopped_and_becomes_a_profile(debugfs: Path, tmp_path: Path) -> None:
    target = tmp_path / "boot"
    for _ in range(2):
        bootlog, paths = profile_running(target, debugfs)
        assert (len(bootlog.events), paths) == (3, 2)
    assert (debugfs / "control").read_text() == "stop\n"
    assert (target / "bootlog.list").read_bytes().splitlines()[-2:] == [
        b"/usr/bin/b",
        b"/usr/bin/a",
    ]
    assert json.loads((target / PROFILE).read_text())["backend"] == "kmod"
    assert sorted(path.name for path in (target / "guest").iterdir()) == ["bootlog.list", "stats"]


def test_a_boot_that_is_not_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="this boot is not recorded"):
        profile_running(tmp_path / "boot", tmp_path / "none")
    assert not (tmp_path / "boot").exists()


def test_a_recording_that_is_too_large_is_refused(
    debugfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TOTAL_LIMIT_BYTES", 20)
    with pytest.raises(BootprofError, match="exceeds the limit"):
        profile_running(tmp_path / "boot", debugfs)


@pytest.mark.parametrize("words", [["profile"], ["profile", "--running", "image.iso"]])
def test_an_image_is_given_unless_the_running_system_is_profiled(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
