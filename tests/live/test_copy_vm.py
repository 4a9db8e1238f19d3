# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A running live system copies itself to a stick, which boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builder.media.booting import (
    OPTIONS,
    add_check,
    attached,
    boot,
    build,
    configure,
    settings,
    usb,
)

pytestmark = [pytest.mark.live, pytest.mark.vm, pytest.mark.root]

SETTINGS = settings(
    "copies",
    """
[live]
tools = true
""",
)
# Once: the copy has the same probe.
COPY = """\
#!/bin/sh
grep -q copy=yes /proc/cmdline || exit 0
bootprof-live list
bootprof-live copy --yes /dev/sda
echo "copied: $?"
"""


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    config = configure(folder, SETTINGS)
    add_check(folder, "copy", COPY)
    options = f"{OPTIONS} copy=yes"
    (iso,) = build(config, output, "--no-sort", "-D", f"media.boot_options={options}")
    return iso


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_a_copy_boots(kind: str, image: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    with stick.open("wb") as stream:
        stream.truncate(512 << 20)
    found = boot(*attached(image, "cd"), *usb(stick), folder=tmp_path)
    assert found.facts["copied"] == "0", found.console
    again = boot(*attached(stick, "stick"), folder=tmp_path, kind=kind)
    assert again.mounts["/run/live/medium"].device.startswith("/dev/sda")
