# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from bootprof.builder import overlay
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from tests.builder import canary

CAPABILITY = bytes.fromhex("0100000200040000") + bytes(12)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with every kind of entry that an ordinary user can make."""
    folder = tmp_path / "files"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/motd").write_bytes(b"hello")
    (folder / "etc/secret").write_bytes(b"key")
    (folder / "etc/secret").chmod(0o600)
    (folder / "etc/same").hardlink_to(folder / "etc/motd")
    (folder / "etc/mtab").symlink_to("/proc/self/mounts")
    (folder / "srv").mkdir(mode=0o2770)
    (folder / "srv").chmod(0o2770)
    os.mkfifo(folder / "srv/pipe", 0o640)
    os.utime(folder / "etc/motd", (10**9, 10**9))
    return folder


def copied(files: Path, root: Path) -> Path:
    root.mkdir(exist_ok=True)
    with open_tree(root) as tree:
        overlay.apply(overlay.scan(files), tree)
    return root


def facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    return (
        *(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_nlink),
        None if path.is_dir() else status.st_mtime_ns,
        path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        path.readlink() if path.is_symlink() else None,
        [
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False)
        ],
    )


def compare(files: Path, root: Path) -> None:
    names = sorted(path.relative_to(files) for path in files.rglob("*"))
    assert names == sorted(path.relative_to(root) for path in root.rglob("*"))
    for name in names:
        assert facts(root / name) == facts(files / name), name


def test_copies_are_as_their_sources(files: Path, tmp_path: Path) -> None:
    compare(files, copied(files, tmp_path / "root"))
    assert (tmp_path / "root/etc/same").samefile(tmp_path / "root/etc/motd")


@pytest.mark.root
def test_owners_device_nodes_and_extended_attributes_are_copied(
    files: Path, tmp_path: Path
) -> None:
    os.mknod(files / "srv/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(files / "srv/disk", 0o660 | stat.S_IFBLK, os.makedev(8, 0))
    os.chown(files / "srv", 33, 44)
    os.chown(files / "etc/secret", 5, 6)
    os.chown(files / "etc/mtab", 7, 8, follow_symlinks=False)
    (files / "etc/secret").chmod(0o4755)
    os.setxattr(files / "etc/secret", "security.capability", CAPABILITY)
    os.setxattr(files / "srv", "user.note", b"folder")
    os.setxattr(files / "etc/mtab", "trusted.note", b"link", follow_symlinks=False)
    compare(files, copied(files, tmp_path / "root"))
    entries = overlay.scan(files, "root").entries
    assert {entry.attributes.owner for entry in entries} == {(0, 0)}


def test_folders_add_to_what_they_meet_and_other_entries_replace_it(
    files: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "config").mkdir(parents=True)
    (root / "config/kept").write_bytes(b"kept")
    (root / "config/motd").symlink_to("kept")
    (root / "config/secret").mkdir()
    (root / "etc").symlink_to("/config")
    (root / "srv").symlink_to("/nowhere")
    copied(files, root)
    assert (root / "etc").is_symlink()
    assert (root / "config/kept").read_bytes() == b"kept"
    assert (root / "config/motd").read_bytes() == b"hello"
    assert (root / "config/secret").read_bytes() == b"key"
    assert (root / "srv").is_dir()
    assert not (root / "srv").is_symlink()


def test_a_copy_over_links_that_lead_out_changes_nothing_outside(
    files: Path, tmp_path: Path
) -> None:
    outside = canary.plant(tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / "srv").symlink_to(outside)
    (root / "etc").symlink_to("../outside/etc")
    before = canary.state(outside)
    copied(files, root)
    assert canary.state(outside) == before
    assert facts(root / "etc/motd") == facts(files / "etc/motd")


@pytest.mark.parametrize(
    "kind", ["content", "mode", "target", "folder mode", "type", "time", "name"]
)
def test_the_digest_counts_whatever_comes_out_in_an_image(files: Path, kind: str) -> None:
    before = overlay.scan(files).digest()
    assert overlay.scan(files).digest() == before
    if kind == "content":
        (files / "etc/secret").write_bytes(b"lock")
    elif kind == "mode":
        (files / "etc/secret").chmod(0o640)
    elif kind == "target":
        (files / "etc/mtab").unlink()
        (files / "etc/mtab").symlink_to("/proc/mounts")
    elif kind == "folder mode":
        (files / "srv").chmod(0o700)
    elif kind == "type":
        (files / "srv/pipe").unlink()
        (files / "srv/pipe").touch()
    elif kind == "time":
        os.utime(files / "etc/motd", (5, 5))
    else:
        (files / "srv/pipe").rename(files / "srv/fifo")
    assert overlay.scan(files).digest() != before


@pytest.mark.root
@pytest.mark.parametrize("kind", ["owner", "device", "xattr"])
def test_the_digest_counts_what_only_root_can_set(files: Path, kind: str) -> None:
    os.mknod(files / "srv/node", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    before = overlay.scan(files).digest()
    if kind == "owner":
        os.chown(files / "etc/mtab", 0, 1, follow_symlinks=False)
    elif kind == "device":
        (files / "srv/node").unlink()
        os.mknod(files / "srv/node", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        os.setxattr(files / "etc/secret", "security.capability", CAPABILITY)
    assert overlay.scan(files).digest() != before


def test_a_socket_is_refused_before_anything_is_built(files: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(files / "srv/socket"))
        with pytest.raises(InputError, match="srv/socket: a socket cannot be copied"):
            overlay.scan(files)


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        overlay.scan(tmp_path / "none")
    assert caught.value.hint == "check system.files"


def test_names_that_are_not_utf_8_and_deep_folders_are_copied(tmp_path: Path) -> None:
    files = tmp_path / "files"
    deep = files / "/".join("d" * 3 for _ in range(400))
    deep.mkdir(parents=True)
    (deep / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    root = copied(files, tmp_path / "root")
    assert (root / deep.relative_to(files) / os.fsdecode(b"\xff\xfe")).read_bytes() == b"x"


def test_a_file_system_without_extended_attributes_is_copied_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: bool) -> list[str]:
        raise OSError(number, os.strerror(number), str(path))

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "listxattr", refuse)
    number = errno.ENOTSUP
    assert [entry.attributes.xattrs for entry in overlay.scan(tmp_path).entries] == [()]
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        overlay.scan(tmp_path)
