# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Checksums and signatures in a rewritten ISO."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from bootprof.checksums import (
    ALL_TEXTS_BYTES,
    MOST_LISTS,
    checked_covering,
    find_covering,
    read_texts,
)
from bootprof.cli import main
from bootprof.errors import InputError
from bootprof.rewrite import Rewritten, rewrite
from optimizer.images.image import Image, open_image
from optimizer.images.iso9660 import Region
from optimizer.images.reorder import Wanted

WANTED = Wanted([b"/file-%d" % number for number in (17, 3, 11)])
SQUASHFS = "live/filesystem.squashfs"


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checksums")
    source = random.Random(5)
    (folder / "tree").mkdir()
    for number in range(20):
        content = source.randbytes(3000) + b"text %d " % number * 3000
        (folder / f"tree/file-{number}").write_bytes(content)
    image = folder / "image.squashfs"
    options = ["-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1"]
    subprocess.run(["mksquashfs", folder / "tree", image, *options], check=True)
    return image


def line(algorithm: str, tree: Path, name: str) -> bytes:
    digest = hashlib.new(algorithm, (tree / name).read_bytes()).hexdigest()
    return f"{digest}  ./{name}\n".encode()


def make_iso(squashfs: Path, folder: Path, **more: bytes) -> Path:
    """Make an ISO with checksum files that cover the squashfs, and each other."""
    tree = folder / "iso"
    (tree / "live").mkdir(parents=True)
    (tree / SQUASHFS).hardlink_to(squashfs)
    (tree / "other").write_bytes(b"other content")
    (tree / "md5sum.txt").write_bytes(line("md5", tree, SQUASHFS) + line("md5", tree, "other"))
    (tree / "live/airootfs.sha512").write_bytes(line("sha512", tree, SQUASHFS).upper())
    # Sorted in front of what it covers.
    (tree / "SHA256SUMS").write_bytes(
        line("sha256", tree, "md5sum.txt") + line("sha256", tree, SQUASHFS)
    )
    for name, content in more.items():
        (tree / name.replace("__", ".")).write_bytes(content)
    image = folder / "live.iso"
    command: list[str | Path] = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", image, tree]
    subprocess.run(command, check=True, capture_output=True)
    return image


def rewritten(
    iso: Path, wanted: Wanted, target: Path, *, allow_unsigned: bool = False
) -> Rewritten:
    image = open_image(iso)
    covering = checked_covering(image, allow_unsigned=allow_unsigned)
    return rewrite(image, wanted, target, covering)


def extracted(iso: Path, folder: Path) -> Path:
    command = ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("way", ["in place", "xorriso"])
def test_every_checksum_file_fits_afterwards(
    way: str, squashfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "xorriso":
        monkeypatch.setattr("bootprof.rewrite.room_of", lambda _: 4096)
    iso, target = make_iso(squashfs, tmp_path), tmp_path / "out.iso"
    done = rewritten(iso, WANTED, target)
    assert done.way == way
    assert set(done.covering.lists) == {b"/md5sum.txt", b"/SHA256SUMS", b"/live/airootfs.sha512"}
    tree = extracted(target, tmp_path / "out")
    assert (tree / SQUASHFS).read_bytes() != squashfs.read_bytes()
    for program, names in (("md5sum", "md5sum.txt"), ("sha256sum", "SHA256SUMS")):
        subprocess.run([program, "--check", "--strict", "--quiet", names], cwd=tree, check=True)
    assert (tree / "live/airootfs.sha512").read_bytes() == line("sha512", tree, SQUASHFS).upper()
    assert (tree / "other").read_bytes() == b"other content"


def test_an_implanted_digest_is_written_anew(squashfs: Path, tmp_path: Path) -> None:
    # Of a smaller ISO, the program cannot check what it implanted itself.
    iso, target = make_iso(squashfs, tmp_path, more=bytes(4 << 20)), tmp_path / "out.iso"
    subprocess.run(["implantisomd5", "--supported-iso", iso], check=True, capture_output=True)
    assert rewritten(iso, WANTED, target).covering.implanted
    checked = subprocess.run(
        ["checkisomd5", "--verbose", target],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "It is OK to use this media" in checked.stdout + checked.stderr
    assert iso.read_bytes()[32768:40960] != target.read_bytes()[32768:40960]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("SHA256SUMS__gpg", b"\0signature", "/SHA256SUMS.gpg"),
        ("grub__cfg", b"linux /vmlinuz quiet roothash=0123\n", "dm-verity in /grub.cfg"),
    ],
)
def test_a_signed_image_is_refused_unless_allowed(
    name: str, content: bytes, said: str, squashfs: Path, tmp_path: Path
) -> None:
    iso, target = make_iso(squashfs, tmp_path, **{name: content}), tmp_path / "out.iso"
    with pytest.raises(InputError, match="no longer match") as caught:
        rewritten(iso, WANTED, target)
    assert said in caught.value.message
    assert not target.exists()
    done = rewritten(iso, WANTED, target, allow_unsigned=True)
    assert any(said in sentence for sentence in done.sentences())


def test_optimize_refuses_a_signed_image_before_it_boots(
    squashfs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    iso = make_iso(squashfs, tmp_path, md5sum__txt__asc=b"signature")
    assert main(["optimize", str(iso), "-o", str(tmp_path / "out.iso")]) == 2
    assert "/md5sum.txt.asc" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.optimize"))


def test_a_signature_of_something_else_does_not_matter(squashfs: Path, tmp_path: Path) -> None:
    image: Image = open_image(make_iso(squashfs, tmp_path, other__sig=b"\0signature"))
    assert find_covering(image).signatures == ()


def test_a_hash_tree_behind_the_file_system_is_a_signature(squashfs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20) + squashfs.read_bytes() + b"verity\0\0" + bytes(4088))
    assert find_covering(open_image(disk)).signatures


def test_more_checksum_files_than_any_image_has_are_refused(squashfs: Path, tmp_path: Path) -> None:
    more = {f"sum{number}": b"%032x\n" % number for number in range(MOST_LISTS)}
    covering = hashlib.md5(squashfs.read_bytes()).hexdigest().encode()
    iso = make_iso(squashfs, tmp_path, **{name: covering + text for name, text in more.items()})
    assert find_covering(open_image(iso)).lists  # 3, whose digests stand alone
    spaced = {name: covering + b" " + text for name, text in more.items()}
    (tmp_path / "more").mkdir()
    iso = make_iso(squashfs, tmp_path / "more", **spaced)
    with pytest.raises(InputError, match=f"more than {MOST_LISTS} checksum files"):
        find_covering(open_image(iso))


def test_a_text_under_many_names_is_read_once_and_all_texts_are_limited(tmp_path: Path) -> None:
    image = tmp_path / "image"
    length = 8 << 20
    image.write_bytes(b"text\n" * (2 * length // 5 + 1))
    same = {b"/%d" % n: [Region("file", b"/%d" % n, 0, length)] for n in range(20_000)}
    moved = {
        b"/%d" % n: [Region("file", b"/%d" % n, n, length)]
        for n in range(ALL_TEXTS_BYTES // length + 1)
    }
    with image.open("rb") as stream:
        found = read_texts(image, stream, same)
        assert len({id(content) for content in found.values()}) == 1
        with pytest.raises(InputError, match="text files are larger than"):
            read_texts(image, stream, moved)
