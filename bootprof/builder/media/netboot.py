# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The folder of a boot server: kernel, initial ramdisks, root image and boot scripts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bootprof.builder import bootmenu, grub
from bootprof.builder.config import Media
from bootprof.builder.media import contents as parts
from bootprof.builder.media.contents import Contents
from bootprof.errors import InputError

SCRIPT = "boot.ipxe"


def make_netboot(media: Media, contents: Contents, target: Path, *, epoch: int) -> None:
    """Write the folder of a boot server.

    ``boot.ipxe`` is for iPXE; ``pxelinux.cfg/default`` is for pxelinux; and ``grub.pxe``,
    ``grubx64.efi`` and ``grubia32.efi`` are GRUB, for firmware that starts what TFTP gives it.
    ``live`` holds kernel, initial ramdisks and root image: the folder can be exported by NFS or
    served by HTTP as it is.

    Args:
        media: Titles and further entries.
        contents: What is on it.
        target: Folder to make.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        InputError: iPXE cannot pass the boot options on.
    """
    parts.stage(media, contents, target, epoch=epoch)
    menu = parts.menu_of(media, contents)
    try:
        script = bootmenu.ipxe_script(menu, "live")
    except ValueError as error:
        raise InputError(f"media.boot_options: {error}") from None
    (target / SCRIPT).write_text(script)
    grub.make_network_programs(bootmenu.find_on_server(), target)
    (target / "pxelinux.cfg").mkdir()
    (target / "pxelinux.cfg/default").write_text(bootmenu.isolinux_configuration(menu))
    parts.set_times(target, contents, epoch)
    for root in contents.roots:
        # The folder outlives the cache that a hard link leads to, and gets an owner of its own.
        path = target / "live" / root.name
        path.unlink()
        shutil.copyfile(root.file, path)
        path.chmod(0o644)
        os.utime(path, (epoch, epoch))
    os.utime(target / "live", (epoch, epoch))
