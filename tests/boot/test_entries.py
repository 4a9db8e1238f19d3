# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot entries read out of images: ISO 9660, and a disk with an EFI system partition."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bootprof.boot.entries import choose_entry, extract, find_entries, kernel_release, pe_sections
from bootprof.boot.volumes import volumes
from bootprof.errors import FormatError, InputError
from tests.foreign import fake_kernel

ESP_OFFSET = 1 << 20


def fake_unified(sections: Mapping[str, bytes]) -> bytes:
    """Return a program for UEFI with such sections."""
    head = bytearray(b"MZ" + bytes(62))
    head[60:64] = (64).to_bytes(4, "little")
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, 0, 0)
    offset = len(head) + 40 * len(sections)
    body = b""
    for name, content in sections.items():
        place = (len(content), 0, len(content), offset + len(body))
        head += name.encode().ljust(8, b"\0") + struct.pack("<IIII16x", *place)
        body += content
    return bytes(head) + body


def make_iso(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_bytes(content)
    image = folder / "image.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", str(image), str(folder / "tree")]
    subprocess.run(command, check=True, capture_output=True)
    return image


def make_disk(folder: Path, files: Mapping[str, bytes]) -> Path:
    image = folder / "disk.raw"
    with image.open("wb") as stream:
        stream.truncate(16 << 20)
    table = f"label: gpt\nstart={ESP_OFFSET // 512}, size=28672, type=U\n"
    subprocess.run(["sfdisk", "-q", image], input=table.encode(), check=True)
    esp = folder / "esp"
    subprocess.run(["mkfs.vfat", "-C", esp, "14336"], check=True, capture_output=True)
    for name, content in files.items():
        source = folder / "source"
        source.write_bytes(content)
        parts = name.split("/")
        for depth in range(1, len(parts)):
            parent = "::/" + "/".join(parts[:depth])
            subprocess.run(["mmd", "-D", "s", "-i", esp, parent], capture_output=True)
        subprocess.run(["mcopy", "-i", esp, source, f"::/{name}"], check=True)
    with image.open("r+b") as stream:
        stream.seek(ESP_OFFSET)
        stream.write(esp.read_bytes())
    return image


GRUB = b"""
menuentry 'Live' { linux /live/vmlinuz boot=live quiet -- 5
initrd /live/initrd.img }
menuentry 'Missing' { linux /live/gone
initrd /live/initrd.img }
menuentry 'Memory test' { linux16 /live/memtest }
"""
ISO_FILES = {
    "live/vmlinuz": fake_kernel(),
    "live/initrd.img": b"abcde",
    "live/memtest": bytes(9000),
    "boot/grub/grub.cfg": GRUB,
    "boot/grub/loopback.cfg": GRUB,
    "isolinux/isolinux.cfg": b"label x\nmenu label Text\nkernel /live/vmlinuz\n"
    b"append initrd=/live/initrd.img boot=live text\n",
}


def test_the_entries_of_an_iso(tmp_path: Path) -> None:
    image = make_iso(tmp_path, ISO_FILES)
    entries = find_entries(image)
    assert [(entry.title, entry.options) for entry in entries] == [
        ("Live", "boot=live quiet -- 5"),
        ("Text", "boot=live text"),
    ]
    assert {entry.release for entry in entries} == {"6.1.0-37-amd64"}
    assert choose_entry(image).title == "Live"
    assert choose_entry(image, "2").title == "Text"
    assert choose_entry(image, "tex").title == "Text"
    with pytest.raises(InputError, match="no boot entry is called 7"):
        choose_entry(image, "7")


def test_what_is_copied_out_of_an_iso(tmp_path: Path) -> None:
    entry = find_entries(make_iso(tmp_path, ISO_FILES))[0]
    archive = tmp_path / "archive"
    archive.write_bytes(b"0707")
    direct = extract(entry, tmp_path, [archive], "rdinit=/x console=ttyS0")
    assert direct.kernel.read_bytes() == ISO_FILES["live/vmlinuz"]
    assert direct.initrd.read_bytes() == b"abcde\0\0\x000707"
    # The kernel gives what follows two dashes to the first process.
    assert direct.options == "boot=live quiet rdinit=/x console=ttyS0 -- 5"


def test_systemd_boot_and_a_unified_image_of_a_disk(tmp_path: Path) -> None:
    parts = {
        ".osrel": b'NAME=x\nPRETTY_NAME="Some Linux 1"\n',
        ".cmdline": b"root=LABEL=x quiet\n\0",
        ".linux": fake_kernel("6.12.1"),
        ".initrd": b"123456",
    }
    conf = b"title Plain\nlinux /plain/linux\ninitrd /plain/initrd\noptions a b\n"
    image = make_disk(
        tmp_path,
        {
            "EFI/Linux/some-1.efi": fake_unified(parts),
            "loader/entries/plain.conf": conf,
            "plain/linux": fake_kernel(),
            "plain/initrd": b"x",
        },
    )
    plain, unified = find_entries(image)
    assert (plain.title, plain.kernel, plain.options) == ("Plain", "/plain/linux", "a b")
    assert unified.title == "Some Linux 1"
    assert (unified.options, unified.release) == ("root=LABEL=x quiet", "6.12.1")
    direct = extract(unified, tmp_path, [], "y")
    assert direct.kernel.read_bytes() == parts[".linux"]
    assert direct.initrd.read_bytes() == b"123456\0\0"


def test_an_image_without_a_menu_is_refused_with_the_way_out(tmp_path: Path) -> None:
    image = make_iso(tmp_path, {"boot/grub/grub.cfg": b"menuentry 'x' { chainloader /a }\n"})
    with pytest.raises(InputError, match="no boot menu found that starts a Linux kernel") as error:
        choose_entry(image)
    assert "--backend block" in error.value.hint


@pytest.mark.parametrize("length", [0, 1, 63, 64, 70, 88, 100, 127])
def test_a_cut_unified_image_has_no_sections(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.efi"
    path.write_bytes(fake_unified({".linux": b"x" * 100})[:length])
    assert pe_sections(path) == {}


def test_what_is_no_kernel() -> None:
    assert kernel_release(bytes(9000)) is None
    assert kernel_release(b"") is None
    assert kernel_release(fake_kernel("1\x1b[2J")) == "1\\x1b[2J"


@pytest.mark.parametrize("make", [make_iso, make_disk])
def test_no_more_than_wanted_is_read_of_a_file(
    make: Callable[[Path, Mapping[str, bytes]], Path], tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4096
    volume = volumes(make(tmp_path, {"file": content}))[0]
    path = volume.find("/file")
    assert path is not None
    assert volume.head(path, 65536) == content[:65536]
    assert volume.head(path, len(content) + 1) == content


def test_one_file_as_many_initrds_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    menu = b"menuentry 'Live' { linux /kernel\n initrd" + b" /initrd" * 1000 + b" }"
    files = {"boot/grub/grub.cfg": menu, "kernel": fake_kernel(), "initrd": bytes(65536)}
    entry = choose_entry(make_iso(tmp_path, files))
    monkeypatch.setattr("bootprof.boot.entries.FILE_LIMIT_BYTES", 4 * 65536)
    (tmp_path / "out").mkdir()
    with pytest.raises(FormatError, match=r"/boot/grub/grub\.cfg: the initrds of an entry"):
        extract(entry, tmp_path / "out", [], "")
    assert len(list((tmp_path / "out").iterdir())) == 6
