# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A running live system installs itself to a disk, which then boots without the medium."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from bootprof.builder import grub
from tests.builder.media.booting import (
    Booted,
    Step,
    attached,
    boot,
    commanded,
    typed,
    unpacked,
)
from tests.live.installing import (
    INSTALL_SECONDS,
    MIB,
    PROBING,
    SETTINGS,
    blank,
    disk,
    make_image,
    medium,
    run_script,
)

pytestmark = [pytest.mark.live, pytest.mark.vm, pytest.mark.root]

INSTALL = f"""
cat > /run/answers <<EOF
disk = target
hostname = installed
user = ada
password = correct horse
boot_options = {PROBING}
@
EOF
mkdir -p /etc/bootprof-live/install.d
cat > /etc/bootprof-live/install.d/quick <<'EOF'
#!/bin/sh
echo COMPRESSLEVEL=1 > /etc/initramfs-tools/conf.d/quick
EOF
chmod 755 /etc/bootprof-live/install.d/quick
bootprof-live install --yes --answers /run/answers
echo "status: $?"
"""
# What a system has that is no live system any more.
INSPECT = r"""
echo "hostname: $(cat /etc/hostname)"
echo "machine: $(cat /etc/machine-id)"
echo "fstab: $(grep -c '^UUID=' /etc/fstab) of $(grep -c . /etc/fstab)"
echo "root: $(findmnt -no UUID /) $(awk '$2 == "/" { print $1 }' /etc/fstab)"
echo "login: $(awk -F: '$1 == "ada" { print substr($2, 1, 3) }' /etc/shadow)"
echo "home: $(stat -c %U /home/ada)"
packages=$(dpkg-query -W -f '${Package} ' 'live-*' 2>/dev/null)
echo "live: $packages$(ls -d /usr/*/bootprof-live /etc/live 2>/dev/null)"
echo "broken: $(dpkg --audit | head -n 1)"
echo "checked: $(grep -c . /run/initramfs/fsck.log)"
[ -e /boot/initrd.img ] || mount /boot
lsinitramfs /boot/initrd.img > /run/initrd
echo "initrd: $(grep -c . /run/initrd)"
echo "fsck: $(grep -c 'sbin/fsck.ext4$' /run/initrd)"
echo "drivers: $(grep -c 'scsi/aic7xxx/.*ko' /run/initrd)"
echo "scripts: $(grep -c 'scripts/live' /run/initrd)"
"""
# Another system: a program for each firmware that says what it is.
OTHER = "serial --unit=0\nterminal_output serial\necho 'PROBE begins'\necho 'other: yes'\n"
OTHER += "echo 'PROBE ends'\nhalt\n"


@pytest.fixture(scope="module")
def image(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(output, tmp_path_factory.mktemp("installs"))


def install(
    image: Path, target: Path, folder: Path, answers: str = "", kind: str = "bios"
) -> Booted:
    """Install by answers; return what the installer printed."""
    script = INSTALL.replace("@", answers)
    found = run_script(script, target, *medium(image), folder=folder, kind=kind)
    assert found.facts["status"] == "0", found.console[-3000:]
    return found


def part(path: Path, offset: int, size: int) -> bytes:
    """Read a part of a disk."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def is_blank(path: Path) -> bool:
    """Return whether a disk has nothing but zeros."""
    with path.open("rb") as stream:
        return not any(any(piece) for piece in iter(lambda: stream.read(MIB), b""))


def check(found: Booted) -> None:
    """Check that a system is installed, and nothing of the live system is left."""
    facts = found.facts
    assert facts["hostname"] == "installed"
    assert len(facts["machine"]) == 32
    uuid, _, line = facts["root"].partition(" ")
    assert line == f"UUID={uuid}"
    assert (facts["login"], facts["home"]) == ("$y$", "ada")
    assert (facts["live"], facts["broken"], facts["scripts"]) == ("", "", "0")
    assert "0" not in (facts["initrd"], facts["fsck"], facts["drivers"]), facts
    assert int(facts["checked"]) > 0
    assert "boot=live" not in facts["options"]
    assert found.mounts["/"].type == "ext4"


def test_a_whole_disk_boots_by_bios_and_uefi_without_traces_of_the_live_system(
    image: Path, tmp_path: Path
) -> None:
    target = blank(tmp_path / "target")
    install(image, target, tmp_path)
    for kind in ("bios", "uefi"):
        found = run_script(INSPECT, target, folder=tmp_path, kind=kind)
        assert found.facts["firmware"].startswith(kind)
        assert found.facts["fstab"] == "2 of 2"
        check(found)


def test_an_encrypted_root_asks_for_its_passphrase(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "target", 3072)
    answers = "encrypt = yes\npassphrase = open sesame"
    install(image, target, tmp_path, answers)
    assert b"LUKS\xba\xbe" in part(target, 577 * MIB, 16)
    asked = Step(b"Please unlock disk", typed("open sesame"))
    found = run_script(INSPECT, target, folder=tmp_path, steps=[asked])
    assert found.mounts["/"].device == "/dev/mapper/cryptroot"
    check(found)


def other_system(path: Path, folder: Path, table: str, further: str = "") -> dict[str, str]:
    """Write a disk with another system; return digests of its partitions, by their names.

    Args:
        path: File to write.
        folder: For what is linked.
        table: "gpt" or "dos".
        further: Lines for sfdisk behind those of the partitions of the other system.
    """
    blank(path)
    if table == "gpt":
        lines = "start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649\n"
        lines += "start=2048, size=32768, type=uefi\nstart=34816, size=32768, type=linux\n"
        lines += further
    else:
        lines = "start=2048, size=32768, type=ef\nstart=34816, size=32768, type=83\n"
    script = f"label: {table}\n{'first-lba: 34' if table == 'gpt' else ''}\n{lines}"
    subprocess.run(["/usr/sbin/sfdisk", "-q", path], input=script.encode(), check=True)
    core = folder / "other.img"
    grub.make_image(grub.BIOS, OTHER, core, grub.BIOS_MODULES)
    start = 34 if table == "gpt" else 1
    code, linked = grub.boot_code(core.read_bytes(), start, 2048 - start)
    esp = folder / "esp.img"
    grub.make_efi_partition(grub.make_efi_programs(OTHER, folder), esp, epoch=1)
    with path.open("r+b") as stream:
        stream.write(code)
        for sector, content in (
            (start, linked),
            (2048, esp.read_bytes()),
            (34816, b"data of the other system" * 1000),
        ):
            stream.seek(512 * sector)
            stream.write(content)
    return digests(path)


def digests(path: Path) -> dict[str, str]:
    with path.open("rb") as stream:
        stream.seek(34816 * 512)
        return {"data": hashlib.sha256(stream.read(32768 * 512)).hexdigest()}


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_a_system_in_free_space_boots_and_so_does_the_one_beside_it(
    table: str, image: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    before = other_system(target, tmp_path, table)
    install(image, target, tmp_path, "place = free")
    check(run_script(INSPECT, target, folder=tmp_path))
    assert digests(target) == before
    # A BIOS: by the menu. UEFI, which knows no entry of the new system: as before.
    down = Step(b"Other system on this disk", typed("\x1b[B\x1b[B"))
    assert run_script("", target, folder=tmp_path, steps=[down]).facts["other"] == "yes"
    assert run_script("", target, folder=tmp_path, kind="uefi").facts["other"] == "yes"


def test_a_system_in_place_of_a_partition_boots_and_so_does_the_one_beside_it(
    image: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    # The partition in the middle is replaced: what follows it stays.
    lines = "start=67584, size=3500000, type=linux\nstart=3567616, size=20480, type=linux\n"
    before = other_system(target, tmp_path, "gpt", lines)
    behind = b"data behind it" * 1000
    with target.open("r+b") as stream:
        stream.seek(3567616 * 512)
        stream.write(behind)
    install(image, target, tmp_path, "place = ${target}4")
    check(run_script(INSPECT, target, folder=tmp_path))
    assert digests(target) == before
    assert part(target, 3567616 * 512, len(behind)) == behind
    down = Step(b"Other system on this disk", typed("\x1b[B\x1b[B"))
    assert run_script("", target, folder=tmp_path, steps=[down]).facts["other"] == "yes"


def test_uefi_gets_an_entry_for_a_system_beside_another(image: Path, tmp_path: Path) -> None:
    target, variables = tmp_path / "target", tmp_path / "variables.fd"
    other_system(target, tmp_path, "gpt")
    shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
    code = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    flash = [
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
    ]
    script = INSTALL.replace("@", "place = free")
    done = run_script(script, target, *medium(image), *flash, folder=tmp_path)
    assert done.facts["status"] == "0", done.console[-3000:]
    path = tmp_path / "script"
    path.write_bytes(INSPECT.encode() + bytes(-len(INSPECT) % 512))
    check(
        boot(
            *flash,
            *disk(target, "target"),
            *disk(path, "script"),
            folder=tmp_path,
            seconds=INSTALL_SECONDS,
        )
    )


def test_an_interrupted_installation_starts_nothing_and_is_repeated(
    image: Path, tmp_path: Path
) -> None:
    target = blank(tmp_path / "target")
    script = INSTALL.replace("@", "")
    quit_ = Step(b"Copying  1", commanded({"execute": "quit"}))
    with pytest.raises(AssertionError):
        run_script(script, target, *medium(image), folder=tmp_path, steps=[quit_])
    assert part(target, 0, MIB) == bytes(MIB)
    install(image, target, tmp_path)
    check(run_script(INSPECT, target, folder=tmp_path))


def test_nothing_is_written_if_an_answer_is_wrong(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "target")
    wrong = {
        "place": "place = elsewhere",
        "locale": "language = xx_XX.UTF-8",
        "zone": "timezone = Nowhere/Land",
        "key": "colour = red",
        "partition": "place = /dev/vdz1",
        "passphrase": "encrypt = yes",
    }
    script = "".join(
        INSTALL.replace("@", line).replace("status:", f"{name}:") for name, line in wrong.items()
    )
    script += INSTALL.replace("@", "").replace("--yes", "--dry-run --yes")
    found = run_script(script, target, *medium(image), folder=tmp_path)
    assert {name: found.facts[name] for name in wrong} == dict.fromkeys(wrong, "2"), found.console
    assert found.facts["status"] == "0", found.console
    assert is_blank(target)


def keys(text: str) -> Callable[[IO[bytes], Path], None]:
    """Return a step's action: type into a window; Return is "\\r"."""

    def act(console: IO[bytes], _: Path) -> None:
        # The window gets its keys after it is drawn.
        time.sleep(2)
        console.write(text.encode())
        console.flush()

    return act


def test_the_entry_of_the_menu_shows_the_installer(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "target")
    options = "boot=live console=ttyS0 bootprof.install systemd.unit=multi-user.target"
    assert 'title = "Installs"' in SETTINGS
    # Control-A goes to the begin of a line, Control-K deletes the rest.
    emptied = "\x01\x0b"
    steps = [
        Step(b"Install to which disk?", keys("\r")),
        Step(b"Name of the computer", keys(f"{emptied}as_ked\r")),
        # Asked again until it can be used.
        Step(b"letters, digits and hyphens", keys("\r")),
        Step(b"Name of the computer", keys(f"{emptied}asked\r")),
        Step(b"Login name", keys(f"{emptied}ada\r")),
        Step(b"Password of ada:", keys("secret\r")),
        Step(b"The same once more:", keys("secret\r")),
        Step(b"Encrypt the system?", keys("\r")),
        Step(b"Install now?", lambda *_: None),
        # The button that changes nothing is the one that Return means.
        Step(b"asked", keys("\r")),
        Step(b"[s] shell: ", typed("s")),
        Step(b"# ", typed("echo 'PROBE begins'; echo PROBE ends; echo o > /proc/sysrq-trigger")),
    ]
    boot(
        *unpacked(image, options, tmp_path),
        *attached(image, "cd"),
        *disk(target, "target"),
        folder=tmp_path,
        steps=steps,
        seconds=INSTALL_SECONDS,
    )
    assert is_blank(target)
