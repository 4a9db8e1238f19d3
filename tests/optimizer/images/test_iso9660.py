# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Regions of ISO images lead to the contents of its files, whatever names it has."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.images.iso9660 import read_iso

MakeIso = Callable[..., Path]


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


def test_truncated_iso_is_a_format_error(make_iso: MakeIso, tmp_path: Path) -> None:
    data = make_iso("-R").read_bytes()
    for length in (32_774, 34_000, 40_960, 45_000, 60_000, len(data) // 2):
        (tmp_path / "image").write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_iso(tmp_path / "image")


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
        read_iso(image)
    except FormatError as error:
        assert "\n" not in error.message
