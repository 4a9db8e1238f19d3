# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Initrds of finished ISOs: found by the boot menu, and written again with additions."""

from __future__ import annotations

import gzip
import lzma
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import zstandard

from bootprof.builder.initrd.archive import archive
from bootprof.builder.initrd.foreign import Trim
from bootprof.builder.initrd.readahead import FOLDER, ReadaheadRequest
from bootprof.builder.initrd.repack import archives, entries
from bootprof.errors import InputError
from bootprof.initrds import Changes, changed, find_initrds
from optimizer.drives.models import DRIVES
from optimizer.images.image import open_image
from tests.foreign import fake_kernel

MENU = """\
menuentry 'Live' {
	linux /boot/vmlinuz boot=live
	initrd /boot/microcode /boot/live.img
}
menuentry 'Install' {
	linux /boot/vmlinuz
	initrd /boot/install.img
}
"""


def make_initrd(folder: Path, *files: str) -> bytes:
    for name in ("usr/bin/sh", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"text " * 20_000)
    shutil.copy("/usr/bin/busybox", folder / "usr/bin/busybox")
    target = folder.with_suffix(".cpio")
    archive(folder, target, 0)
    return target.read_bytes()


def make_iso(
    folder: Path,
    initrds: Mapping[str, bytes],
    root: str = "mksquashfs",
    drivers: Sequence[str] = (),
) -> Path:
    tree = folder / "iso"
    for name in ("boot/grub", "live", "root"):
        (tree / name if name != "root" else folder / name).mkdir(parents=True)
    for name, content in initrds.items():
        (tree / "boot" / name).write_bytes(content)
    (tree / "boot/vmlinuz").write_bytes(fake_kernel())
    (tree / "boot/grub/grub.cfg").write_text(MENU)
    for name in ("hot", "cold"):
        (folder / "root" / name).write_bytes(random.Random(name).randbytes(300_000))
    for name in drivers:
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_bytes(b"a driver")
    target = tree / "live/filesystem.squashfs"
    words = [folder / "root", target] if root == "mksquashfs" else [target, folder / "root"]
    subprocess.run([root, *words, "-quiet" if root == "mksquashfs" else "--quiet"], check=True)
    image = folder / "live.iso"
    command: list[str | Path] = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", image, tree]
    subprocess.run(command, check=True, capture_output=True)
    return image


def names_in(initrd: bytes) -> set[bytes]:
    return {entry.name for data, _ in archives(initrd, "") for entry in entries(data, "")}


@pytest.mark.parametrize("root", ["mksquashfs", "mkfs.erofs"])
def test_the_last_initrd_of_a_known_kind_is_found(root: str, tmp_path: Path) -> None:
    if shutil.which(root) is None:
        pytest.skip(f"{root} is not installed")
    initrds = {
        "microcode": make_initrd(tmp_path / "early", "kernel/x"),
        "live.img": make_initrd(tmp_path / "live", "usr/lib/live/boot/9990-main.sh"),
        "install.img": make_initrd(tmp_path / "install", "usr/lib/debian-installer/x"),
    }
    (found,) = find_initrds(open_image(make_iso(tmp_path, initrds, root)), tmp_path)
    assert (found.path, found.recognized.kind.title) == ("/boot/live.img", "live-boot")
    assert found.content(tmp_path) == initrds["live.img"]


def test_without_a_known_initrd_the_reason_is_given(tmp_path: Path) -> None:
    unknown = make_initrd(tmp_path / "other", "usr/lib/debian-installer/x")
    initrds = dict.fromkeys(("microcode", "live.img", "install.img"), unknown)
    with pytest.raises(InputError, match=r"/boot/live\.img: the kind of this initrd is unknown"):
        find_initrds(open_image(make_iso(tmp_path, initrds)), tmp_path)


@pytest.mark.parametrize(("level", "same"), [(1, True), (22, False)])
def test_an_initrd_keeps_its_size_if_it_can(level: int, same: bool, tmp_path: Path) -> None:
    content = make_initrd(
        tmp_path / "live",
        "usr/lib/live/boot/9990-main.sh",
        "usr/lib/udev/rules.d/x",
        *(f"usr/share/{number}" for number in range(30)),
    )
    old = zstandard.ZstdCompressor(level=level).compress(content)
    old += bytes(100_000 if same else 0)
    initrds = {"microcode": content, "live.img": old, "install.img": old}
    image = open_image(make_iso(tmp_path, initrds))
    found = find_initrds(image, tmp_path)
    request = ReadaheadRequest("bootlog", {b"/hot": []}, DRIVES["usb-2"])
    squashfs, path = tmp_path / "iso/live/filesystem.squashfs", b"/live/filesystem.squashfs"
    changes = Changes(request, quick_probes=True)
    written = changed(found, changes, squashfs, path, tmp_path, keep_sizes=True)
    # What has one content is made once.
    assert written[b"/boot/live.img"] == written[b"/boot/install.img"]
    assert len(written) == 2
    new = written[b"/boot/live.img"].read_bytes()
    assert (len(new) == len(old)) == same
    # Of what is added, the kernel gets all.
    packed = [data for data, _ in archives(new, "")]
    rest = new if same else new[len(old) + -len(old) % 4 :]
    assert packed[0] == content
    if not same:
        names = names_in(rest)
        assert f"{FOLDER}/readahead.list".encode() in names
        assert b"usr/lib/udev/live_medium_id" in names


@pytest.mark.parametrize(
    ("compress", "magic"),
    [(gzip.compress, b"\x1f\x8b"), (lzma.compress, b"\xfd7zXZ\0"), (bytes, b"070701")],
)
def test_drivers_are_left_out_if_the_root_has_them_and_nothing_needs_them(
    compress: Callable[[bytes], bytes], magic: bytes, tmp_path: Path
) -> None:
    folder = "usr/lib/modules/6.1/kernel"
    drivers = [f"{folder}/drivers/{name}.ko" for name in ("gpu/a", "gpu/b", "gpu/c", "scsi/d")]
    content = make_initrd(tmp_path / "live", "usr/lib/live/boot/9990-main.sh", *drivers)
    depends = tmp_path / "live/usr/lib/modules/6.1/modules.dep"
    depends.write_text("kernel/drivers/scsi/d.ko: kernel/drivers/gpu/b.ko\n")
    archive(tmp_path / "live", tmp_path / "live.cpio", 0)
    content = (tmp_path / "live.cpio").read_bytes()
    initrds = dict.fromkeys(("microcode", "live.img", "install.img"), compress(content))
    # The root of a merged /usr, with its drivers compressed, and without one of them.
    root = [f"{each}.xz" for each in drivers if "c.ko" not in each]
    image = open_image(make_iso(tmp_path, initrds, drivers=root))
    trim = Trim(("drivers/gpu", "drivers/scsi"), ("drivers/scsi/d",))
    squashfs, path = tmp_path / "iso/live/filesystem.squashfs", b"/live/filesystem.squashfs"
    written = changed(
        find_initrds(image, tmp_path), Changes(trim=trim), squashfs, path, tmp_path, keep_sizes=True
    )
    new = written[b"/boot/live.img"].read_bytes()
    assert new.startswith(magic)
    assert names_in(compress(content)) - names_in(new) == {drivers[0].encode()}
