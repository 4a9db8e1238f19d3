# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a medium holds so that its live system can be installed: boot images and reading order.

GRUB is linked here, and not in the live system, which therefore needs no GRUB packages. The
images find an installed system of any place: the installer enters the number of the partition
into the one for a BIOS, and puts a configuration beside those for UEFI.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path

from bootprof import progress
from bootprof.builder import bootmenu, grub, store
from bootprof.builder.media.contents import RootImage
from bootprof.builder.media.disklayout import ROOT_RULES, rules_table
from bootprof.builder.roottree import open_tree
from optimizer.images.image import open_image

# Read ahead at a time by an installation (guest/live/install-system.sh has the same).
WINDOW_BYTES = 16 << 20
CORE, BOOT, PARTITIONS, ORDER = "core.img", "boot.img", "partitions.tsv", "order.gz"


def obtain_installation(images: tuple[RootImage, ...], tree: Path, cache: Path, epoch: int) -> Path:
    """Write the folder for a medium, or find the one written before for the same root.

    Args:
        images: Root images, the lowest layer first.
        tree: Root tree that they hold together.
        cache: Where it is kept.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        ToolError: GRUB is not installed.
    """

    def make(target: Path) -> None:
        target.mkdir()
        grub.make_image(grub.BIOS, bootmenu.INSTALLED_FOR_BIOS, target / CORE, grub.BIOS_MODULES)
        grub.make_efi_programs(bootmenu.INSTALLED_FOR_EFI, target)
        (target / BOOT).write_bytes((grub.FOLDER / grub.BIOS / BOOT).read_bytes())
        (target / PARTITIONS).write_text(rules_table(ROOT_RULES))
        lines = reading_order(images, tree)
        (target / ORDER).write_bytes(gzip.compress(b"".join(lines), mtime=0))
        size = sum(path.stat().st_size for path in target.iterdir())
        update(f"{size / 1e6:.1f} MB, {len(lines)} files")
        for path in target.iterdir():
            os.utime(path, (epoch, epoch))

    with progress.step("boot images and reading order for installations") as update:
        digest = store.digest_of(
            [(image.name, image.file.name) for image in images],
            *(tree.name, epoch, Path(__file__), Path(bootmenu.__file__), Path(grub.__file__)),
        )
        folder, reused = store.obtain(cache, "installation", digest, make)
        if reused:
            update("unchanged, reused")
    return folder


def reading_order(images: Iterable[RootImage], tree: Path) -> list[bytes]:
    """Return the paths of a root tree in the order of their content on the medium.

    Directories come first. A path that several layers have is where the last one has it; what a
    layer removes is not in the tree. An image without a layout, such as ext4, has no order: its
    paths are missing.

    Returns:
        Lines of three fields, separated by tabs: the image, the window of it that the content
        begins in (-1 for none; :data:`WINDOW_BYTES` long), and the path as tar(1) unquotes it.
    """
    found: dict[bytes, bytes] = {}
    folders: dict[bytes, bytes] = {}
    with open_tree(tree) as root:
        for image in images:
            if image.file.suffix == ".ext4":
                continue
            layout = open_image(image.file).layout()
            for path, is_folder, offset in layout.paths_by_position():
                if path != b"/" and root.status(os.fsdecode(path[1:])) is None:
                    continue
                quoted = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\t", b"\\t")
                window = offset // WINDOW_BYTES if offset >= 0 else -1
                line = b"%s\t%d\t.%s\n" % (os.fsencode(image.name), window, quoted)
                found.pop(path, None)
                folders.pop(path, None)
                (folders if is_folder else found)[path] = line
    return [*folders.values(), *found.values()]
