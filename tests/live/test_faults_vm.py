# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Copy and install in a live system with disks in use, a full overlay, or little memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.builder.media.booting import Booted
from tests.live.installing import MIB, blank, disk, make_image, medium, run_script

pytestmark = [pytest.mark.live, pytest.mark.vm, pytest.mark.root]

# Disks by their serial numbers, and what both programs say of one that is in use.
BEGIN = r"""
disk() { for each in /sys/block/[sv]d*; do
    [ "$(cat "$each/serial" 2>/dev/null)" != "$1" ] || echo "/dev/${each##*/}"
done; }
sum() { sync; dd if="$(disk "$1")" iflag=direct bs=1M 2>/dev/null | sha256sum; }
tried() {
    before=$(sum "$1")
    bootprof-live copy --yes "$1" 2>&1 | grep -v '^  ' | sed "s/^bootprof-live/copy $1/"
    bootprof-live install --yes "$1" 2>&1 | grep -v '^  ' | sed "s/^bootprof-live/install $1/"
    [ "$before" = "$(sum "$1")" ] && echo "unchanged $1: yes"
}
"""
IN_USE = f"""{BEGIN}
modprobe -a raid0 dm-mod
mdadm --create /dev/md0 --run --force --level=0 --raid-devices=1 $(disk raid)
vgcreate -y group $(disk lvm) && lvcreate -y -Zn -Wn -n volume -l 50%FREE group
mkswap $(disk swap) >/dev/null && swapon $(disk swap)
for name in raid lvm swap; do tried $name; done
"""
FULL = f"""{BEGIN}
dd if=/dev/zero of=/fill bs=1M 2>&1 | head -n 1
dd if=/dev/zero of=/fill2 bs=512 2>/dev/null
echo "room: $(echo x 2>/dev/null >/tmp/room; cat /tmp/room)"
bootprof-live copy --yes target
echo "copied: $?"
"""
LITTLE = f"""{BEGIN}
awk '/^MemTotal/ {{ print "memory: " $2 }}' /proc/meminfo
bootprof-live copy --yes --persistence 80M stick
echo "copied: $?"
bootprof-live install --yes target
echo "installed: $?"
dmesg | grep -c 'Out of memory' | sed 's/^/killed: /'
"""


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(output, tmp_path_factory.mktemp("faults"))


def run(
    script: str, image: Path, folder: Path, *serials: str, memory_mib: int = 1024
) -> tuple[Booted, Path]:
    """Run a script in a live system with further disks; return what it printed, and its target.

    The machine has a disk of its own, which must stay as it is.
    """
    own = folder / "own"
    own.write_bytes(os.urandom(16 * MIB))
    before = hashlib.sha256(own.read_bytes()).digest()
    target = blank(folder / "target")
    disks = [word for name in serials for word in disk(blank(folder / name, 600), name)]
    found = run_script(
        script,
        target,
        *medium(image),
        *disks,
        *disk(own, "own"),
        folder=folder,
        memory_mib=memory_mib,
    )
    assert hashlib.sha256(own.read_bytes()).digest() == before
    return found, target


def test_disks_of_a_raid_of_lvm_and_of_swap_are_refused_unchanged(
    image: Path, tmp_path: Path
) -> None:
    found, target = run(IN_USE, image, tmp_path, "raid", "lvm", "swap")
    reasons = {"raid": "is used by md0", "lvm": "is used by dm-0", "swap": "is used as swap"}
    for name, reason in reasons.items():
        for action in ("copy", "install"):
            assert reason in found.facts[f"{action} {name}"], found.console[-3000:]
        assert found.facts[f"unchanged {name}"] == "yes"
    with target.open("rb") as stream:
        assert stream.read(MIB) == bytes(MIB)


def test_a_full_overlay_does_not_stop_a_copy(image: Path, tmp_path: Path) -> None:
    found, target = run(FULL, image, tmp_path)
    assert found.facts["room"] == "", found.console[-3000:]
    assert found.facts["copied"] == "0", found.console[-3000:]
    with target.open("rb") as stream, image.open("rb") as medium:
        stream.seek(16 * MIB)
        medium.seek(16 * MIB)
        assert stream.read(16 * MIB) == medium.read(16 * MIB)


def test_a_machine_with_512_mb_copies_and_installs(image: Path, tmp_path: Path) -> None:
    found, _ = run(LITTLE, image, tmp_path, "stick", memory_mib=512)
    assert int(found.facts["memory"]) < 512 * 1024
    assert (found.facts["copied"], found.facts["installed"]) == ("0", "0"), found.console[-3000:]
    assert found.facts["killed"] == "0"
