# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A key without a network: it records its boot, sorts, builds itself again and copies itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from optimizer.formats.sortfile import paths_of_sort_file
from optimizer.images.image import open_image
from tests.builder.media.booting import (
    Booted,
    Step,
    attached,
    boot,
    build,
    chosen,
    configure,
)
from tests.live.installing import blank, disk

pytestmark = [pytest.mark.live, pytest.mark.vm, pytest.mark.root]

# Packages are installed and packed on an emulated machine, beside other tests.
KEY_SECONDS = 3600
MEMORY_MIB = 3072
OPTIONS = "boot=live console=ttyS0 init=/usr/local/sbin/probe panic=5"
NEW_HOST = "second"
SETTINGS = f"""
name = "onekey"
[system]
files = "files"
files_owner = "root"
hostname = "first"
packages = [
    "dbus", "kmod", "linux-image-cloud-amd64", "live-boot", "login", "systemd-sysv", "udev",
]
[squashfs]
compressor = "lz4"
[initrd]
compressor = "keep"
leave_out = []
keep = []
[media]
kinds = ["disk"]
title = "One key"
label = "ONEKEY"
timeout = 10
boot_options = "{OPTIONS}"
[live]
tools = true
[key]
enabled = true
packages = ["less"]
"""
# The first check of the probe: what each of the two systems is.
STATE = """\
#!/bin/sh
echo "host: $(cat /etc/hostname)"
echo "less: $(command -v less)"
echo "links: $(ls /sys/class/net | tr '\\n' ' ')"
echo "builder: $(ls /run/live/medium/builder | tr '\\n' ' ')"
echo "archive: $(cat /etc/apt/sources.list)"
echo "packages: $(dpkg-query -W -f '${Package}=${Version} ')"
"""
# The second one: only the machine with these disks works. The work folder is on a disk, as on a
# persistence partition; the orders of the user are those of docs/key.md.
WORK = f"""\
#!/bin/sh
for path in /sys/block/vd*; do
    case $(cat "$path/serial") in
    work) work=/dev/${{path##*/}} ;;
    target) target=/dev/${{path##*/}} ;;
    esac
done
if [ -z "$work" ]; then
    bootprof profile --running -o /run/boot
    echo "unrecorded: $?"
    exit
fi
run() {{
    name=$1
    shift
    begin=$(cut -d. -f1 /proc/uptime)
    "$@" > "$name.log" 2>&1
    status=$?
    tail -n 30 "$name.log"
    echo "$name: $status after $(($(cut -d. -f1 /proc/uptime) - begin)) s"
}}
mke2fs -q -F -t ext4 "$work" && mount -t ext4 "$work" /mnt && cd /mnt || exit
export TMPDIR=/mnt
run profile bootprof profile --running -o boot
run sort bootprof sort boot/bootlog.events --root /run/live/rootfs/filesystem.squashfs -o order.sort
run build bootprof build -c /usr/share/bootprof/key/live.cfg -o out \\
    -D squashfs.sort=/mnt/order.sort -D system.hostname={NEW_HOST} \\
    -D 'system.packages=["dbus", "kmod", "less", "linux-image-cloud-amd64", "live-boot", "login",
        "systemd-sysv", "udev"]'
run copy bootprof copy --yes out/onekey.img "$target"
df -m /mnt | tail -n 1
cd / && umount /mnt
"""


@dataclass(frozen=True)
class Worked:
    """What a key leaves that has built and copied itself.

    Attributes:
        found: What it printed.
        work: The disk that it worked on.
        stick: The second stick.
    """

    found: Booted
    work: Path
    stick: Path


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    config = configure(folder, SETTINGS)
    for name, script in (("1-state", STATE), ("2-work", WORK)):
        path = folder / "files/usr/local/lib/probe" / name
        path.write_text(script)
        path.chmod(0o755)
    (found,) = build(config, output, "--no-sort")
    return found


@pytest.fixture(scope="module")
def worked(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Worked:
    folder = tmp_path_factory.mktemp("worked")
    work, stick = blank(folder / "work", 6144), blank(folder / "stick", 1024)
    found = boot(
        *attached(image, "disk"),
        *disk(work, "work"),
        *disk(stick, "target"),
        *("-nic", "none"),
        folder=folder,
        memory_mib=MEMORY_MIB,
        steps=[Step(b"record this boot", chosen(2))],
        seconds=KEY_SECONDS,
    )
    return Worked(found, work, stick)


def test_each_step_succeeds_without_a_network(worked: Worked) -> None:
    facts = worked.found.facts
    assert facts["links"].split() == ["lo"]
    for step in ("profile", "sort", "build", "copy"):
        assert facts[step].startswith("0 "), worked.found.console


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_the_second_stick_boots_what_was_built(kind: str, worked: Worked, tmp_path: Path) -> None:
    before = worked.found.facts
    assert (before["host"], before["less"]) == ("first", "")
    stick = attached(worked.stick, "disk")
    facts = boot(*stick, "-nic", "none", folder=tmp_path, kind=kind).facts
    assert (facts["host"], facts["less"]) == (NEW_HOST, "/usr/bin/less")
    # It is a key, too.
    assert facts["builder"] == before["builder"] == "builder.squashfs pool "
    packages = [set(each["packages"].split()) for each in (before, facts)]
    assert {name.partition("=")[0] for name in packages[0] ^ packages[1]} == {"less"}
    # And apt knows the archive, and not only the pool.
    assert facts["archive"] == before["archive"]


def test_a_boot_that_is_not_recorded_says_so(worked: Worked, tmp_path: Path) -> None:
    found = boot(*attached(worked.stick, "disk"), "-nic", "none", folder=tmp_path)
    assert found.facts["unrecorded"] == "1"
    assert "this boot is not recorded" in found.console


def test_the_second_stick_is_in_the_order_of_the_recorded_boot(
    worked: Worked, tmp_path: Path
) -> None:
    sort = tmp_path / "order.sort"
    dump: list[str | Path] = ["debugfs", "-R", f"dump /order.sort {sort}", worked.work]
    subprocess.run(dump, check=True, capture_output=True)
    wanted = [b"/" + path.lstrip(b"/") for path in paths_of_sort_file(sort.read_bytes())]
    # The probe starts few programs.
    assert len(wanted) > 20
    layout = open_image(worked.stick).layout()
    found = [
        path for path, is_folder, at in layout.paths_by_position() if not is_folder and at >= 0
    ]
    known = set(found)
    ordered = [path for path in wanted if path in known]
    assert len(ordered) > len(wanted) * 0.9
    # What is smaller than a block shares fragments with its neighbours.
    assert len(set(ordered) & set(found[: len(ordered)])) > 0.9 * len(ordered)
