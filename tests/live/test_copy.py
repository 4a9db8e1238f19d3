# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-live: what it copies, and the disks that it must not write to.

Targets are regular files; disks are folders that look like those of sysfs, without a node.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from bootprof.sources import LIVE_TOOL

MIB = 1 << 20


def copy(*words: object, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BOOTPROF_LIVE_ROOT": str(root or "")}
    return subprocess.run(
        ["sh", LIVE_TOOL, *map(str, words)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image of a disk with a GPT."""
    path = tmp_path / "live.img"
    path.write_bytes(os.urandom(20 * MIB))
    script = b"label: gpt\nstart=2048, size=32768\n"
    subprocess.run(["/usr/sbin/sfdisk", "--quiet", "--wipe=always", path], input=script, check=True)
    return path


def blank(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    return path


def test_a_copy_on_a_larger_disk_has_all_bytes_and_a_table_at_the_end(
    image: Path, tmp_path: Path
) -> None:
    target = blank(tmp_path / "stick", 64 * MIB)
    done = copy("copy", "--from", image, "--yes", target)
    assert (done.returncode, "read back and compared" in done.stdout) == (0, True), done.stderr
    whole = target.read_bytes()
    assert whole[MIB : 19 * MIB] == image.read_bytes()[MIB : 19 * MIB]
    assert whole[-512:-504] == b"EFI PART"
    checked = subprocess.run(
        ["/usr/sbin/sfdisk", "--verify", target], capture_output=True, text=True, check=True
    )
    assert "No errors detected" in checked.stdout


def test_a_copy_on_a_disk_of_the_same_size_is_the_image(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "stick", image.stat().st_size)
    assert copy("copy", "--from", image, "--yes", target).returncode == 0
    assert target.read_bytes() == image.read_bytes()


def test_old_partition_tables_are_gone_before_the_first_block_is_copied(
    image: Path, tmp_path: Path
) -> None:
    # The write fails in the middle: the target has neither a table nor boot code.
    target = tmp_path / "stick"
    target.write_bytes(b"x" * (40 * MIB))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "dd").write_text(
        '#!/bin/sh\ncase "$*" in *"of=$TARGET "*skip=17*) echo broken >&2; exit 1;; esac\n'
        'exec /bin/dd "$@"\n'
    )
    (tools / "dd").chmod(0o755)
    done = subprocess.run(
        ["sh", LIVE_TOOL, "copy", "--from", image, "--yes", target],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TARGET": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The copy is incomplete" in done.stderr
    left = target.read_bytes()
    assert left[:MIB] == left[-MIB:] == bytes(MIB)


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_nothing_is_written_without_consent(image: Path, tmp_path: Path, words: list[str]) -> None:
    target = tmp_path / "stick"
    target.write_bytes(b"x" * (40 * MIB))
    copy("copy", "--from", image, *words, target)
    assert target.read_bytes() == b"x" * (40 * MIB)


def test_a_disk_that_is_too_small_is_refused_untouched(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "stick", 5 * MIB)
    done = copy("copy", "--from", image, "--yes", target)
    assert (done.returncode, "larger stick" in done.stderr) == (2, True)
    assert target.read_bytes() == bytes(5 * MIB)


def test_an_image_is_not_copied_onto_itself(image: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(image)
    before = image.read_bytes()
    assert copy("copy", "--from", image, "--yes", tmp_path / "link").returncode == 2
    assert image.read_bytes() == before


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with one free removable disk, zz, of one partition."""
    root = tmp_path / "machine"
    disk = root / "sys/block/sdzz"
    (disk / "sdzz1/holders").mkdir(parents=True)
    (disk / "holders").mkdir()
    (disk / "device").mkdir()
    for name, text in {
        "dev": "65:0", "ro": "0", "size": "262144", "removable": "1",
        "device/model": "Stick\x1b[2J",
        "sdzz1/dev": "65:1", "sdzz1/partition": "1", "sdzz1/start": "2048", "sdzz1/size": "4096",
    }.items():  # fmt: skip
        (disk / name).write_text(f"{text}\n")
    (root / "sys/class/block").mkdir(parents=True)
    (root / "sys/class/block/sdzz").symlink_to("../../block/sdzz")
    (root / "sys/class/block/sdzz1").symlink_to("../../block/sdzz/sdzz1")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    (root / "proc/swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
    return root


def test_a_free_removable_disk_is_listed_in_printable_text(machine: Path) -> None:
    listed = copy("list", root=machine).stdout
    assert "/dev/sdzz" in listed
    assert "134.2 MB" in listed
    assert "\x1b" not in listed


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("proc/self/mountinfo", "1 0 65:1 / /mnt rw - ext4 /dev/sdzz1 rw\n", "sdzz1 is mounted"),
        ("proc/self/mountinfo", "1 0 0:44 / /mnt rw - btrfs /dev/sdzz1 rw\n", "sdzz1 is mounted"),
        ("proc/self/mountinfo", "1 0 65:0 / /mnt rw - vfat /dev/sdzz rw\n", "sdzz is mounted"),
        ("proc/swaps", "Filename\n/dev/sdzz1 partition 1 0 -2\n", "used as swap"),
        ("sys/block/sdzz/sdzz1/holders/dm-0", "", "used by dm-0"),
        ("sys/block/sdzz/holders/md0", "", "used by md0"),
        ("sys/block/sdzz/ro", "1\n", "read-only"),
        ("sys/block/sdzz/size", "0\n", "no medium"),
        (
            "proc/self/mountinfo",
            "1 0 65:1 / /run/live/medium ro - ext4 /dev/sdzz1 ro\n",
            "this system runs from it",
        ),
    ],
)
def test_a_disk_in_use_is_neither_listed_nor_written_to(
    machine: Path, image: Path, file: str, text: str, reason: str
) -> None:
    (machine / file).write_text(text)
    assert "/dev/sdzz" not in copy("list", root=machine).stdout
    done = copy("copy", "--from", image, "--yes", "/dev/sdzz", root=machine)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """The image of a disk like those that the builder makes."""
    path = tmp_path / "medium.img"
    path.write_bytes(os.urandom(14 * MIB))
    script = (
        "label: gpt\nfirst-lba: 34\n"
        "start=34, size=2014, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        "start=2048, size=2048, type=U, name=esp\nstart=4096, size=20480, type=L, name=live\n"
    )
    run_sfdisk(path, script)
    return path


def run_sfdisk(path: Path, script: str) -> None:
    command: list[str | Path] = ["/usr/sbin/sfdisk", "--quiet", "--wipe=always", path]
    subprocess.run(command, input=script.encode(), check=True)


def partitions(path: Path) -> list[tuple[int, int]]:
    """Return begin and size of the partitions of a disk in bytes."""
    dump = subprocess.run(
        ["/usr/sbin/sfdisk", "--json", path], capture_output=True, text=True, check=True
    )
    table = json.loads(dump.stdout)["partitiontable"]
    return [(each["start"] * 512, each["size"] * 512) for each in table["partitions"]]


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_kept_partitions_stay_and_the_live_system_lies_behind_them_in_one_piece(
    medium: Path, tmp_path: Path, table: str
) -> None:
    stick = tmp_path / "stick"
    blank(stick, 160 * MIB)
    run_sfdisk(stick, f"label: {table}\nstart=2048, size=20480\n")
    with stick.open("r+b") as stream:
        stream.seek(MIB)
        stream.write(b"k" * (10 * MIB))
    before = medium.read_bytes()
    done = copy("copy", "--from", medium, "--keep", "--persistence", "80M", "--yes", stick)
    assert done.returncode == 0, done.stderr
    found = partitions(stick)
    roles = {"dos": "kept live esp changes", "gpt": "kept bios esp live changes"}[table]
    places = dict(zip(roles.split(), found, strict=True))
    whole = stick.read_bytes()
    assert places["kept"] == (MIB, 10 * MIB)
    assert whole[MIB : 11 * MIB] == b"k" * (10 * MIB)
    live, esp = places["live"][0], places["esp"][0]
    assert whole[live : live + 10 * MIB] == before[2 * MIB : 12 * MIB]
    assert whole[esp : esp + MIB] == before[MIB : 2 * MIB]
    # The boot sector leads to GRUB's core image, which is that of the medium but for its place.
    core = int.from_bytes(whole[0x5C:0x64], "little") * 512
    assert core == places.get("bios", (512, 0))[0]
    assert whole[core : core + 500] == before[34 * 512 : 34 * 512 + 500]
    assert int.from_bytes(whole[core + 500 : core + 508], "little") * 512 == core + 512
    assert whole[core + 512 : core + 65536] == before[35 * 512 : 34 * 512 + 65536]
    assert label(stick, places["changes"][0]) == "persistence"


def label(disk: Path, offset_bytes: int) -> str:
    command: list[str | Path] = [
        "/usr/sbin/blkid",
        "-p",
        "-o",
        "value",
        "-s",
        "LABEL",
        "-O",
        str(offset_bytes),
        disk,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_partition_for_changes_fills_the_rest(medium: Path, tmp_path: Path) -> None:
    stick = blank(tmp_path / "stick", 160 * MIB)
    done = copy("copy", "--from", medium, "--persistence", "rest", "--yes", stick)
    assert done.returncode == 0, done.stderr
    begin, size_bytes = partitions(stick)[-1]
    assert label(stick, begin) == "persistence"
    assert begin == medium.stat().st_size
    assert 160 * MIB - begin - size_bytes <= 4 * MIB


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--persistence", "1T"), "no size"),
        (("--persistence", "200M"), "has room for"),
        (("--encrypted",), "needs --persistence"),
        (("--keep",), "no partition table"),
        (("--bad",), "no such option"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_stick_untouched(
    medium: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    stick = blank(tmp_path / "stick", 160 * MIB)
    done = copy("copy", "--from", medium, *options, "--yes", stick)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    assert not any(stick.read_bytes())


def test_a_disk_is_named_by_its_serial_number(machine: Path, image: Path) -> None:
    (machine / "sys/block/sdzz/serial").write_text("4C530001\n")
    (machine / "sys/block/sdzz/ro").write_text("1\n")
    done = copy("copy", "--from", image, "--yes", "4C530001", root=machine)
    assert "/dev/sdzz: not written to, because it is read-only" in done.stderr
    assert "no disk has this" in copy("copy", "--from", image, "--yes", "4C53", root=machine).stderr


def test_a_partition_is_refused_and_its_disk_named(machine: Path, image: Path) -> None:
    done = copy("copy", "--from", image, "--yes", "/dev/sdzz1", root=machine)
    assert done.returncode == 2
    assert "/dev/sdzz\n" in done.stderr


def test_the_command_copies_as_the_live_system_does(image: Path, tmp_path: Path) -> None:
    target = blank(tmp_path / "stick", image.stat().st_size)
    command = [sys.executable, "-m", "bootprof", "copy", str(image), str(target), "--yes"]
    subprocess.run(command, check=True, capture_output=True)
    assert target.read_bytes() == image.read_bytes()


def test_the_wizard_without_windows_offers_free_disks_and_can_be_left(
    machine: Path, image: Path
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"BOOTPROF_LIVE_ROOT": str(machine), "TERM": "dumb"}
        os.execvp("sh", ["sh", str(LIVE_TOOL), "copy", "--from", str(image)])
    os.write(terminal, b"q\n")
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 65536):
            shown += data
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    text = shown.decode().replace("\r", "")
    assert "  1  /dev/sdzz   134.2 MB  Stick" in text
    assert "nothing was written" in text
    assert os.waitstatus_to_exitcode(status) == 1


def test_the_man_page_has_all_options_and_answers_and_no_errors() -> None:
    page = LIVE_TOOL.parent / "bootprof-live.8"
    command: list[str | Path] = ["man", "--warnings", "-Tutf8", "-l", page]
    environment = {**os.environ, "MAN_KEEP_FORMATTING": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout).replace("\u2010", "-").replace("\u2212", "-")
    code = "".join(part.read_text() for part in LIVE_TOOL.parent.glob("*.sh"))
    options = set(re.findall(r"^  (--[a-z-]+)", code, re.MULTILINE))
    keys = code.partition("answer_keys='")[2].partition("'")[0].split()
    assert {"--keep", "--answers"} <= options
    assert [each for each in (*options, *keys) if each not in text] == []


# What translate is called with: text in quotes, or a word.
TRANSLATED = re.compile(r"""\btranslate (?:'([^']+)'|"([^"$]+)"|([A-Za-z]+))""")


@pytest.mark.parametrize("name", ["de", "fr", "pt"])
def test_a_catalogue_has_all_messages_with_their_arguments(name: str, tmp_path: Path) -> None:
    source = LIVE_TOOL.parent / f"po/{name}.po"
    done = subprocess.run(
        ["msgfmt", "--check", "-o", tmp_path / "messages.mo", source],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "fuzzy" not in done.stderr
    text = source.read_text()
    assert 'msgstr ""\n\n' not in text
    there = {m.replace('\\"', '"') for m in re.findall(r'^msgid "(.+)"$', text, re.MULTILINE)}
    assert there == messages()
    # The top line of a screen of 80 columns.
    top = [line for line in re.findall(r'^msgstr "(.+)"$', text, re.MULTILINE) if "   (" in line]
    assert (len(top), max(map(len, top)) < 80) == (2, True)


def messages() -> set[str]:
    """Return what the program can say."""
    found = set()
    for part in LIVE_TOOL.parent.glob("*.sh"):
        code = re.sub(r"^\s*#.*", "", part.read_text(), flags=re.MULTILINE)
        found |= {"".join(each) for each in TRANSLATED.findall(code)}
    return found


def test_no_message_is_said_without_a_translation() -> None:
    code = "".join(part.read_text() for part in LIVE_TOOL.parent.glob("*.sh"))
    # Their text comes from translate, or begins with a name.
    says = r"""\b(?:fail|refuse|broken|show|confirm|line_of|step [0-9]+) ["'](?!\$)[^\n]*"""
    assert re.findall(says, code) == []


def test_control_c_interrupts_what_runs_beside_a_window(tmp_path: Path) -> None:
    lines = [f". {LIVE_TOOL.parent}/{name}.sh" for name in ("common", "windows")]
    script = "\n".join(
        [
            f"language= scratch={tmp_path} work=top go=go",
            *lines,
            "slow() { trap 'echo stopped; exit 130' INT; began=0; "
            "while :; do progress Writing 50 100; sleep 0.1; done; }",
            'perform_in_window Copying slow; echo "status $status: $(cat $scratch/out)"',
        ]
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "linux"
        time.sleep(0.2)
        os.execvp("sh", ["sh", "-c", script])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown, sent = b"", False
    ends = time.monotonic() + 60
    with contextlib.suppress(OSError):
        while select.select([terminal], [], [], 10)[0] and time.monotonic() < ends:
            data = os.read(terminal, 65536)
            if not data:
                break
            shown += data
            if not sent and b"left" in shown:
                os.write(terminal, b"\x03")
                sent = True
    # Whatever still runs is hung up.
    os.close(terminal)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert b"status 130: stopped" in shown
