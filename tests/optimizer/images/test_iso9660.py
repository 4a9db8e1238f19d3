"""Regions of ISO images, and the search for the squashfs in images of any kind."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.images.iso9660 import find_squashfs, list_squashfs, read_iso
from optimizer.images.squashfs.layout import read_layout

MakeImage = Callable[..., Path]
MakeIso = Callable[..., Path]

LONG_NAME = "initrd.img-6.1.0-50-amd64 of some (rather) long name with spaces and ümlauts"


@pytest.fixture(scope="module")
def squashfs(make_image: MakeImage, sample_tree: Path) -> Path:
    return make_image(sample_tree, "-b", "32K")


@pytest.fixture(scope="module")
def iso_tree(tmp_path_factory: pytest.TempPathFactory, squashfs: Path) -> Path:
    root = tmp_path_factory.mktemp("iso")
    (root / "live").mkdir()
    shutil.copy(squashfs, root / "live" / "filesystem.squashfs")
    (root / "boot").mkdir()
    source = random.Random(9660)
    (root / "boot" / "vmlinuz").write_bytes(source.randbytes(70_001))
    (root / "boot" / LONG_NAME).write_bytes(source.randbytes(12_345))
    (root / "boot" / "eltorito.img").write_bytes(source.randbytes(4096))
    (root / "boot" / "empty").write_bytes(b"")
    (root / "boot" / "link").symlink_to("vmlinuz")
    os.link(root / "boot" / "vmlinuz", root / "boot" / "hard link")
    deep = root.joinpath(*(f"level{level}" for level in range(11)))
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(source.randbytes(3000))
    return root


@pytest.fixture(scope="module")
def make_iso(tmp_path_factory: pytest.TempPathFactory, iso_tree: Path) -> MakeIso:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")

    def make(*options: str, root: Path = iso_tree) -> Path:
        image = tmp_path_factory.mktemp("made") / "image.iso"
        command = ["xorriso", "-as", "mkisofs", "-quiet", *options, "-o", str(image), str(root)]
        subprocess.run(command, check=True, capture_output=True)
        return image

    return make


def contents(image: Path) -> dict[bytes, bytes]:
    """Files of an ISO, read from the regions that are said to hold them."""
    data = image.read_bytes()
    return {
        path: b"".join(data[r.offset_bytes : r.offset_bytes + r.length_bytes] for r in regions)
        for path, regions in read_iso(image).files().items()
    }


def originals(root: Path) -> dict[bytes, bytes]:
    return {
        b"/" + os.fsencode(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size
    }


def test_rock_ridge_names_lead_to_the_contents(make_iso: MakeIso, iso_tree: Path) -> None:
    image = make_iso("-R", "-J", "-joliet-long")
    assert read_iso(image).names == "Rock Ridge"
    assert contents(image) == originals(iso_tree)


def test_joliet_names_lead_to_the_contents(tmp_path: Path, iso_tree: Path) -> None:
    """Written with pycdlib, because xorriso always adds Rock Ridge."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(joliet=3)
    name = "grüße und ein längerer name.txt"
    iso.add_fp(io.BytesIO(b"content"), 7, "/SHORT.TXT;1", joliet_path=f"/{name}")
    iso.write(str(tmp_path / "joliet.iso"))
    iso.close()
    assert read_iso(tmp_path / "joliet.iso").names == "Joliet"
    assert contents(tmp_path / "joliet.iso") == {b"/" + name.encode(): b"content"}


def test_plain_names_lose_their_version(tmp_path: Path) -> None:
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new()
    iso.add_directory("/LIVE")
    iso.add_fp(io.BytesIO(b"one"), 3, "/LIVE/ROOT.SFS;1")
    iso.add_fp(io.BytesIO(b"four"), 4, "/VMLINUZ.;1")
    iso.write(str(tmp_path / "plain.iso"))
    iso.close()
    assert read_iso(tmp_path / "plain.iso").names == "ISO 9660"
    assert contents(tmp_path / "plain.iso") == {b"/LIVE/ROOT.SFS": b"one", b"/VMLINUZ": b"four"}


def test_boot_image_and_catalog_are_regions(make_iso: MakeIso, iso_tree: Path) -> None:
    image = make_iso(
        *("-R", "-b", "boot/eltorito.img", "-no-emul-boot", "-c", "boot/boot.cat"),
        *("-eltorito-alt-boot", "-e", "boot/vmlinuz", "-no-emul-boot"),
    )
    iso = read_iso(image)
    data = image.read_bytes()
    starts = [data[r.offset_bytes :][:16] for r in iso.regions if r.kind == "boot image"]
    expected = [
        (iso_tree / "boot" / name).read_bytes()[:16] for name in ("eltorito.img", "vmlinuz")
    ]
    assert starts == expected
    assert [r.kind for r in iso.regions].count("boot catalog") == 1


def test_regions_at_an_offset_are_all_paths_of_a_hard_link(make_iso: MakeIso) -> None:
    iso = read_iso(make_iso("-R"))
    region = iso.files()[b"/boot/vmlinuz"][0]
    paths = {found.path for found in iso.at(region.offset_bytes + 70_000)}
    assert paths == {b"/boot/vmlinuz", b"/boot/hard link"}
    assert not iso.at(region.offset_bytes + 70_001)
    assert [found.kind for found in iso.at(0)] == ["system area"]
    assert [found.kind for found in iso.at(32768)] == ["volume descriptors"]


def test_every_directory_record_is_in_a_region(make_iso: MakeIso) -> None:
    """Names of files occur in the image inside of the regions of directories only."""
    image = make_iso("-R", "-J")
    iso = read_iso(image)
    data = image.read_bytes()
    for name in (b"vmlinuz", "vmlinuz".encode("utf-16-be")):
        place = data.index(name)
        assert "directory" in {region.kind for region in iso.at(place)}


def test_squashfs_in_an_iso_is_found_and_read(make_iso: MakeIso, squashfs: Path) -> None:
    image = make_iso("-R", "-J")
    offset = find_squashfs(image)
    assert [place.path for place in list_squashfs(image)] == [b"/live/filesystem.squashfs"]
    assert read_layout(image, offset).paths == read_layout(squashfs).paths


def test_raw_squashfs_is_at_offset_0(squashfs: Path) -> None:
    assert find_squashfs(squashfs) == 0


def test_the_largest_squashfs_wins(
    make_iso: MakeIso, make_image: MakeImage, squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "file").write_bytes(b"x")
    (tmp_path / "iso").mkdir()
    shutil.copy(make_image(tmp_path / "content"), tmp_path / "iso" / "a-small.squashfs")
    shutil.copy(squashfs, tmp_path / "iso" / "b-large.squashfs")
    image = make_iso("-R", root=tmp_path / "iso")
    places = {place.path: place.offset_bytes for place in list_squashfs(image)}
    assert len(places) == 2
    assert find_squashfs(image) == places[b"/b-large.squashfs"]


def test_squashfs_in_a_disk_image_is_found_by_a_scan(squashfs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    data = squashfs.read_bytes()
    size = -(-len(data) // 512) * 512
    with disk.open("wb") as file:
        # A magic number without a superblock behind it, then the partition, then a copy of it.
        file.seek(4096)
        file.write(b"hsqs" + b"\xff" * 500)
        file.seek((9 << 20) + 512)
        file.write(data)
        file.seek((9 << 20) + 512 + size)
        file.write(data)
        file.truncate(1 << 40)
    started = time.monotonic()
    offsets = [place.offset_bytes for place in list_squashfs(disk)]
    assert offsets == [(9 << 20) + 512, (9 << 20) + 512 + size]
    assert find_squashfs(disk) == (9 << 20) + 512
    # A terabyte of hole is not read byte by byte, which would take minutes.
    assert time.monotonic() - started < 20


def test_squashfs_inside_a_squashfs_is_not_a_second_one(
    make_image: MakeImage, squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "content").mkdir()
    shutil.copy(squashfs, tmp_path / "content" / "inner.squashfs")
    outer = make_image(tmp_path / "content", "-noD", "-noF", "-b", "4K").read_bytes()
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20) + outer)
    assert [place.offset_bytes for place in list_squashfs(disk)] == [1 << 20]


@pytest.mark.parametrize("size", [0, 3, 100, 40_000, 5_000_000])
def test_no_squashfs_is_said_clearly(tmp_path: Path, size: int) -> None:
    (tmp_path / "image").write_bytes(bytes(size))
    with pytest.raises(FormatError, match="no squashfs found"):
        find_squashfs(tmp_path / "image")


def test_iso_without_squashfs_is_said_clearly(make_iso: MakeIso, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    image = make_iso("-R", root=tmp_path)
    with pytest.raises(FormatError, match="no squashfs found"):
        find_squashfs(image)


def test_truncated_squashfs_is_said_to_be_truncated(squashfs: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(squashfs.read_bytes()[:100_000])
    with pytest.raises(FormatError, match="truncated"):
        find_squashfs(tmp_path / "image")


def test_truncated_iso_is_a_format_error(make_iso: MakeIso, tmp_path: Path) -> None:
    data = make_iso("-R").read_bytes()
    for length in (32_774, 34_000, 40_960, 45_000, 60_000, len(data) // 2):
        (tmp_path / "image").write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_iso(tmp_path / "image")


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_squashfs(tmp_path / "missing")


@pytest.fixture(scope="module")
def joliet_iso(make_iso: MakeIso) -> bytes:
    return make_iso("-R", "-J").read_bytes()


@settings(max_examples=80)
@given(changes=st.lists(st.tuples(st.integers(32768, 75_000), st.integers(0, 255)), max_size=8))
def test_random_corruption_of_an_iso_gives_a_format_error_or_a_layout(
    joliet_iso: bytes, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(joliet_iso)
    for place, value in changes:
        data[place] = value
    image = tmp_path_factory.getbasetemp() / "corrupt.iso"
    image.write_bytes(data)
    try:
        find_squashfs(image)
    except FormatError as error:
        assert "\n" not in error.message
