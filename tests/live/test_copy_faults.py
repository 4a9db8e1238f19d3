# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-live copy: what goes wrong gives one line, and leaves a stick that says so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.live.faulty import MIB, exported, live, loop, served

pytestmark = pytest.mark.root

IMAGE_MIB = 10
STICK_MIB = 32


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a disk with a GPT."""
    path = tmp_path_factory.mktemp("image") / "live.img"
    path.write_bytes(os.urandom(IMAGE_MIB * MIB))
    script = b"label: gpt\nstart=2048, size=14336, name=live\n"
    subprocess.run(["/usr/sbin/sfdisk", "--quiet", "--wipe=always", path], input=script, check=True)
    return path


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    path = tmp_path / "stick"
    path.write_bytes(b"x" * (STICK_MIB * MIB))
    return path


def is_marked(whole: bytes, marker: str) -> bool:
    """Return whether a stick boots to the menu that says that its copy is incomplete."""
    expected = Path(marker).read_bytes()
    core = int.from_bytes(whole[0x5C : 0x5C + 8], "little") * 512
    return (
        whole[510:512] == b"\x55\xaa"
        and whole[:0x5C] == expected[:0x5C]
        # But for the list of its sectors, which follow it.
        and whole[core : core + 500] == expected[512 : 512 + 500]
        and int.from_bytes(whole[core + 500 : core + 508], "little") * 512 == core + 512
        and whole[core + 512 : core + 2 * MIB - 512] == expected[1024:]
    )


@pytest.mark.parametrize("signal", ["INT", "KILL"])
def test_a_copy_that_ends_at_any_of_twenty_points_says_that_it_is_incomplete(
    image: Path, marker: str, tmp_path: Path, signal: str
) -> None:
    # dd does all reading and writing; one of its calls ends everything at once.
    tools = tmp_path / "tools"
    tools.mkdir()
    dd = tools / "dd"
    dd.write_text(
        '#!/bin/sh\ncase "$*" in *"of=$STICK"*|*"if=$STICK "*) ;; *) exec /bin/dd "$@";; esac\n'
        'echo x >>"$CALLS"\n[ "$(wc -l <"$CALLS")" != "$POINT" ] || kill -s "$SIGNAL" 0\n'
        'exec /bin/dd "$@"\n'
    )
    dd.chmod(0o755)
    before = image.read_bytes()
    ended = 0
    for point in range(1, 21):
        stick, calls = tmp_path / "stick", tmp_path / "calls"
        stick.write_bytes(b"x" * (STICK_MIB * MIB))
        calls.write_bytes(b"")
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "STICK": str(stick),
            "CALLS": str(calls),
            "POINT": str(point),
            "SIGNAL": signal,
        }
        done = live_in_session(image, stick, marker, environment)
        whole = stick.read_bytes()
        if whole[450] == before[450]:
            # The type of the first partition is that of a GPT, and not of the menu:
            # nothing was left to be done but to compare the last write.
            inside = slice(MIB, (IMAGE_MIB - 1) * MIB)
            assert (whole[inside], whole[-512:-504]) == (before[inside], b"EFI PART")
            continue
        ended += 1
        if signal == "INT":
            assert done.returncode == 130
            assert "The copy is incomplete" in done.stderr
            assert is_marked(whole, marker), point
        else:
            # Cleared in the first moment, and then the menu.
            assert whole[:512] == bytes(512) or is_marked(whole, marker) or point == 1, point
    assert ended > 5
    assert image.read_bytes() == before


def live_in_session(
    image: Path, stick: Path, marker: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    from bootprof.sources import LIVE_TOOL

    return subprocess.run(
        ["sh", LIVE_TOOL, "copy", "--from", image, "--yes", stick],
        # A copy that is killed leaves its temporary files.
        env={
            **os.environ,
            **environment,
            "BOOTPROF_LIVE_MARKER": marker,
            "TMPDIR": str(stick.parent),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def test_a_write_error_is_named_and_the_stick_marked(
    image: Path, marker: str, stick: Path, tmp_path: Path
) -> None:
    bad = f"protect={5 * MIB}-{5 * MIB + 4095}"
    with served(tmp_path, "--filter=protect", "file", stick, bad) as file, loop(file) as disk:
        done = live("copy", "--from", image, "--yes", disk, BOOTPROF_LIVE_MARKER=marker)
    assert done.returncode == 1
    assert f"{disk}: cannot be written near byte" in done.stderr
    assert is_marked(stick.read_bytes(), marker)


def test_a_write_error_of_a_drive_is_named_and_the_stick_marked(
    image: Path, marker: str, stick: Path, tmp_path: Path
) -> None:
    # Each write that covers a sector in the middle fails.
    broken = "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=12000"
    nodes = (
        f"driver=file,node-name=stick,filename={stick}",
        f"driver=blkdebug,image=stick,{broken}",
    )
    with exported(tmp_path / "served", *nodes) as file, loop(file) as disk:
        done = live("copy", "--from", image, "--yes", disk, BOOTPROF_LIVE_MARKER=marker)
    assert done.returncode == 1
    assert f"{disk}: cannot be written near byte" in done.stderr
    assert "Input/output error" in done.stderr
    assert is_marked(stick.read_bytes(), marker)


def test_a_stick_that_wraps_around_is_found_out(image: Path, stick: Path, tmp_path: Path) -> None:
    # A counterfeit: 4 MiB of memory that say to be 32.
    real = 4 * MIB
    plugin = (
        *("eval", f"get_size=echo {STICK_MIB * MIB}", "can_write=exit 0", "can_flush=exit 0"),
        f"pread=dd if={stick} iflag=skip_bytes,count_bytes skip=$(($4 % {real})) count=$3",
        f"pwrite=dd of={stick} oflag=seek_bytes seek=$(($4 % {real})) conv=notrunc",
        "flush=exit 0",
    )
    with served(tmp_path, *plugin) as file, loop(file, "--direct-io=on") as disk:
        done = live("copy", "--from", image, "--yes", disk)
    assert done.returncode == 1
    assert f"{disk}: does not hold what was written, at byte {MIB}" in done.stderr
    assert "smaller than it says" in done.stderr


def test_a_source_that_cannot_be_read_is_named_and_the_stick_marked(
    image: Path, marker: str, stick: Path, tmp_path: Path
) -> None:
    plugin = (
        *("eval", f"get_size=echo {IMAGE_MIB * MIB}"),
        f"pread=if [ $(($4 + $3)) -gt {5 * MIB} ] && [ $4 -lt {6 * MIB} ]; then "
        f"echo EIO bad block >&2; exit 1; fi; dd if={image} "
        "iflag=skip_bytes,count_bytes skip=$4 count=$3",
    )
    with served(tmp_path, *plugin) as file:
        done = live("copy", "--from", file, "--yes", stick, BOOTPROF_LIVE_MARKER=marker)
    assert done.returncode == 1
    assert f"{file}: cannot be read near byte" in done.stderr
    assert is_marked(stick.read_bytes(), marker)


def test_the_file_of_the_running_medium_that_cannot_be_read_is_named(
    image: Path, marker: str, stick: Path, tmp_path: Path
) -> None:
    # The medium is a real device; that the system runs from it is said by tables of the test's own.
    root = tmp_path / "machine"
    medium = root / "run/live/medium"
    medium.mkdir(parents=True)
    (medium / "good").write_text("good")
    plugin = (
        *("eval", f"get_size=echo {IMAGE_MIB * MIB}"),
        f"pread=if [ $(($4 + $3)) -gt {5 * MIB} ] && [ $4 -lt {6 * MIB} ]; then "
        f"echo EIO bad block >&2; exit 1; fi; dd if={image} "
        "iflag=skip_bytes,count_bytes skip=$4 count=$3",
    )
    with served(medium, *plugin) as file, loop(file, "--read-only") as disk:
        name = Path(disk).name
        part = root / f"sys/block/{name}/{name}p1"
        part.mkdir(parents=True)
        (part / "start").write_text("2048\n")
        (part / "size").write_text("14336\n")
        (root / "sys/class/block").mkdir(parents=True)
        (root / f"sys/class/block/{name}").symlink_to(f"../../block/{name}")
        (root / "proc/self").mkdir(parents=True)
        line = f"1 0 7:0 / /run/live/medium ro - iso9660 {disk} ro\n"
        (root / "proc/self/mountinfo").write_text(line)
        done = live(
            *("copy", "--yes", stick), BOOTPROF_LIVE_ROOT=str(root), BOOTPROF_LIVE_MARKER=marker
        )
    assert done.returncode == 1
    assert ", in the file served\n" in done.stderr, done.stderr
    assert is_marked(stick.read_bytes(), marker)


def test_old_tables_at_the_end_do_not_come_back(image: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.write_bytes(bytes(STICK_MIB * MIB))
    script = b"label: gpt\nsize=2MiB, name=left\n"
    subprocess.run(["/usr/sbin/sfdisk", "--quiet", stick], input=script, check=True)
    assert live("copy", "--from", image, "--yes", stick).returncode == 0
    dump = subprocess.run(
        ["/usr/sbin/sfdisk", "--dump", stick], capture_output=True, text=True, check=True
    )
    assert (dump.stdout.count("start="), "left" in dump.stdout, dump.stderr) == (1, False, "")


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--read-only",), "it is read-only"), (("--sector-size", "4096"), "sectors of 4096 bytes")],
)
def test_a_disk_that_cannot_hold_a_copy_is_refused_untouched(
    image: Path, stick: Path, options: tuple[str, ...], reason: str
) -> None:
    with loop(stick, *options) as disk:
        done = live("copy", "--from", image, "--yes", disk)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    assert stick.read_bytes() == b"x" * (STICK_MIB * MIB)


def test_a_copy_needs_room_for_its_temporary_files(image: Path, stick: Path) -> None:
    done = live(
        *("copy", "--from", image, "--yes", stick),
        # Neither of the other two exists below this root.
        TMPDIR="/proc/nothing",
        BOOTPROF_LIVE_ROOT="/proc/nothing",
    )
    assert (done.returncode, "no room for temporary files" in done.stderr) == (1, True)
    assert stick.read_bytes() == b"x" * (STICK_MIB * MIB)


def test_other_partitions_of_a_medium_are_not_copied(
    image: Path, stick: Path, tmp_path: Path
) -> None:
    medium = tmp_path / "medium"
    medium.write_bytes(image.read_bytes() + bytes(8 * MIB))
    sfdisk = "/usr/sbin/sfdisk"
    subprocess.run([sfdisk, "--quiet", "--relocate", "gpt-bak-std", medium], check=True)
    command: list[str | Path] = [sfdisk, "--quiet", "--append", medium]
    subprocess.run(command, input=b"size=2MiB, name=photos\n", check=True)
    with loop(medium) as disk:
        done = live("copy", "--from", disk, "--yes", stick)
    assert (done.returncode, "other partitions" in done.stderr) == (2, True), done.stderr
    assert stick.read_bytes() == b"x" * (STICK_MIB * MIB)


def test_a_loop_device_gets_all_bytes(image: Path, stick: Path) -> None:
    with loop(stick) as disk:
        done = live("copy", "--from", image, "--yes", disk)
    assert done.returncode == 0, done.stderr
    assert (
        stick.read_bytes()[MIB : (IMAGE_MIB - 1) * MIB]
        == (image.read_bytes()[MIB : (IMAGE_MIB - 1) * MIB])
    )
