# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""On each medium, the exact backend starts, and its bootlog is harvested whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.cli import main
from tests.builder.media.booting import OPTIONS, added_to_stick, build, configure, settings

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

STAYING = f"{OPTIONS} probe=stays"


@dataclass(frozen=True)
class Shape:
    """A medium: its kind, how it is attached, and what the configuration says besides."""

    kind: str
    medium: str
    defines: tuple[str, ...] = ()


SHAPES = {
    "disc": Shape("iso", "cdrom"),
    "ISO on a stick": Shape("iso", "disk"),
    "disk image": Shape("disk", "disk"),
    "behind another system": Shape("partition", "disk"),
    "ext4 root": Shape("disk", "disk", ("root.format=ext4", "media.file_system=ext4")),
    "EROFS root": Shape("iso", "cdrom", ("root.format=erofs",)),
    "in memory": Shape("iso", "cdrom", (f"media.boot_options={STAYING} toram",)),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return configure(tmp_path_factory.mktemp("profiling"), settings("profiled"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_medium_is_profiled(name: str, config: Path, output: Path, tmp_path: Path) -> None:
    shape = SHAPES[name]
    defines = (f"media.boot_options={STAYING}", f'media.kinds=["{shape.kind}"]', *shape.defines)
    (image,) = build(
        config,
        output,
        *("--no-sort", "--profiling", "--image", str(tmp_path / "image")),
        *(word for define in defines for word in ("--define", define)),
    )
    if shape.kind == "partition":
        image = added_to_stick(image, tmp_path / "stick.img")
    folder = tmp_path / "profile"
    words = ["--backend", "kmod", "--medium", shape.medium, "--until", "console:PROBE ends"]
    assert main(["profile", str(image), *words, "--memory", "1536", "-o", str(folder)]) == 0
    found = json.loads((folder / "profile.json").read_text())
    assert (found["backend"], found["lost"]) == ("kmod", 0)
    events = (folder / "bootlog.events").read_bytes()
    # From the first program of the initrd to the last of the root.
    for path in (b"/init", b"/usr/local/sbin/probe", b"/usr/local/lib/probe/persistence"):
        assert b"\t" + path + b"\n" in events or b"\t" + path + b"\t" in events
