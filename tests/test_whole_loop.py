# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The main job on a real system: build, boot, harvest, sort, rebuild; boot again and compare.

What takes long (the bootstrapped root, the build chroot) is kept in the output folder, so that
`make demo` and repeated runs share it.
"""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from optimizer.images.image import open_image
from optimizer.images.squashfs.format import Kind
from tests.trees import unpacked

pytestmark = [pytest.mark.vm, pytest.mark.root]
TOP = Path(__file__).parent.parent


def bootprof(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", *map(str, arguments)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's configuration, without a sort file beside it."""
    path = tmp_path_factory.mktemp("config") / "live.cfg"
    path.write_bytes((TOP / "config/live.cfg").read_bytes())
    return path


@pytest.fixture(scope="module")
def unsorted(output: Path, config: Path) -> Path:
    image = output / "test/unsorted.iso"
    bootprof("build", "--config", config, "--profiling", "--output", output, "--image", image)
    return image


@pytest.fixture(scope="module")
def profiled(unsorted: Path) -> Path:
    folder = unsorted.with_suffix(".profile")
    bootprof("profile", unsorted, "--backend", "auto", "--output", folder)
    return folder


@pytest.fixture(scope="module")
def ordered(output: Path, config: Path, profiled: Path) -> Path:
    """An image that was built with the sort file of the profile."""
    unsorted = profiled.with_suffix(".iso")
    sort = bootprof(
        *("sort", "--root", output / "root", "--image", unsorted, "--place", "auto"),
        profiled / "bootlog.events",
    )
    assert "at the end" in sort.stderr
    (config.parent / "distrib.sort").write_text(sort.stdout)
    image = output / "test/sorted.iso"
    bootprof("build", "--config", config, "--output", output, "--image", image)
    return image


def test_the_harvest_begins_with_the_first_program_and_loses_nothing(profiled: Path) -> None:
    description = json.loads((profiled / "profile.json").read_text())
    assert description["backend"] == "kmod"
    assert description["lost"] == 0
    events = (profiled / "bootlog.events").read_bytes().splitlines()
    first = next(line for line in events if not line.startswith(b"#")).split(b"\t")
    # The agent becomes the initrd's /init: nothing can have been opened before.
    assert (first[1], first[3], first[9]) == (b"1", b"exec", b"/init")
    paths = (profiled / "bootlog.list").read_bytes().splitlines()
    for path in (b"/usr/lib/systemd/systemd", b"/usr/bin/dbus-daemon", b"/usr/sbin/agetty"):
        assert path in paths
    assert len(set(paths)) == len(paths) == description["paths"]


def test_nothing_of_the_profiler_is_in_the_profile(profiled: Path) -> None:
    seen = set()
    for line in (profiled / "bootlog.events").read_bytes().splitlines():
        fields = line.split(b"\t")
        # udev visits all modules and ports, and the harvest opens a file of debugfs to stop; but
        # of what the medium holds, nothing may be read for the profiler's sake.
        if len(fields) == 10 and fields[8] in (b"overlay", b"squashfs", b"iso9660"):
            seen.add(fields[8])
            assert b"bootprof" not in fields[9], line
    assert b"overlay" in seen


def test_the_release_image_holds_no_profiler(ordered: Path) -> None:
    manifest = json.loads(ordered.with_suffix(".json").read_text())
    assert manifest["profiling"] is False
    assert manifest["sort"] is not None
    assert b"rdinit=/bootprof" not in ordered.read_bytes()


def test_the_sorted_image_has_the_hot_files_together_and_in_order(
    ordered: Path, config: Path
) -> None:
    layout = open_image(ordered).layout()
    listed = []
    for line in (config.parent / "distrib.sort").read_text().splitlines():
        path, _, _ = line.rpartition(" ")
        if "\\" not in path:
            listed.append(b"/" + path.encode())
    starts = []
    for name in listed:
        extents = layout.extents_of(name)
        blocks = extents[(extents["kind"] == Kind.BLOCK) & (extents["length_bytes"] > 0)]
        starts += [int(offset) for offset in blocks["offset_bytes"][:1]]
    assert len(starts) > 30
    in_order = sum(a < b for a, b in pairwise(starts))
    # Not all: files of equal content share their blocks.
    assert in_order / (len(starts) - 1) > 0.9


def test_the_sorted_image_holds_the_same_tree_in_the_same_size(
    ordered: Path, unsorted: Path, tmp_path: Path
) -> None:
    before, after = (
        unpacked(image, tmp_path / image.stem, open_image(image).layout().offset_bytes)
        for image in (unsorted, ordered)
    )
    assert len(before) > 5000
    assert after == before
    sizes = [
        json.loads(image.with_suffix(".json").read_text())["squashfs_bytes"]
        for image in (ordered, unsorted)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_the_sorted_boot_seeks_less(ordered: Path, profiled: Path, tmp_path: Path) -> None:
    folder = ordered.with_suffix(".profile")
    bootprof("profile", ordered, "--backend", "block", "--output", folder)
    told = bootprof("compare", profiled, folder, "--output", tmp_path, "--json")
    after = json.loads(told.stdout)["builds"][1]
    # What a sort by the block trace alone reached is 1.75 times less.
    assert after["metrics"]["seek-distance"]["ratio"] < 1 / 4
    assert (tmp_path / "seek.png").stat().st_size > 10_000


def test_a_release_image_does_not_answer_a_harvest_and_keeps_what_was_seen(ordered: Path) -> None:
    folder = ordered.with_name("refused")
    done = bootprof(
        "profile", ordered, "--backend", "kmod", "--output", folder, "--until", "seconds:1",
        "--timeout", "5", status=1,
    )  # fmt: skip
    assert "bootprof: error: no profiler responds in the guest" in done.stderr
    assert "Traceback" not in done.stderr
    assert not folder.exists()
    assert (folder.with_name("refused.failed") / "console.log").exists()
