# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead in initrds of other builders: which kinds are known, and what is added."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from bootprof.builder.initrd.additions import UDEV_RULES
from bootprof.builder.initrd.archive import archive
from bootprof.builder.initrd.foreign import (
    DRACUT_BLKID,
    DRACUT_MOUNT,
    ROOT_RULES,
    fitted,
    joined,
    make_archive,
    recognize,
    root_rules,
)
from bootprof.builder.initrd.readahead import FOLDER, SOURCES, STARTER
from bootprof.builder.initrd.repack import archives, entries
from bootprof.errors import InputError

SQUASHFS = b"/live/filesystem.squashfs"
HOOKS = {
    "live-boot": "usr/lib/live/boot/9990-main.sh",
    "dracut": "usr/lib/dracut/hooks/pre-mount/99-mount.sh",
    "initramfs-tools": "conf/conf.d/resume",
}
PLACES = {
    "live-boot": "usr/lib/live/boot/9999-readahead.sh",
    "dracut": "usr/lib/dracut/hooks/pre-mount/01-bootprof-readahead.sh",
    "initramfs-tools": "conf/conf.d/bootprof-readahead",
}


def make_initrd(folder: Path, *files: str) -> bytes:
    tree = folder / "tree"
    for name in ("usr/bin/sh", *files):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"text " * 20_000)
    shutil.copy("/usr/bin/busybox", tree / "usr/bin/busybox")
    archive(tree, folder / "initrd.cpio", 0)
    return (folder / "initrd.cpio").read_bytes()


def added(initrd: bytes) -> set[bytes]:
    return {entry.name for data, _ in archives(initrd, "") for entry in entries(data, "")}


@pytest.mark.parametrize("kind", HOOKS)
def test_each_kind_gets_its_hook_in_the_folder_that_it_reads(kind: str, tmp_path: Path) -> None:
    initrd = make_initrd(tmp_path, HOOKS[kind])
    recognized = recognize(initrd, "initrd")
    assert (recognized.kind.title, recognized.arch) == (kind, "amd64")
    target = tmp_path / "added.cpio"
    make_archive(recognized, b"a list\n", SQUASHFS, target, epoch=0, quick_probes=True)
    names = added(joined(initrd, target.read_bytes()))
    assert {PLACES[kind].encode(), f"{FOLDER}/bootprof-readahead".encode()} <= names
    assert HOOKS[kind].encode() in names
    # Without udev, nothing reads its rules.
    assert not any(b"rules" in name for name in names)


@pytest.mark.parametrize("kind", HOOKS)
def test_quick_probes_go_where_udev_of_initrd_and_root_finds_them(
    kind: str, tmp_path: Path
) -> None:
    initrd = make_initrd(tmp_path, HOOKS[kind], "usr/lib/udev/rules.d/60-block.rules")
    target = tmp_path / "added.cpio"
    recognized = recognize(initrd, "initrd")
    make_archive(recognized, None, SQUASHFS, target, epoch=0, quick_probes=True)
    names = added(target.read_bytes())
    rules = b"usr/lib/udev/rules.d/60-live-medium.rules"
    assert {PLACES[kind].encode(), rules, b"usr/lib/udev/live_medium_id"} <= names
    assert (b"usr/lib/live/boot/9999-live-medium.sh" in names) == (kind == "live-boot")
    assert f"{FOLDER}/readahead.list".encode() not in names
    assert ROOT_RULES.encode() in names


@pytest.mark.parametrize(
    ("files", "there"),
    [
        (("usr/sbin/blkid", "usr/bin/mount"), True),
        (("usr/sbin/blkid", "usr/sbin/mount"), False),
        (("usr/bin/mount",), False),
    ],
)
def test_a_program_is_put_in_front_of_mount_of_dracut_only_where_it_replaces_none(
    files: tuple[str, ...], there: bool, tmp_path: Path
) -> None:
    initrd = make_initrd(tmp_path, HOOKS["dracut"], *files)
    target = tmp_path / "added.cpio"
    recognized = recognize(initrd, "initrd")
    make_archive(recognized, b"a list\n", SQUASHFS, target, epoch=0, quick_probes=False)
    assert (b"usr/sbin/mount" in added(target.read_bytes())) == there


def test_mount_of_dracut_starts_the_readahead_and_is_told_the_type(tmp_path: Path) -> None:
    called, known, image = tmp_path / "called", tmp_path / "known", tmp_path / "squashfs.img"
    image.touch()
    for name in ("mount", "start-readahead"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {called}\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "loop0/loop").mkdir(parents=True)
    (tmp_path / "loop0/loop/backing_file").write_text(f"{image}\n")
    script = DRACUT_MOUNT.read_text()
    for old, new in {
        "exec /usr/bin/mount": f"exec {tmp_path}/mount",
        "/usr/lib/bootprof": str(tmp_path),
        "/sys/class/block": str(tmp_path),
        "/run/initramfs/bootprof-squashfs": str(known),
    }.items():
        assert old in script
        script = script.replace(old, new)
    (tmp_path / "script").write_text(script)
    base = ["-r", str(image), "/run/rootfsbase"]
    calls = [
        base,
        ["-n", "-t", "iso9660", "-o", "ro", "/dev/sr0", "/run/initramfs/live"],
        ["-n", "-t", "squashfs", "-o", "ro", "/dev/loop0", "/run/initramfs/squashfs"],
        base,
        ["-r", "/other.img", "/run/rootfsbase"],
        ["--help"],
    ]
    for words in calls:
        subprocess.run(["sh", tmp_path / "script", *words], check=True)
    expected = ["mount " + " ".join(words) for words in calls]
    expected[3] = f"mount -r -t squashfs {image} /run/rootfsbase"
    expected.insert(2, f"start-readahead {image}")
    assert called.read_text().splitlines() == expected


def test_blkid_of_dracut_is_kept_beside_what_takes_its_place(tmp_path: Path) -> None:
    files = (HOOKS["dracut"], "usr/lib/udev/rules.d/60-block.rules", "usr/sbin/blkid")
    make_initrd(tmp_path, *files)
    shutil.copy("/usr/bin/busybox", tmp_path / "tree/usr/sbin/blkid")
    archive(tmp_path / "tree", tmp_path / "initrd.cpio", 0)
    recognized = recognize((tmp_path / "initrd.cpio").read_bytes(), "initrd")
    for quick_probes in (True, False):
        target = tmp_path / f"{quick_probes}.cpio"
        make_archive(recognized, b"a list\n", SQUASHFS, target, epoch=0, quick_probes=quick_probes)
        data = target.read_bytes()
        found = {entry.name: entry for entry in entries(data, "")}
        assert (b"usr/sbin/blkid" in found) == quick_probes
    kept = {entry.name: entry for entry in entries((tmp_path / "True.cpio").read_bytes(), "")}
    entry = kept[f"{FOLDER}/blkid".encode()]
    content = (tmp_path / "True.cpio").read_bytes()[entry.content :][: entry.size_bytes]
    assert content == Path("/usr/bin/busybox").read_bytes()


def test_blkid_of_dracut_is_answered_by_udev_for_a_medium_alone(tmp_path: Path) -> None:
    script = DRACUT_BLKID.read_text().replace("/usr/lib/bootprof/blkid", f"{tmp_path}/blkid")
    (tmp_path / "script").write_text(script)
    (tmp_path / "blkid").write_text('#!/bin/sh\necho "asked $*"\n')
    (tmp_path / "udevadm").write_text(
        '#!/bin/sh\n[ "$3" = /dev/sr0 ] || exit 0\n'
        "printf '%s\\n' 'ID_FS_TYPE=iso9660' 'ID_LIVE_MEDIUM=1' 'ID_FS_LABEL=A_LABEL' "
        "'ID_FS_LABEL_ENC=A\\x20LABEL'\n"
    )
    for name in ("blkid", "udevadm"):
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for words, expected in {
        "-o value -s TYPE /dev/sr0": "iso9660",
        "-s TYPE -o value /dev/sr0": "iso9660",
        "-s LABEL -o value /dev/sr0": "A LABEL",
        "-s UUID -o value /dev/sr0": "asked -s UUID -o value /dev/sr0",
        "-o value -s TYPE /dev/sda": "asked -o value -s TYPE /dev/sda",
        "-s TYPE -u noraid -o value /dev/sr0": "asked -s TYPE -u noraid -o value /dev/sr0",
        "-p /dev/sr0": "asked -p /dev/sr0",
    }.items():
        done = subprocess.run(
            ["sh", tmp_path / "script", *words.split()],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{expected}\n"


def test_rules_for_the_root_are_left_as_they_are_but_for_the_initrd() -> None:
    lines, own = root_rules().splitlines(), UDEV_RULES.read_text().splitlines()
    more = [line for line in lines if line not in own]
    assert more == [
        'TEST=="/etc/initrd-release", GOTO="live_medium_end"',
        'TEST=="/scripts/functions", GOTO="live_medium_end"',
    ]
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[:2] == more
    assert [line for line in lines if line not in more] == own


def test_an_initrd_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind of this initrd is unknown"):
        recognize(make_initrd(tmp_path, "usr/lib/other"), "initrd")


def test_no_folder_of_the_archive_takes_the_place_of_a_link(tmp_path: Path) -> None:
    initrd = make_initrd(tmp_path, "conf/conf.d/resume")
    # The kernel would remove the link, and with it all programs of the initrd.
    (tmp_path / "tree/usr/lib").symlink_to("bin")
    archive(tmp_path / "tree", tmp_path / "linked.cpio", 0)
    assert recognize(initrd, "initrd").folder == "conf/conf.d"
    with pytest.raises(InputError, match="usr/lib is no folder"):
        recognize((tmp_path / "linked.cpio").read_bytes(), "initrd")


def test_an_initrd_with_room_keeps_its_size(tmp_path: Path) -> None:
    content = make_initrd(tmp_path, *(f"usr/share/{number}" for number in range(30)))
    (tmp_path / "early/kernel").mkdir(parents=True)
    archive(tmp_path / "early", tmp_path / "early.cpio", 0)
    early = (tmp_path / "early.cpio").read_bytes() + bytes(512)
    packed = early + zstandard.ZstdCompressor(level=1).compress(content) + bytes(9000)
    more = tmp_path / "more"
    (more / "conf").mkdir(parents=True)
    (more / "conf/new").write_bytes(b"new " * 1000)
    archive(more, tmp_path / "more.cpio", 0)
    new = fitted(packed, "initrd", (tmp_path / "more.cpio").read_bytes(), slow=True)
    assert new is not None
    assert len(new) == len(packed)
    assert new.startswith(early)
    rest = new.rstrip(b"\0")
    assert list(archives(new, ""))[1][0] == content
    begin = rest.rindex(b"\x28\xb5\x2f\xfd")
    assert begin % 4 == 0
    assert b"conf/new" in added(rest[begin:])


def test_a_quick_compression_is_tried_first(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor(level=1).compress(make_initrd(tmp_path, "usr/a", "usr/b"))
    new = fitted(packed + bytes(4000), "initrd", b"070701 more", slow=False)
    assert new is not None
    assert len(new) == len(packed) + 4000


def test_what_is_slow_is_left_out_if_it_is_not_worth_it(tmp_path: Path) -> None:
    packed = gzip.compress(make_initrd(tmp_path), 1) + bytes(4000)
    assert fitted(packed, "initrd", b"070701 more", slow=False) is None
    assert fitted(packed, "initrd", b"070701 more", slow=True) is not None


def test_an_initrd_without_room_is_left_to_the_caller(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor(level=19).compress(make_initrd(tmp_path))
    assert fitted(packed, "initrd", bytes(range(256)) * 50, slow=True) is None


@pytest.mark.root
@pytest.mark.parametrize(
    ("squashfs", "started"),
    [("/medium/live/filesystem.squashfs", True), ("/medium/live/other.squashfs", False)],
)
def test_only_the_file_system_of_the_list_is_read_ahead(
    squashfs: str, started: bool, tmp_path: Path
) -> None:
    for name in ("bin", "dev", "proc", "run", "medium/live", FOLDER):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dev/null").touch()
    (tmp_path / "proc/cmdline").touch()
    shutil.copy("/usr/bin/busybox", tmp_path / "bin")
    for source in (STARTER, SOURCES / "bootprof-readahead.service"):
        shutil.copy(source, tmp_path / FOLDER)
    shutil.copy(SOURCES / "initramfs-tools-conf", tmp_path / "conf")
    program = tmp_path / FOLDER / "bootprof-readahead"
    program.write_text("#!/bin/busybox sh\n>/started\n")
    program.chmod(0o755)
    (tmp_path / FOLDER / "readahead.list").touch()
    (tmp_path / FOLDER / "squashfs.path").write_bytes(SQUASHFS + b"\n")
    (tmp_path / squashfs[1:]).touch()
    (tmp_path / ROOT_RULES).touch()
    script = (
        "/bin/busybox --install -s /bin; PATH=/bin; . /conf; "
        f"mount -t squashfs -o ro,loop {squashfs} /nowhere"
    )
    command: list[str | Path] = [
        "unshare",
        "--mount",
        "chroot",
        tmp_path,
        "/bin/busybox",
        "sh",
        "-c",
        script,
    ]
    subprocess.run(command, check=False, capture_output=True)
    assert (tmp_path / "started").exists() == started
    # Each squashfs is one that udev of the root shall know.
    assert (tmp_path / "run/udev/rules.d" / Path(ROOT_RULES).name).exists()
