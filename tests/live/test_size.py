# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the tools of a live system add to its image, measured in a root that was built with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bootprof.builder import features
from bootprof.builder.config import LiveConfig
from tests.builder.media.booting import OPTIONS, TOP, add_check, build, configure
from tests.live.test_copy_vm import COPY, SETTINGS

pytestmark = [pytest.mark.live, pytest.mark.root]

LIMIT_BYTES = 4_000_000


def relations(root: Path) -> tuple[dict[str, list[list[str]]], set[str]]:
    """Read the state of a root's packages.

    Returns:
        What each installed package needs, as alternatives; and the packages of any Debian system.
    """
    needs: dict[str, list[list[str]]] = {}
    always = set()
    text = (root / "var/lib/dpkg/status").read_text()
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if "installed" not in fields.get("Status", ""):
            continue
        wanted = ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
        names = [
            [re.sub(r"[ (:].*", "", each.strip()) for each in group.split("|")]
            for group in wanted.split(",")
        ]
        needs[fields["Package"]] = names
        for provided in fields.get("Provides", "").split(","):
            needs.setdefault(re.sub(r"[ (].*", "", provided.strip()), [[fields["Package"]]])
        if fields.get("Essential") == "yes" or fields["Package"] == "apt":
            always.add(fields["Package"])
    return needs, always


def closure(names: set[str], needs: dict[str, list[list[str]]]) -> set[str]:
    """Return packages with all that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name not in needs:
            continue
        found.add(name)
        for group in needs[name]:
            waiting += [each for each in group if each in needs][:1]
    return found


def test_the_tools_take_less_than_4_mb_of_an_image(output: Path, tmp_path: Path) -> None:
    # The same image as that of the copies.
    config = configure(tmp_path, SETTINGS)
    add_check(tmp_path, "copy", COPY)
    build(config, output, "--no-sort", "-D", f"media.boot_options={OPTIONS}")
    roots = [path for path in (output / "cache").glob("root-*") if path.is_dir()]
    having = [path for path in roots if (path / "var/lib/dpkg/info/whiptail.list").is_file()]
    root = max(having, key=lambda path: path.stat().st_ctime)
    tools = LiveConfig(name="x")
    (feature,) = features.chosen(replace(tools, live=replace(tools.live, tools=True)))
    # The system of the example, without and with the tools.
    example = set(tomllib.loads((TOP / "config/live.cfg").read_text())["system"]["packages"])
    needs, always = relations(root)
    without = closure(example | always, needs)
    added = closure(set(feature.packages), needs) - without
    assert {"fdisk", "whiptail", "libnewt0.52"} <= added
    tree = tmp_path / "tree"
    for name in sorted(added):
        for listing in (root / "var/lib/dpkg/info").glob(f"{name}*.list"):
            if listing.name.removesuffix(".list").partition(":")[0] == name:
                copy_files(root, listing.read_text().splitlines(), tree)
    for path, content in {**feature.files, **feature.executables}.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    plain = sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())
    image = tmp_path / "added.squashfs"
    subprocess.run(
        ["mksquashfs", tree, image, "-comp", "zstd", "-quiet", "-no-progress", "-no-xattrs"],
        check=True,
    )
    print(f"{sorted(added)}: {plain} bytes, {image.stat().st_size} in a squashfs with zstd")
    assert image.stat().st_size < LIMIT_BYTES


def copy_files(root: Path, paths: list[str], tree: Path) -> None:
    """Copy the files of a package, as far as the root has them."""
    for path in paths:
        source, target = root / path.lstrip("/"), tree / path.lstrip("/")
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target) or (source.is_dir() and source.is_symlink()):
                continue
            shutil.copy2(source, target, follow_symlinks=False)
