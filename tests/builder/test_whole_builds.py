# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Whole builds: what is done again, what stays in the image, and what a killed build leaves."""

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.files import UNFINISHED, file_digest, scratch_folder
from bootprof.process import wait_for
from tests.builder import small, users
from tests.trees import unpacked

pytestmark = [pytest.mark.vm, pytest.mark.root]
SEED = 12
# How many builds are killed, a third of them while they bootstrap. `make test-kills` takes more.
KILLS = int(os.environ.get("BOOTPROF_KILLS", "3"))
BOOTSTRAPS = KILLS // 3
LATER = KILLS - BOOTSTRAPS


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


def mounts(folder: Path) -> list[str]:
    """Return what is mounted below a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def loop_devices(folder: Path) -> list[str]:
    """Return the loop devices over files below a folder."""
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [path for path in backing if str(folder) in path]


def unfinished(folder: Path) -> list[Path]:
    """Return temporary files and folders."""
    return [
        *(folder / "tmp").iterdir(),
        *(folder / "out").glob(f"{UNFINISHED}*"),
        *(folder / "out/cache").glob(f"{UNFINISHED}*"),
        *(folder / "out/cache").glob("*.staging"),
    ]


@pytest.fixture(scope="module")
def small_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small image was built once, with its cache."""
    folder = tmp_path_factory.mktemp("small")
    small.build(folder)
    return folder


@pytest.fixture(scope="module")
def place(small_build: Path) -> Place:
    small.forget(small_build)
    started = time.monotonic()
    manifest = small.build(small_build)
    return Place(small_build, time.monotonic() - started, manifest["images"][0]["sha256"])


def points() -> list[tuple[int, float, bool]]:
    """Return signal, share of the build's length and whether it bootstraps, for each build."""
    source = random.Random(SEED)
    return [
        # SIGTERM a third of the times: that is what a CI sends, and systemd.
        (source.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)), source.random(), first)
        for first in (True,) * BOOTSTRAPS + (False,) * LATER
    ]


@pytest.mark.parametrize(("number", "share", "bootstraps"), points(), ids=range(BOOTSTRAPS + LATER))
def test_a_killed_build_leaves_nothing_and_the_next_one_is_right(
    number: int, share: float, bootstraps: bool, place: Place
) -> None:
    folder = place.folder
    small.forget(folder)
    child = small.start(folder, *(["--refresh"] if bootstraps else []))
    try:
        child.wait(1.5 + (8 if bootstraps else place.seconds) * share)
    except subprocess.TimeoutExpired:
        child.send_signal(number)
    child.communicate()
    # The kernel takes a moment for a tree of processes, not more.
    assert wait_for(lambda: not processes(folder), 15), processes(folder)
    assert not mounts(folder)
    assert not loop_devices(folder)
    if number == signal.SIGTERM:
        assert not unfinished(folder)
    assert small.build(folder)["images"][0]["sha256"] == place.digest
    assert not unfinished(folder)


def test_only_what_depends_on_a_change_is_done_again(small_build: Path, tmp_path: Path) -> None:
    cache = small_build / "out/cache"
    first = small.build(small_build)
    (bootstrapped,) = cache.glob("bootstrap-*")
    before = bootstrapped.stat()
    (tmp_path / "files/etc").mkdir(parents=True)
    motd = tmp_path / "files/etc/motd"
    motd.write_text("hello")
    files = ["-D", f"system.files={tmp_path}/files"]
    with_file = small.build(small_build, *files)
    motd.chmod(0o600)
    with_mode = small.build(small_build, *files)
    slow_probes = small.build(small_build, "-D", "media.quick_probes=false")
    (after,) = cache.glob("bootstrap-*")
    assert (after.name, after.stat().st_ino) == (bootstrapped.name, before.st_ino)
    manifests = (first, with_file, with_mode, slow_probes)
    assert len({manifest["root"] for manifest in manifests}) == 4
    titled = small.build(small_build, "-D", "media.title=another")
    assert titled["squashfs"] == first["squashfs"]
    assert titled["images"][0]["sha256"] != first["images"][0]["sha256"]
    assert small.build(small_build)["images"][0]["sha256"] == first["images"][0]["sha256"]


def test_files_laid_over_the_links_of_a_debian_root_stay_in_the_image(
    small_build: Path, tmp_path: Path
) -> None:
    zone = Path("/usr/share/zoneinfo/Etc/UTC")
    host = file_digest(zone) if zone.is_file() else None
    locks = sorted(path.name for path in Path("/run/lock").iterdir())
    for name in ("etc/localtime", "var/lock/planted", "var/run/planted", "bin/tool"):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from the configuration")
    manifest = small.build(small_build, "-D", f"system.files={tmp_path}/files")
    assert sorted(path.name for path in Path("/run/lock").iterdir()) == locks
    assert (file_digest(zone) if zone.is_file() else None) == host
    assert not Path("/run/planted").exists()
    found = unpacked(small_build / "out" / manifest["squashfs"], tmp_path / "unpacked")
    wanted = found["etc/localtime"]
    # Four files with the same content; where the root has a link to a folder, it is followed.
    for name in ("run/lock/planted", "run/planted", "usr/bin/tool"):
        assert found[name][6:] == wanted[6:], name
    assert found["etc/machine-id"][6] != wanted[6]


def test_a_root_tree_from_a_folder_or_an_archive_gives_the_same_system(
    small_build: Path, tmp_path: Path
) -> None:
    first = small.build(small_build)
    (bootstrapped,) = (small_build / "out/cache").glob("bootstrap-*")
    archive = tmp_path / "root.tar.gz"
    options = ["--xattrs", "--xattrs-include=*", "--format=pax", "--auto-compress"]
    subprocess.run(["tar", *options, "-C", bootstrapped, "-cf", archive, "."], check=True)
    folders = [tmp_path / name for name in ("first", "folder", "archive")]
    manifests = [
        first,
        *(
            small.build(small_build, "-D", "system.packages=[]", "-D", f"system.source={source}")
            for source in (bootstrapped, archive)
        ),
    ]
    trees = [
        # All but the times: those of folders are limited by the newest file.
        {name: fact[:3] + fact[4:] for name, fact in unpacked(image, folder).items()}
        for manifest, folder in zip(manifests, folders, strict=True)
        for image in [small_build / "out" / manifest["squashfs"]]
    ]
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) > 3000


@pytest.mark.media
def test_an_ordinary_user_gets_the_bytes_that_root_gets(small_build: Path) -> None:
    """Of each kind of medium, in another folder, later, in another time zone.

    Both bootstrap: the test takes as long as two of them.
    """
    kinds = ("-D", 'media.kinds=["iso", "disk", "partition", "netboot"]')
    elsewhere = ["env", "TZ=Asia/Tokyo", "sh", "-c", 'umask 077; exec "$@"', "sh"]
    manifest = small.build(small_build, *kinds)
    with scratch_folder() as folder:
        folder.chmod(0o755)
        (folder / "etc").mkdir()
        home = folder / "another home"
        (home / "tmp").mkdir(parents=True)
        for path in (home, home / "tmp"):
            os.chown(path, users.UID, users.UID)
        prefix = users.as_user(folder / "etc", elsewhere)
        again = small.build(home, *kinds, prefix=prefix)
        owner = (home / "out/small.iso").stat().st_uid
    assert owner == users.UID
    assert again["packages"] == manifest["packages"]
    assert again["images"] == manifest["images"]
    assert len(again["images"]) == 4
