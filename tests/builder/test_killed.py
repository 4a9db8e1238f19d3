"""Builds that are killed at random points: nothing stays, and the next build is right."""

import contextlib
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.files import UNFINISHED
from bootprof.process import wait_for
from tests.builder import small

pytestmark = [pytest.mark.vm, pytest.mark.root]
SEED = 12
# How many builds are killed while they bootstrap, and how many after that.
BOOTSTRAPS, LATER = 4, 8


@dataclass(frozen=True)
class Place:
    """Where builds run.

    Attributes:
        folder: Configuration, output and temporary files.
        seconds: How long a build takes after its bootstrap.
        digest: Of the image.
    """

    folder: Path
    seconds: float
    digest: str


def processes(folder: Path) -> list[str]:
    """Return the command lines of what a build has started and still runs."""
    wanted = f"{small.MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def unfinished(folder: Path) -> list[Path]:
    """Return temporary files and folders."""
    return [
        *(folder / "tmp").iterdir(),
        *(folder / "out").glob(f"{UNFINISHED}*"),
        *(folder / "out/cache").glob(f"{UNFINISHED}*"),
        *(folder / "out/cache").glob("*.staging"),
    ]


@pytest.fixture(scope="module")
def place(small_build: Path) -> Place:
    small.forget(small_build)
    started = time.monotonic()
    manifest = small.build(small_build)
    return Place(small_build, time.monotonic() - started, manifest["image_sha256"])


def points() -> list[tuple[int, float, bool]]:
    """Return signal, share of the build's length and whether it bootstraps, for each build."""
    source = random.Random(SEED)
    return [
        # SIGTERM a third of the times: that is what a CI sends, and systemd.
        (source.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)), source.random(), first)
        for first in (True,) * BOOTSTRAPS + (False,) * LATER
    ]


@pytest.mark.parametrize(("number", "share", "bootstraps"), points())
def test_a_killed_build_leaves_nothing_and_the_next_one_is_right(
    number: int, share: float, bootstraps: bool, place: Place
) -> None:
    folder = place.folder
    small.forget(folder)
    mounts = Path("/proc/self/mountinfo").read_bytes()
    child = small.start(folder, *(["--refresh"] if bootstraps else []))
    try:
        child.wait(1.5 + (20 if bootstraps else place.seconds) * share)
    except subprocess.TimeoutExpired:
        child.send_signal(number)
    child.communicate()
    # The kernel takes a moment for a tree of processes, not more.
    assert wait_for(lambda: not processes(folder), 15), processes(folder)
    assert Path("/proc/self/mountinfo").read_bytes() == mounts
    if number == signal.SIGTERM:
        assert not unfinished(folder)
    assert small.build(folder)["image_sha256"] == place.digest
    assert not unfinished(folder)
