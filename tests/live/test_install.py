# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-live install: answers, partitions and boot code, without a machine."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bootprof.builder import bootmenu, features, grub
from bootprof.builder.config import LiveConfig, System
from bootprof.builder.media.contents import Contents, menu_of
from bootprof.builder.media.disklayout import ROOT_RULES, rules_table
from bootprof.sources import LIVE_PARTS

MIB = 1 << 20
LIVE = LiveConfig(name="live")
TOOLS = replace(LIVE, live=replace(LIVE.live, tools=True))
PARTS = ("common", "disks", "install", "install-answers", "install-disk", "install-boot")


def call(
    commands: str, scratch: Path, *parts: str, **variables: object
) -> subprocess.CompletedProcess[str]:
    """Run commands with the functions of the program."""
    settings = {"root": "", "language": "", "parts": LIVE_PARTS, "scratch": scratch, **variables}
    lines = ["set -u", *(f"{name}={shlex.quote(str(text))}" for name, text in settings.items())]
    lines += [f". {LIVE_PARTS / name}.sh" for name in (*PARTS, *parts)]
    # What the parts set themselves is set again.
    lines += [f"{name}={shlex.quote(str(text))}" for name, text in settings.items()]
    return subprocess.run(
        ["sh", "-c", "\n".join([*lines, commands])], capture_output=True, text=True, check=False
    )


def answered(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "answers"
    file.write_text(f"disk = /dev/vda\n{text}\n")
    commands = f"clear_answers; read_answers {file}; default_all; check_answers"
    return call(f'{commands}; echo "$answer_user:$answer_password"', folder, source=folder)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = red", "line 2: no such key: colour"),
        ("no sense", 'line 2: no "key = value"'),
        ("user = Ada", "user: expected"),
        ("user = root\npassword = x", "root exists already"),
        ("user = ada", "user ada: no password"),
        ("password = x", "for no user"),
        ("hostname = -x", "hostname: expected"),
        ("hostname = a b", "hostname: expected"),
        ("place = /etc/passwd", "place: expected"),
        ("encrypt = maybe", "encrypt: expected"),
        ("encrypt = yes", "no passphrase"),
        ("user = ada\npassword_hash = secret", "password_hash: expected"),
        ("timezone = ../../etc/passwd", "timezone: expected"),
        ("timezone = Nowhere", "no zone Nowhere"),
        ("boot_options = a'b", "boot_options: expected"),
        ("keyboard = de$(id)", "keyboard: expected"),
        ("full_name = a:b", "full_name: expected"),
    ],
)
def test_a_wrong_answer_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    done = answered(text, tmp_path)
    assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr


def test_a_value_is_taken_as_it_is(tmp_path: Path) -> None:
    password = "a = $(touch x) `id` \\ 'b' \"c\""
    done = answered(f"# who\nuser = ada\npassword =  {password}  ", tmp_path)
    assert done.stdout == f"ada:{password}\n", done.stderr


def planned(disk: Path, folder: Path, **answers: str) -> list[tuple[str, int, int, int]]:
    """Return role, number, start and size in MiB of the partitions on a disk."""
    (folder / "partitions.tsv").write_text(rules_table(ROOT_RULES))
    dump = subprocess.run(["/usr/sbin/sfdisk", "--dump", disk], capture_output=True, check=False)
    (folder / "table").write_bytes(dump.stdout)
    label = "dos" if b"label: dos" in dump.stdout else "gpt"
    done = call(
        'plan_partitions; cat "$scratch/layout"',
        folder,
        disk=disk,
        disk_name="none",
        disk_size=disk.stat().st_size,
        sector=512,
        table=label,
        boot_files=folder,
        **{"answer_place": "whole", "answer_encrypt": "no", **answers},
    )
    assert done.returncode == 0, done.stderr
    found = []
    for line in done.stdout.splitlines():
        role, number, start, size, _ = line.split(" ")
        found.append((role, int(number), int(start) // MIB, int(size) // MIB))
    return found


def disk_of(folder: Path, script: str) -> Path:
    path = folder / "disk"
    with path.open("wb") as stream:
        stream.truncate(4096 * MIB)
    if script:
        subprocess.run(["/usr/sbin/sfdisk", "-q", path], input=script.encode(), check=True)
    return path


def test_a_whole_disk_has_partitions_for_both_firmwares(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, "")
    assert planned(disk, tmp_path) == [("bios", 1, 0, 0), ("esp", 2, 1, 64), ("root", 3, 65, 4030)]
    encrypted = planned(disk, tmp_path, answer_encrypt="yes")
    assert encrypted[2:] == [("boot", 3, 65, 512), ("root", 4, 577, 3518)]


def test_free_space_is_the_largest_area_and_numbers_are_free_ones(tmp_path: Path) -> None:
    disk = disk_of(
        tmp_path,
        "label: gpt\n1: start=2048, size=204800\n3: start=1024000, size=2048\n",
    )
    found = planned(disk, tmp_path, answer_place="free")
    assert [(role, number) for role, number, *_ in found] == [("bios", 2), ("esp", 4), ("root", 5)]
    assert found[0][2] == 501
    assert found[-1][2] + found[-1][3] == 4095


def test_a_master_boot_record_gets_one_partition(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, "label: dos\nstart=2048, size=204800, type=7\n")
    found = planned(disk, tmp_path, answer_place="free")
    # Firmware of the build host decides whether there is one for UEFI.
    assert found[-1][0] == "root"
    assert "bios" not in [role for role, *_ in found]


def test_boot_code_is_that_of_the_builder_but_for_the_number_of_the_partition(
    tmp_path: Path,
) -> None:
    core = tmp_path / "core.img"
    grub.make_image(grub.BIOS, bootmenu.INSTALLED_FOR_BIOS, core, grub.BIOS_MODULES)
    (tmp_path / "boot.img").write_bytes((grub.FOLDER / grub.BIOS / "boot.img").read_bytes())
    disk = disk_of(tmp_path, "label: gpt\nfirst-lba: 34\n2: start=2048, size=204800\n")
    # As GRUB's own kernel has it before: no partition.
    assert core.read_bytes()[0x218:0x21C] == b"\xff\xff\xff\0"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "layout").write_text(f"bios 1 {34 * 512} {2014 * 512} x\nroot 7 0 0 x\n")
    done = call(
        "write_boot_code",
        scratch,
        disk=disk,
        sector=512,
        table="gpt",
        boot_files=tmp_path,
        answer_place="whole",
    )
    assert done.returncode == 0, done.stderr
    code, linked = grub.boot_code(core.read_bytes(), 34, 2014)
    expected = linked[:0x21A] + bytes([6]) + linked[0x21B:]
    with disk.open("rb") as stream:
        assert stream.read(440) == code
        stream.seek(34 * 512)
        assert stream.read(len(expected)) == expected


def test_an_installed_system_has_no_file_of_the_live_tools() -> None:
    text = (LIVE_PARTS / "install-system.sh").read_text()
    removed = text.partition("live_files='")[2].partition("'")[0].split()
    (feature,) = features.chosen(TOOLS)
    for path in (*feature.files, *feature.executables):
        assert any(fnmatch(path, each) or path.startswith(f"{each}/") for each in removed), path


def test_the_menu_installs_if_the_image_has_what_is_needed(tmp_path: Path) -> None:
    contents = Contents(tmp_path, (), "boot=live", ())
    assert [entry.id for entry in menu_of(TOOLS.media, contents).entries] == ["live"]
    contents = replace(contents, installation=tmp_path)
    live, install = menu_of(TOOLS.media, contents).entries
    assert live.options == "boot=live"
    assert install.id == "install"
    assert install.options == "boot=live bootprof.install systemd.unit=multi-user.target"


def test_languages_and_install_env_reach_the_installer(tmp_path: Path) -> None:
    languages = ("de_DE.UTF-8", "fr_FR.UTF-8")
    system = System(languages=languages, install_env={"FLAVOUR": "it's $HOME"})
    (feature,) = features.chosen(replace(TOOLS, system=system))
    text = feature.files["usr/lib/bootprof-live/environment"]
    assert isinstance(text, str)
    shown = subprocess.run(
        ["sh", "-c", f'{text}\nprintf "%s|%s" "$BOOTPROF_LANGUAGES" "$FLAVOUR"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "de_DE.UTF-8 fr_FR.UTF-8|it's $HOME"
