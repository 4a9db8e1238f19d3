# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import subprocess
from pathlib import Path

import pytest

from bootprof.builder.config import Media
from bootprof.builder.media import iso
from bootprof.builder.media.contents import Contents, RootImage
from optimizer.images.iso9660 import read_iso

EPOCH = 1_700_000_000


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    """Stand-ins for kernel, initrds and squashfs: this image is read, and not booted."""
    kernel, initrd, profiler = (tmp_path / name for name in ("vmlinuz-1", "one.img", "two.cpio"))
    squashfs = tmp_path / "root.squashfs"
    for number, path in enumerate((kernel, initrd, profiler, squashfs)):
        path.write_bytes(bytes([number]) * 5000)
    roots = (RootImage("filesystem.squashfs", squashfs),)
    return Contents(kernel, (initrd, profiler), "boot=live quiet", roots)


def test_the_image_boots_with_bios_and_uefi_from_cd_and_disk(
    contents: Contents, tmp_path: Path
) -> None:
    image = tmp_path / "live.iso"
    iso.make_iso(Media(label="TEST"), contents, image, epoch=EPOCH)
    report = subprocess.run(
        ["xorriso", "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    lines = [" ".join(line.split()) for line in report.splitlines()]
    assert any(line.startswith("El Torito boot img : 1 BIOS y none") for line in lines)
    assert any(line.startswith("El Torito boot img : 2 UEFI y none") for line in lines)
    assert any("System area summary:" in line and "grub2-mbr" in line for line in lines)
    efi = next(line for line in lines if line.startswith("MBR partition : 2"))
    assert " 0xef " in efi
    start = int(efi.split()[-2]) * 512
    fat = image.read_bytes()[start : start + 512]
    assert fat[54:62] in (b"FAT12   ", b"FAT16   ")


def test_files_lie_in_the_order_in_which_a_boot_reads_them(
    contents: Contents, tmp_path: Path
) -> None:
    image = tmp_path / "live.iso"
    iso.make_iso(Media(label="TEST"), contents, image, epoch=EPOCH)
    files = read_iso(image).files()
    order = sorted(files, key=lambda name: files[name][0].offset_bytes)
    live = [name for name in order if name.startswith(b"/live/")]
    assert live == [
        b"/live/" + n for n in (b"vmlinuz", b"one.img", b"two.cpio", b"filesystem.squashfs")
    ]
    assert order.index(b"/boot/grub/grub.cfg") < order.index(b"/live/vmlinuz")


def test_a_failed_build_leaves_no_staging_folder(contents: Contents, tmp_path: Path) -> None:
    contents.roots[0].file.unlink()
    with pytest.raises(FileNotFoundError):
        iso.make_iso(Media(label="TEST"), contents, tmp_path / "x" / "live.iso", epoch=EPOCH)
    assert not list(tmp_path.glob("x/*"))
