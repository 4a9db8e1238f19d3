# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is refused before a boot, on images that packages of Debian ship."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootprof.boot.direct import find_hint
from bootprof.cli import main

MEMORY_TEST = Path("/usr/lib/memtest86+/memtest86+x64.iso")


@pytest.fixture(scope="module")
def rescue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rescue disk of GRUB, as the package grub-rescue-pc makes it."""
    image = tmp_path_factory.mktemp("rescue") / "grub-rescue.iso"
    subprocess.run(["grub-mkrescue", "-o", image], check=True, capture_output=True)
    return image


@pytest.mark.parametrize("command", ["profile", "optimize"])
@pytest.mark.parametrize("kind", ["memory test", "rescue disk"])
def test_what_starts_no_linux_is_refused_before_a_boot(
    command: str, kind: str, rescue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = MEMORY_TEST if kind == "memory test" else rescue
    target = tmp_path / "out"
    assert main([command, str(image), "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert str(image) in said.splitlines()[0]
    assert "squashfs" in said.splitlines()[0]
    assert "Traceback" not in said
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "hinted"),
    [
        ("root=live:CDLABEL=Fedora rd.live.image quiet", True),
        ("root=live:CDLABEL=Fedora rd.live.image rd.live.overlay.overlayfs=1", False),
        ("boot=live components", False),
        ("", False),
    ],
)
def test_a_failed_boot_of_dracuts_live_image_names_the_option(options: str, hinted: bool) -> None:
    assert ("rd.live.overlay.overlayfs=1" in find_hint(options)) == hinted
