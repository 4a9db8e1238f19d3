# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import io
import os
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import tarball
from bootprof.errors import BootprofError, FormatError, InputError
from tests.builder import canary
from tests.builder.cage import caged
from tests.builder.test_overlay import compare
from tests.builder.test_roottree import AWAY, TARGETS

TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def archive(path: Path, entries: Sequence[tuple[str, str, str]]) -> Path:
    """Write an archive: type, name, and the target of a link or the content of a file."""
    with tarfile.open(path, "w") as members:
        for kind, name, text in entries:
            member = tarfile.TarInfo(name)
            member.type = TYPES[kind]
            member.uid, member.gid = os.getuid(), os.getgid()
            member.mtime = 10**9
            if kind == "file":
                member.size = len(text)
                members.addfile(member, io.BytesIO(text.encode()))
            else:
                member.linkname = text
                member.mode = 0o755
                members.addfile(member)
    return path


def unpacked(path: Path, root: Path) -> int:
    root.mkdir(exist_ok=True)
    with open_tree(root) as tree:
        return tarball.unpack(path, tree)


@pytest.mark.root
@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst"])
def test_what_gnu_tar_packs_is_unpacked_as_it_was(suffix: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/tool").write_bytes(b"#!" * 100_000)
    (source / "usr/bin/tool").chmod(0o4755)
    (source / "usr/bin/other").hardlink_to(source / "usr/bin/tool")
    (source / "bin").symlink_to("usr/bin")
    (source / "localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    os.mkfifo(source / "pipe")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.chown(source / "pipe", 5, 100_000)
    os.setxattr(source / "usr/bin/tool", "security.capability", bytes([1, 0, 0, 2]) + bytes(16))
    (source / ("x" * 120 + "é")).touch()
    os.utime(source / "usr/bin/tool", (10**9, 10**9))
    path = tmp_path / f"root.{suffix}"
    options = ["--xattrs", "--xattrs-include=*", "--format=pax", "--auto-compress"]
    subprocess.run(["tar", *options, "-C", source, "-cf", path, "."], check=True)
    assert unpacked(path, tmp_path / "root") >= 10**9
    compare(source, tmp_path / "root")


def test_layers_that_lead_out_through_each_other_stay_in_the_tree(tmp_path: Path) -> None:
    outside = canary.plant(tmp_path / "outside")
    before = canary.state(outside)
    root = tmp_path / "root"
    first = [
        ("link", "esc", str(outside)),
        ("link", "up", f"../../../../../../../..{outside}"),
        ("file", "passwd", "inside"),
    ]
    second = [
        ("file", "esc/planted", "x"),
        ("file", "up/etc/passwd", "x"),
        ("file", "/absolute", "x"),
        ("hard link", "same", "passwd"),
    ]
    unpacked(archive(tmp_path / "1.tar", first), root)
    unpacked(archive(tmp_path / "2.tar", second), root)
    assert canary.state(outside) == before
    assert (root / "absolute").read_text() == "x"
    # Nothing in the tree is called as the link says: it gives way to a folder.
    assert (root / "esc/planted").read_text() == "x"
    assert (root / "same").samefile(root / "passwd")
    for kind in ("hard link", "file"):
        target = str(outside / "etc/passwd")
        entries = [(kind, "../../x" if kind == "file" else "new", target)]
        with pytest.raises(InputError):
            unpacked(archive(tmp_path / "3.tar", entries), tmp_path / "other")
    assert canary.state(outside) == before


ENTRIES = st.lists(
    st.tuples(st.sampled_from(sorted(TYPES)), AWAY, st.one_of(TARGETS, AWAY)), max_size=12
)


@given(ENTRIES, ENTRIES)
def test_no_archive_changes_or_reads_anything_outside(
    first: list[tuple[str, str, str]], second: list[tuple[str, str, str]]
) -> None:
    def body(folder: Path) -> None:
        outside = canary.plant(folder / "outside")
        before = canary.state(outside)
        for given_entries in (first, second):
            entries = [
                (kind, one.replace("{out}", str(outside)), two.replace("{out}", str(outside)))
                for kind, one, two in given_entries
            ]
            try:
                unpacked(archive(folder / "layer.tar", entries), folder / "root")
            except (BootprofError, OSError):
                continue
        assert canary.state(outside) == before
        names = {path.name for path in folder.iterdir()}
        assert names - {"proc"} == {"layer.tar", "outside", "root"}
        for path in (folder / "root").rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert path.resolve().is_relative_to(folder / "root")
                assert path.read_bytes() != canary.SECRET

    with tempfile.TemporaryDirectory() as name:
        caged(Path(name), body)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_damaged_archives_give_one_line(suffix: str, tmp_path: Path) -> None:
    source = random.Random(3)
    whole = tmp_path / "whole.tar"
    archive(whole, [("file", f"f{number}", "x" * 900) for number in range(20)])
    mode = {"": "w", ".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[suffix]
    packed = tmp_path / f"packed.tar{suffix}"
    with tarfile.open(whole) as members, tarfile.open(packed, mode) as out:  # type: ignore[call-overload]
        for member in members:
            out.addfile(member, members.extractfile(member))
    data = packed.read_bytes()
    damaged = [data[: source.randrange(1, len(data) - 1)] for _ in range(40)]
    for _ in range(40):
        position = source.randrange(len(data))
        damaged.append(data[:position] + source.randbytes(8) + data[position + 8 :])
    refused = 0
    for number, content in enumerate([*damaged, b"", b"no archive" * 200]):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        try:
            unpacked(path, tmp_path / f"root{number}")
        except (FormatError, InputError) as error:
            refused += 1
            assert "\n" not in error.message
    assert refused > 20
