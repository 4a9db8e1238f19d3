# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Initrds are made by cpio itself here, and read back by it."""

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from bootprof.builder.initrd.repack import repack
from bootprof.errors import FormatError

FILES = {
    "usr/lib/modules/6.1/modules.dep": (
        "kernel/drivers/net/e1000.ko:\n"
        "kernel/drivers/net/cnic.ko: kernel/drivers/net/shared.ko\n"
        "kernel/drivers/scsi/bnx2i.ko: kernel/drivers/net/cnic.ko kernel/drivers/net/shared.ko\n"
        "kernel/drivers/networks.ko:\n"
    ),
    "usr/lib/modules/6.1/kernel/drivers/net/e1000.ko": "e1000",
    "usr/lib/modules/6.1/kernel/drivers/net/cnic.ko": "cnic",
    "usr/lib/modules/6.1/kernel/drivers/net/shared.ko": "shared",
    "usr/lib/modules/6.1/kernel/drivers/scsi/bnx2i.ko": "bnx2i",
    "usr/lib/modules/6.1/kernel/drivers/networks.ko": "not in drivers/net",
    "etc/drivers/net/notes.ko": "no module",
    "init": "#!/bin/sh\n",
}
# All that are in a folder of their own kind.
SORTS = ("net/e1000", "net/cnic", "net/shared", "scsi/bnx2i")


def make_archive(folder: Path, files: Mapping[str, str]) -> bytes:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "link").symlink_to("init")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"],
        cwd=folder,
        input="\n".join(names).encode(),
        capture_output=True,
        check=True,
    ).stdout


def unpack(archive: bytes, folder: Path) -> dict[str, str]:
    folder.mkdir()
    subprocess.run(
        ["cpio", "--extract", "--make-directories", "--quiet"],
        cwd=folder,
        input=archive,
        check=True,
    )
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return make_archive(tmp_path / "tree", FILES)


def inflate(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress],
    ids=["gzip", "xz", "bzip2", "zstd"],
)
def test_every_file_is_there_again(
    compress: Callable[[bytes], bytes], archive: bytes, tmp_path: Path
) -> None:
    again = inflate(repack(compress(archive), "initrd"))
    assert unpack(again, tmp_path / "out") == {**FILES, "link": "init"}


def test_drivers_left_out_are_those_of_the_folder_that_no_other_module_needs(
    archive: bytes, tmp_path: Path
) -> None:
    again = inflate(repack(gzip.compress(archive, mtime=0), "initrd", ["drivers/net"]))
    names = unpack(again, tmp_path / "out").keys()
    assert FILES.keys() - names == {"usr/lib/modules/6.1/kernel/drivers/net/e1000.ko"}


@pytest.mark.parametrize(
    ("leave_out", "keep", "gone"),
    [
        (["drivers/networks"], [], {"drivers/networks.ko"}),
        (["drivers/networks.ko"], [], {"drivers/networks.ko"}),
        (["drivers"], ["drivers/net"], {"drivers/networks.ko", "drivers/scsi/bnx2i.ko"}),
        (["drivers"], ["drivers/networks"], {f"drivers/{name}.ko" for name in SORTS}),
        (["drivers"], ["drivers/scsi/bnx2i.ko"], {"drivers/networks.ko", "drivers/net/e1000.ko"}),
    ],
)
def test_single_modules_are_left_out_and_kept_by_name(
    archive: bytes, tmp_path: Path, leave_out: list[str], keep: list[str], gone: set[str]
) -> None:
    again = inflate(repack(gzip.compress(archive, mtime=0), "initrd", leave_out, keep))
    names = unpack(again, tmp_path / "out").keys()
    assert FILES.keys() - names == {f"usr/lib/modules/6.1/kernel/{name}" for name in gone}


def test_an_archive_before_the_compressed_one_stays_as_it_is(
    archive: bytes, tmp_path: Path
) -> None:
    microcode = make_archive(tmp_path / "early", {"kernel/x86/microcode/x.bin": "microcode"})
    initrd = microcode + bytes(512) + gzip.compress(archive, mtime=0)
    again = repack(initrd, "initrd", ["drivers/net"])
    end = again.index(b"\x28\xb5\x2f\xfd")
    assert end % 4 == 0
    assert "kernel/x86/microcode/x.bin" in unpack(again[:end], tmp_path / "first")
    assert "init" in unpack(inflate(again[end:]), tmp_path / "second")


def test_the_same_initrd_gives_the_same_bytes(archive: bytes) -> None:
    initrd = gzip.compress(archive * 50, mtime=0)
    assert repack(initrd, "initrd") == repack(initrd, "initrd")


@pytest.mark.parametrize(
    ("initrd", "what"),
    [
        (b"this is no initrd", "byte 0"),
        (gzip.compress(b"070701 and nothing else", mtime=0), "no header"),
        (gzip.compress(bytes(100_000), mtime=0)[:20], "no header|error"),
        (b"\x28\xb5\x2f\xfd damaged", "byte 0"),
    ],
    # gzip writes the time of day, which would be part of the test's name.
    ids=["plain", "no header", "cut", "damaged"],
)
def test_what_is_no_initrd_is_refused_with_the_place(initrd: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        repack(initrd, "initrd.img")


@pytest.mark.parametrize(
    "compress",
    [
        lambda data: zstandard.ZstdCompressor().compress(data),
        lambda data: gzip.compress(data),
        lambda data: lzma.compress(data, lzma.FORMAT_XZ),
        lambda data: bz2.compress(data),
    ],
    ids=["zstd", "gzip", "xz", "bzip2"],
)
def test_an_initrd_that_unpacks_without_end_is_refused(
    compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootprof.builder.initrd.repack.UNPACKED_LIMIT_BYTES", 1 << 20)
    with pytest.raises(FormatError, match="more than 1 MiB"):
        repack(compress(bytes(2 << 20)), "initrd.img")
