# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Profiles of a machine that finds nothing to boot: real boots of a few seconds, firmware alone."""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootprof.boot.plan import plan_recording
from bootprof.boot.profile import Profile, profile
from bootprof.boot.qemu import Machine
from bootprof.boot.target import parse_target
from bootprof.errors import BootprofError
from bootprof.process import wait_for

pytestmark = pytest.mark.vm
TOP = Path(__file__).parents[2]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "empty.img"
    path.write_bytes(bytes(1 << 20))
    return path


def boot(image: Path, progress: Callable[[str], None] = lambda text: None) -> Profile:
    return profile(
        image,
        image.with_suffix(".profile"),
        plan=plan_recording(image, "block"),
        machine=Machine(memory_mib=64, processors=1, accelerator="tcg"),
        target=parse_target("seconds:5"),
        timeout_seconds=60,
        progress=progress,
    )


def test_profile_json_has_the_keys_that_the_documentation_lists(image: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    done = boot(image)
    description = json.loads((done.folder / "profile.json").read_text())
    page = (TOP / "docs/commands/profile.md").read_text().partition("(schema 3)")[2]
    rows = re.findall(r"^\| (`[^|]+`) \|", page.partition("\n\n## ")[0], re.MULTILINE)
    documented = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(description)
    assert description["schema"] == 3
    assert description["boots"] == 1
    assert description["accelerator"] == "tcg"
    assert description["machine"]["memory_mib"] == 64
    assert before <= datetime.fromisoformat(description["date"]) <= datetime.now(UTC)
    assert description["image_bytes"] == 1 << 20


def nbdkit_of(image: Path) -> list[int]:
    """Find the server of an image."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].endswith(b"nbdkit") and str(image).encode() in command:
            found.append(int(path.parent.name))
    return found


def kill_server(image: Path) -> None:
    for pid in nbdkit_of(image):
        os.kill(pid, 9)


def cut(image: Path) -> None:
    os.truncate(image, 512)


def replace(image: Path) -> None:
    other = image.with_name("other")
    other.write_bytes(bytes(1 << 20))
    other.replace(image)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (kill_server, "nbdkit ended while it served"),
        (cut, "changed during the boot"),
        (replace, "changed during the boot"),
        (Path.unlink, "removed during the boot"),
    ],
    ids=["server killed", "image cut", "image replaced", "image removed"],
)
def test_a_medium_that_dies_or_changes_fails_the_boot_and_keeps_what_it_recorded(
    image: Path, attack: Callable[[Path], None], message: str
) -> None:
    def strike() -> None:
        assert wait_for(lambda: bool(nbdkit_of(image)), 20)
        time.sleep(1)
        attack(image)

    attacker = threading.Thread(target=strike)
    attacker.start()
    try:
        with pytest.raises(BootprofError, match=message):
            boot(image)
    finally:
        attacker.join()
    assert not image.with_suffix(".profile").exists()
    failed = image.with_name("empty.profile.failed")
    assert (failed / "nbdkit.log").stat().st_size > 0
    assert message in json.loads((failed / "failure.json").read_text())["error"]
