# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Booting an image's own kernel and initrd with the profiler added, started by QEMU itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootprof.boot.entries import BootEntry, DirectKernel, choose_entry, extract, find_entries
from bootprof.boot.plan import RecordingPlan, holds_profiler
from bootprof.boot.target import Target
from bootprof.boot.volumes import FILE_LIMIT_BYTES, free_folder
from bootprof.errors import FormatError

# The last console is /dev/console, where the target is searched for; systemd starts a login on it.
CONSOLE_OPTIONS: Final = "console=tty0 console=ttyS0,115200"
# The first process is the agent, which becomes the initrd's own /init.
AGENT_OPTIONS: Final = "rdinit=/bootprof/agent"


def entry_to_boot(image: Path, backend: str, wanted: str | None) -> BootEntry | None:
    """Return the boot entry that QEMU shall start itself; None if the medium boots by itself.

    Args:
        image: ISO or disk image.
        backend: The backend as the user named it.
        wanted: The entry as the user named it; None if not at all.

    Raises:
        InputError: There is no such entry; or none, and the backend cannot do without.
        FormatError: The directories of the ISO are damaged.
    """
    if wanted is not None:
        return choose_entry(image, wanted)
    if "cmdline" not in backend and (backend == "block" or holds_profiler(image)):
        # A profiling image's kernel is found by its boot loader, as a user's is.
        return None
    if "cmdline" in backend:
        return choose_entry(image)
    # Without a menu that can be read, the image is booted as it is: it may bring a recorder along.
    try:
        entries = find_entries(image)
    except FormatError:
        return None
    return entries[0] if entries else None


def find_hint(options: str) -> str:
    """Return what the command line of an entry may lack if its boot fails; empty if not known.

    Args:
        options: Command line of the kernel.
    """
    words = options.split()
    live = any(word.startswith(("root=live:", "rd.live.image")) for word in words)
    overlay = any(word.startswith(("rd.live.overlay.overlayfs", "rd.overlay")) for word in words)
    if live and not overlay:
        # dracut's dmsquash-live, modules.d/90dmsquash-live/dmsquash-live-root.sh
        return (
            "dracut's live images write to a device-mapper snapshot unless told otherwise, which "
            "not every kernel and initrd can do: try --append rd.live.overlay.overlayfs=1"
        )
    return ""


@contextmanager
def direct_kernel(
    entry: BootEntry,
    plan: RecordingPlan,
    target: Target,
    archive: Callable[[], Path] | None,
    more_options: Sequence[str] = (),
) -> Iterator[DirectKernel]:
    """Give kernel, initrd and command line for a boot of an entry, in a temporary folder.

    Args:
        entry: The entry.
        plan: What records the boot.
        target: When it is done.
        archive: Returns the profiler archive; called only if something of it runs in the guest.
        more_options: What else is added to the command line.

    Raises:
        FormatError: A file of the image cannot be read.
        BootprofError: There is no room for the files.
    """
    archives = []
    options = [CONSOLE_OPTIONS, target.options, plan.kernel_options, *more_options]
    if plan.runs_agent and archive is not None:
        archives.append(archive())
        options.append(AGENT_OPTIONS)
    with free_folder(FILE_LIMIT_BYTES // 4) as folder:
        yield extract(entry, folder, archives, " ".join(filter(None, options)))
