# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Live systems on an EROFS root boot, are profiled, and are packed in the order of the profile."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bootprof.cli import main
from bootprof.files import file_digest
from optimizer.images.image import open_image
from tests.builder.media.booting import OPTIONS, attached, boot, build, configure, settings
from tests.newer_erofs import newer_erofs

pytestmark = [pytest.mark.vm, pytest.mark.root]

ROOT = "/run/live/rootfs/filesystem.erofs"
# What the initrd shall not have of EROFS: the build adds it all the same.
BOOKWORM = settings(
    "erofs",
    """
[root]
format = "erofs"
[erofs]
sort = "distrib.sort"
[initrd]
leave_out = ["fs/erofs", "lib", "crypto/crc32c_generic"]
keep = []
""",
)
TRIXIE = f"""
name = "erofs13"
[system]
suite = "trixie"
packages = ["linux-image-amd64", "live-boot", "systemd-sysv", "udev", "kmod"]
files = "files"
files_owner = "root"
[root]
format = "erofs"
[erofs]
compressor = "zstd"
level = 8
program = "%s"
[initrd]
leave_out = []
keep = []
[media]
label = "EROFS13"
boot_options = "{OPTIONS}"
"""
# Large enough to have clusters of their own; small ones lie with their inodes.
HOT = ["usr/bin/sync", "usr/bin/id", "usr/sbin/agetty", "usr/bin/mount"]


def with_sort_file(config: Path, paths: list[str]) -> None:
    lines = [f"{path} {100 - rank}\n" for rank, path in enumerate(paths)]
    (config.parent / "distrib.sort").write_text("".join(lines))


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configure(tmp_path_factory.mktemp("erofs"), BOOKWORM)
    with_sort_file(config, HOT)
    return config


@pytest.mark.media
@pytest.mark.parametrize(
    ("how", "defines", "further"),
    [
        ("cd", (), {}),
        ("stick", ("erofs.features=['ztailpacking']", "erofs.reorder=true"), {}),
        (
            "cd",
            ("root.separate_changes=true",),
            {"/run/live/rootfs/layer-changes.squashfs": "squashfs"},
        ),
    ],
    ids=["disc", "stick, tails packed", "layers"],
)
def test_an_lz4_root_boots_with_the_kernel_of_debian_12(
    how: str,
    defines: tuple[str, ...],
    further: dict[str, str],
    bookworm: Path,
    output: Path,
    tmp_path: Path,
) -> None:
    words = [word for define in defines for word in ("--define", define)]
    (image,) = build(bookworm, output, *words, "--image", str(tmp_path / "live.iso"))
    found = boot(*attached(image, how), folder=tmp_path)
    for name, kind in {ROOT: "erofs", **further}.items():
        assert (found.mounts[name].type, "ro" in found.mounts[name].options) == (kind, True)
    assert found.mounts["/"].type == "overlay"
    manifest = json.loads(image.with_suffix(".json").read_text())
    assert manifest["sort"] == str(bookworm.parent / "distrib.sort")
    assert manifest["squashfs"] is None
    layout = open_image(image).layout()
    assert layout.format == "erofs"
    places = [int(layout.extents_of(b"/" + os.fsencode(path))["offset_bytes"][0]) for path in HOT]
    assert places == sorted(places)
    assert b"/boot/vmlinuz" not in b"".join(layout.paths)


@pytest.mark.media
def test_a_new_sort_file_moves_clusters_and_does_nothing_else_again(
    bookworm: Path, output: Path, tmp_path: Path
) -> None:
    words = ("--define", "erofs.reorder=true", "--image", str(tmp_path / "live.iso"))
    build(bookworm, output, *words)
    before = {path.name for path in (output / "cache").iterdir()}
    with_sort_file(bookworm, HOT[::-1])
    try:
        build(bookworm, output, *words)
    finally:
        with_sort_file(bookworm, HOT)
    made = {path.name for path in (output / "cache").iterdir()} - before
    assert [name.rpartition(".")[2] for name in made] == ["erofs"]


@pytest.mark.media
def test_two_builds_in_other_folders_give_the_same_bytes(
    bookworm: Path, output: Path, tmp_path: Path
) -> None:
    build(bookworm, output, "--image", str(tmp_path / "first/erofs.iso"))
    cache = tmp_path / "an other place/cache"
    cache.mkdir(parents=True)
    newest = max((output / "cache").glob("bootstrap-*"), key=lambda path: path.stat().st_atime_ns)
    subprocess.run(["cp", "-a", newest, cache], check=True)
    build(bookworm, cache.parent)
    assert file_digest(tmp_path / "first/erofs.iso") == file_digest(cache.parent / "erofs.iso")


@pytest.mark.examples
def test_a_zstd_root_boots_and_is_profiled_with_the_kernel_of_debian_13(
    output: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = newer_erofs(output, tmp_path_factory.mktemp("newer"))
    config = configure(tmp_path, TRIXIE % (programs / "mkfs.erofs"))
    (image,) = build(config, output, "--image", str(tmp_path / "live.iso"))
    assert json.loads(image.with_suffix(".json").read_text())["mkfs.erofs"] >= "1.8"
    found = boot(*attached(image, "cd"), folder=tmp_path)
    assert "+deb13" in found.facts["kernel"]
    assert found.mounts[ROOT].type == "erofs"
    profile = tmp_path / "profile"
    words = ["--backend", "ebpf", "--append", "probe=stays", "--until", "console:PROBE ends"]
    assert main(["profile", str(image), *words, "-o", str(profile)]) == 0
    assert b"/usr/local/sbin/probe\n" in (profile / "bootlog.list").read_bytes()
