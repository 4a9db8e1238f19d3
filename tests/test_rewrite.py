# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Finished images with their file system in another order."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from bootprof.boot.qemu import UEFI_FIRMWARE
from bootprof.checksums import Covering
from bootprof.cli import main
from bootprof.errors import BootprofError, FormatError, InputError, ToolError
from bootprof.process import wait_for
from bootprof.rewrite import Rewritten, rewrite, room_of, verify
from optimizer.images.image import open_image
from optimizer.images.reorder import Wanted
from tests.trees import unpacked

WANTED = [b"/usr/file-%d" % number for number in (70, 3, 41, 12, 88)]
MIB = 1 << 20


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rewrite")
    source = random.Random(15)
    (folder / "tree/usr").mkdir(parents=True)
    for number in range(100):
        # Some of it can be compressed; sizes are such that all have tails.
        content = source.randbytes(2000) + b"text %d " % number * 3000
        (folder / f"tree/usr/file-{number}").write_bytes(content)
    image = folder / "image.squashfs"
    options = ["-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1"]
    subprocess.run(["mksquashfs", folder / "tree", image, *options], check=True)
    return image


def make_iso(squashfs: Path, folder: Path) -> Path:
    tree = folder / "iso"
    (tree / "live").mkdir(parents=True)
    (tree / "live/filesystem.squashfs").hardlink_to(squashfs)
    (tree / "zz-behind-it").write_bytes(b"other content" * 1000)
    image = folder / "live.iso"
    command: list[str | Path] = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", image, tree]
    subprocess.run(command, check=True, capture_output=True)
    return image


def rewritten(image: Path, wanted: Wanted, target: Path) -> Rewritten:
    return rewrite(open_image(image), wanted, target, Covering())


def content_of(image: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    place = open_image(image).chosen
    assert place is not None
    return unpacked(image, folder, place.offset_bytes)


def test_a_bare_file_system_becomes_the_output(squashfs: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.squashfs"
    done = rewritten(squashfs, Wanted(WANTED), target)
    assert done.way == "whole"
    assert content_of(target, tmp_path / "new") == content_of(squashfs, tmp_path / "old")


def test_nothing_else_changes_in_an_iso_where_it_fits(squashfs: Path, tmp_path: Path) -> None:
    iso, target = make_iso(squashfs, tmp_path), tmp_path / "out.iso"
    image = open_image(iso)
    assert image.chosen is not None
    done = rewrite(image, Wanted(WANTED), target, Covering())
    assert done.way == "in place"
    old, new = iso.read_bytes(), target.read_bytes()
    begin, end = image.chosen.offset_bytes, image.chosen.offset_bytes + room_of(image)
    assert (new[:begin], new[end:]) == (old[:begin], old[end:])
    assert new != old
    assert content_of(target, tmp_path / "new") == content_of(iso, tmp_path / "old")


def test_an_iso_where_it_does_not_fit_is_written_by_xorriso(
    squashfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootprof.rewrite.room_of", lambda _: 4096)
    iso, target = make_iso(squashfs, tmp_path), tmp_path / "out.iso"
    done = rewritten(iso, Wanted(WANTED), target)
    assert done.way == "xorriso"
    assert content_of(target, tmp_path / "new") == content_of(iso, tmp_path / "old")
    others = open_image(target).iso
    assert others is not None
    (region,) = others.files()[b"/zz-behind-it"]
    data = target.read_bytes()[region.offset_bytes : region.offset_bytes + region.length_bytes]
    assert data == b"other content" * 1000


@pytest.mark.parametrize(("more", "way"), [(0, "in place"), (5000, "xorriso")])
def test_another_file_of_the_iso_is_replaced_with_it(
    more: int, way: str, squashfs: Path, tmp_path: Path
) -> None:
    iso, target = make_iso(squashfs, tmp_path), tmp_path / "out.iso"
    content = b"new content!!" * 1000 + bytes(more)

    def additions(written: Path, folder: Path, fits: bool) -> dict[bytes, Path]:
        assert open_image(written).layout().paths
        assert fits
        (folder / "new").write_bytes(content)
        return {b"/zz-behind-it": folder / "new"}

    done = rewrite(open_image(iso), Wanted(WANTED), target, Covering(), additions)
    assert done.way == way
    others = open_image(target).iso
    assert others is not None
    (region,) = others.files()[b"/zz-behind-it"]
    data = target.read_bytes()[region.offset_bytes : region.offset_bytes + region.length_bytes]
    assert data == content
    assert content_of(target, tmp_path / "new") == content_of(iso, tmp_path / "old")


def test_files_beside_the_file_system_are_replaced_in_an_iso_only(
    squashfs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="in an ISO only"):
        rewrite(open_image(squashfs), Wanted(WANTED), tmp_path / "o", Covering(), lambda *_: {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_image_is_written_where_it_fits(squashfs: Path, tmp_path: Path) -> None:
    disk, target = tmp_path / "disk.img", tmp_path / "out.img"
    content = squashfs.read_bytes()
    disk.write_bytes(b"\1" * MIB + content + b"\2" * MIB)
    done = rewritten(disk, Wanted(WANTED), target)
    assert done.way == "in place"
    new = target.read_bytes()
    assert (new[:MIB], new[-MIB:]) == (b"\1" * MIB, b"\2" * MIB)
    assert len(new) == 2 * MIB + len(content)
    assert content_of(target, tmp_path / "new") == content_of(disk, tmp_path / "old")


def test_a_disk_image_where_it_does_not_fit_is_refused(
    squashfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootprof.rewrite.room_of", lambda _: 4096)
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(MIB) + squashfs.read_bytes())
    with pytest.raises(InputError, match="cannot be moved"):
        rewritten(disk, Wanted(WANTED), tmp_path / "out.img")
    assert [path.name for path in tmp_path.iterdir()] == ["disk.img"]


def test_a_result_that_differs_is_not_written(squashfs: Path, tmp_path: Path) -> None:
    changed = bytearray(squashfs.read_bytes())
    changed[200] ^= 1
    other = tmp_path / "other"
    other.write_bytes(changed)
    with pytest.raises(BootprofError, match="not the same"):
        verify(open_image(squashfs), other)


def test_a_file_system_in_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tree/LiveOS").mkdir(parents=True)
    (tmp_path / "tree/LiveOS/rootfs.img").write_bytes(random.Random(1).randbytes(1 << 20))
    image = tmp_path / "squashfs.img"
    tree = tmp_path / "tree"
    subprocess.run(["mksquashfs", tree, image, "-quiet", "-no-progress"], check=True)
    with pytest.raises(InputError, match=r"/LiveOS/rootfs\.img is a file system"):
        rewritten(image, Wanted(WANTED), tmp_path / "out.img")


def test_a_split_squashfs_is_told_by_the_number_of_its_parts(
    squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    content = squashfs.read_bytes()
    # Smaller than its tables; and what is not the end of a sector is not adjacent on the ISO.
    step = len(content) // 3 + 100
    for number in range(3):
        part = content[number * step : (number + 1) * step]
        (tmp_path / f"tree/filesystem.squashfs.{number:02}").write_bytes(part)
    image = tmp_path / "split.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", str(image)]
    subprocess.run([*command, tmp_path / "tree"], check=True, capture_output=True)
    with pytest.raises(FormatError, match=r"squashfs\.00 is the first of 3 parts of a split"):
        rewritten(image, Wanted(WANTED), tmp_path / "out.iso")
    assert not (tmp_path / "out.iso").exists()


def test_of_two_layers_the_chosen_one_is_put_in_order_and_the_other_kept(
    squashfs: Path, tmp_path: Path
) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "added").write_bytes(bytes(50_000))
    casper = tmp_path / "tree/casper"
    casper.mkdir(parents=True)
    shutil.copy(squashfs, casper / "minimal.squashfs")
    layer = casper / "minimal.standard.squashfs"
    subprocess.run(["mksquashfs", upper, layer, "-quiet", "-no-progress"], check=True)
    image = tmp_path / "layers.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", str(image)]
    subprocess.run([*command, tmp_path / "tree"], check=True, capture_output=True)
    opened = open_image(image)
    assert "holds 2 file systems" in " ".join(opened.remarks)
    target = tmp_path / "out.iso"
    assert rewrite(opened, Wanted(WANTED), target, Covering()).reordered.files == len(WANTED)
    written = open_image(target)
    assert [place.path for place in written.places] == [place.path for place in opened.places]
    chosen = open_image(image, squashfs="/casper/minimal.standard.squashfs")
    again = tmp_path / "again.iso"
    assert rewrite(chosen, Wanted([b"/added"]), again, Covering()).reordered.files == 1


def test_the_command_takes_sort_files_and_says_what_it_did(
    squashfs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = tmp_path / "distrib.sort"
    order.write_bytes(
        b"".join(b"%s %d\n" % (path[1:], 9 - rank) for rank, path in enumerate(WANTED))
    )
    target = tmp_path / "out.squashfs"
    assert main(["reorder", str(squashfs), str(order), "-o", str(target)]) == 0
    assert "5 files" in capsys.readouterr().err
    layout = open_image(target).layout()
    firsts = [int(layout.extents_of(path)["offset_bytes"][0]) for path in WANTED]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("order", [b"", b"/no/such/file\n"])
def test_an_order_of_nothing_changes_no_file(
    order: bytes, squashfs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, target = tmp_path / "order", tmp_path / "out.squashfs"
    given.write_bytes(order)
    status = main(["reorder", str(squashfs), str(given), "-o", str(target)])
    said = capsys.readouterr().err
    if order:
        assert status == 0
        assert "no file of" in said
    else:
        assert status == 2
        assert not target.exists()


def test_the_image_that_is_read_is_not_overwritten(
    squashfs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = tmp_path / "order"
    order.write_bytes(WANTED[0] + b"\n")
    before = squashfs.read_bytes()
    for command in (
        ["reorder", str(squashfs), str(order), "-o", str(squashfs)],
        ["optimize", str(squashfs), "--profile", str(tmp_path), "-o", str(squashfs)],
    ):
        assert main(command) == 2
        assert "is the image that is read" in capsys.readouterr().err
    assert squashfs.read_bytes() == before


def test_optimize_uses_a_profile_that_is_there(squashfs: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "bootlog.list").write_bytes(b"".join(path + b"\n" for path in WANTED))
    target = tmp_path / "out.squashfs"
    words = ["optimize", str(squashfs), "-o", str(target), "--profile", str(profile)]
    assert main([*words, "--no-check"]) == 0
    layout = open_image(target).layout()
    firsts = [int(layout.extents_of(path)["offset_bytes"][0]) for path in WANTED]
    assert firsts == sorted(firsts)


def boot_records(iso: Path) -> set[str]:
    command = ["xorriso", "-indev", str(iso)]
    command += ["-report_system_area", "plain", "-report_el_torito", "plain"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    names = (
        "El Torito boot img",
        "El Torito img path",
        "GPT partname local",
        "System area summary",
    )
    # Without places, which may change.
    return {
        " ".join(line.split()[: 9 if "boot img" in line else None])
        for line in done.stdout.splitlines()
        if line.startswith(names)
    }


def test_an_iso_of_grub_keeps_what_it_boots_from_when_a_file_grows(
    squashfs: Path, tmp_path: Path
) -> None:
    if shutil.which("grub-mkrescue") is None:
        pytest.skip("grub-mkrescue is not installed: apt-get install grub-common")
    (tmp_path / "tree/live").mkdir(parents=True)
    (tmp_path / "tree/live/filesystem.squashfs").hardlink_to(squashfs)
    (tmp_path / "tree/initrd").write_bytes(b"initrd" * 1000)
    iso, target = tmp_path / "grub.iso", tmp_path / "out.iso"
    command: list[str | Path] = ["grub-mkrescue", "-o", iso, tmp_path / "tree"]
    subprocess.run(command, check=True, capture_output=True)

    def additions(_: Path, folder: Path, fits: bool) -> dict[bytes, Path]:
        assert fits
        (folder / "new").write_bytes(random.Random(5).randbytes(200_000))
        return {b"/initrd": folder / "new"}

    done = rewrite(open_image(iso), Wanted(WANTED), target, Covering(), additions)
    before, after = boot_records(iso), boot_records(target)
    assert any("UEFI" in line for line in after)
    assert any("BIOS" in line for line in after)
    # What is missing, the user is told of.
    without = done.way == "xorriso without HFS+"
    missing = {line for line in before - after if "boot img" in line or "img path" in line}
    assert not missing
    assert without == any("HFSPLUS" in line for line in before - after)
    assert any("EFI boot partition" in line for line in after)
    assert content_of(target, tmp_path / "new") == content_of(iso, tmp_path / "old")


def test_an_iso_that_xorriso_refuses_says_what_can_be_done(
    squashfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iso = make_iso(squashfs, tmp_path)
    real = shutil.which("xorriso")
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/xorriso"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *-commit) echo "libisofs: no way" >&2; exit 32 ;; esac\n'
        f'exec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("bootprof.rewrite.room_of", lambda _: 4096)
    with pytest.raises(ToolError, match="cannot write this ISO again: libisofs: no way") as caught:
        rewritten(iso, Wanted(WANTED), tmp_path / "out.iso")
    assert "bootprof reorder" in (caught.value.hint or "")
    assert not (tmp_path / "out.iso").exists()


@pytest.mark.vm
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
@pytest.mark.parametrize("medium", ["disk", "cdrom"])
def test_an_iso_of_grub_starts_grub_after_a_file_has_grown(
    firmware: Literal["bios", "uefi"], medium: str, squashfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "tree/boot/grub").mkdir(parents=True)
    (tmp_path / "tree/boot/grub/grub.cfg").write_text(
        "serial --unit=0\nterminal_output serial\necho GRUB has started\nsleep 60\n"
    )
    (tmp_path / "tree/filesystem.squashfs").hardlink_to(squashfs)
    (tmp_path / "tree/initrd").write_bytes(bytes(1000))
    iso, target = tmp_path / "grub.iso", tmp_path / "out.iso"
    command: list[str | Path] = ["grub-mkrescue", "-o", iso, tmp_path / "tree"]
    subprocess.run(command, check=True, capture_output=True)

    def additions(_: Path, folder: Path, fits: bool) -> dict[bytes, Path]:
        (folder / "new").write_bytes(bytes(200_000 if fits else 0))
        return {b"/initrd": folder / "new"}

    assert rewrite(open_image(iso), Wanted(WANTED), target, Covering(), additions).way != "in place"
    console = tmp_path / "console"
    command = ["qemu-system-x86_64", "-m", "256", "-display", "none", "-nic", "none"]
    command += ["-serial", f"file:{console}"]
    if firmware == "uefi":
        command += ["-bios", str(UEFI_FIRMWARE)]
    interface = "media=cdrom" if medium == "cdrom" else "if=virtio"
    command += ["-drive", f"file={target},format=raw,readonly=on,{interface}"]
    with subprocess.Popen(command) as guest:
        try:
            started = wait_for(lambda: b"GRUB has started" in read_now(console), 120)
        finally:
            guest.kill()
    assert started, read_now(console)[-500:]


def read_now(console: Path) -> bytes:
    return console.read_bytes() if console.exists() else b""
