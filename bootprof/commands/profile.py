# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof profile``."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof import backends
from bootprof.commands.inputs import (
    add_boot,
    add_path,
    choose_drives,
    count,
    positive,
    recording_of,
)
from optimizer.formats.text import printable

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers

EPILOG = """\
backends, from most detailed to least demanding:
{backends}
A plus sign combines backends in one boot, for example kmod+ebpf; the bootlog is that of the first.
The block trace is always recorded.

An image that nobody prepared is booted with its own kernel, initrd and command line, which are
read out of its boot menu (--list-entries), the profiler added, and a serial console. With the
backend block, the image boots by itself, unchanged.

The boot runs until its boot target:
  console:REGEX  output of the guest's serial console
  seconds:N      time since power-on
  idle:N         nothing was read of the medium for N seconds
  screen:FILE    the screen shows the picture in FILE (PNG, see --screenshot); 2 % may differ
  systemd        systemd reports that it has started everything (boots with the image's own kernel)
The profile is a folder:
  bootlog.list     distinct paths in order of first access, for bootprof sort
  bootlog.events   every event, with time, pid, command, operation, device, inode
  blocktrace.tsv   every read of the medium, for bootprof compare
  profile.json     image, machine, accelerator, backend, kernel and date
  console.log, nbdkit.log, and guest/ with the files that the guest sent

examples:
  bootprof profile out/profiling.iso -o out/unsorted
  bootprof profile foreign.iso --list-entries
  bootprof profile foreign.iso --entry 2 --until systemd
  bootprof profile foreign.iso --backend block --keys 8,down,ret --until idle:10 --medium cdrom
  bootprof profile --running -o boot      on a key that was started to record its boot
"""


def describe_backends() -> str:
    """Return the list of backends for the help, from the description of each backend."""
    lines = {}
    for name in backends.RECORDERS:
        backend = backends.load(name)
        lines[name] = f"{backend.summary}; needs {backend.needs}"
    lines["auto"] = (
        f"the first of {', '.join(backends.AUTOMATIC)} that starts, in a profiling image "
        "(bootprof build --profiling) or with the image's own kernel; block if neither is found"
    )
    return "\n".join(
        textwrap.fill(
            text,
            width=98,
            initial_indent=f"  {name:<13}",
            subsequent_indent=" " * 15,
            break_on_hyphens=False,
        )
        for name, text in lines.items()
    )


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof profile``."""
    parser = subparsers.add_parser(
        "profile",
        help="boot an image in QEMU and record what it reads",
        description="Boot an image in QEMU and record the files and blocks that it reads.",
        epilog=EPILOG.format(backends=describe_backends()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", nargs="?", help="ISO or disk image")
    parser.add_argument(
        "--running",
        action="store_true",
        help="boot nothing: take the recording of the running system's boot (a key, started by the "
        "entry that records)",
    )
    add_path(
        parser,
        "-o",
        "--output",
        folder=True,
        metavar="DIR",
        help="folder to write (default: IMAGE with the suffix .profile)",
    )
    add_boot(parser)
    parser.add_argument(
        "--list-entries",
        action="store_true",
        help="list the boot entries found in the image, and exit",
    )
    parser.add_argument(
        "--keys",
        metavar="KEYS",
        help="press keys, for example in a boot menu: seconds to wait and QEMU's names of keys, "
        "as 8,down,ret",
    )
    add_path(
        parser,
        "--screenshot",
        metavar="FILE",
        help="write the screen at the boot target to FILE (PNG)",
    )
    parser.add_argument(
        "--arch",
        choices=("amd64", "i386"),
        default="amd64",
        help="processor of the machine (default: %(default)s)",
    )
    parser.add_argument(
        "--processors",
        type=count,
        metavar="N",
        help="number of processors (default: 2, or 1 with --accelerator icount)",
    )
    parser.add_argument(
        "--accelerator",
        choices=("auto", "kvm", "tcg", "icount"),
        default="auto",
        help="kvm: virtualization; tcg: emulation; icount: emulation with one nanosecond of guest "
        "time for each instruction, independent of the load of the host; auto: kvm if available, "
        "else tcg (default: %(default)s)",
    )
    parser.add_argument(
        "--drive",
        metavar="DRIVE",
        help="emulate a drive of this speed: a name listed by bootprof compare --help, or a TOML "
        "file",
    )
    parser.add_argument(
        "--drive-scale",
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="multiply the times of the emulated drive, to match the speed of an emulated "
        "processor (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def list_entries(image: Path) -> int:
    """Print the boot entries of an image: number, title, kernel, initrds, command line."""
    from bootprof.boot.entries import choose_entry, find_entries

    choose_entry(image)
    for number, entry in enumerate(find_entries(image), 1):
        initrds = " ".join(entry.initrds) or ("inside" if entry.unified else "none")
        print(f"{number}  {entry.title}  (kernel {entry.release or 'unknown'}, {entry.menu})")
        print(f"     kernel   {printable(entry.kernel)}")
        print(f"     initrd   {printable(initrds)}")
        print(f"     options  {printable(entry.options, limit=None)}")
    return 0


def take_running(options: argparse.Namespace) -> int:
    """Write the profile of the running system, and print its folder."""
    from bootprof.boot.running import profile_running
    from bootprof.progress import note

    if options.image is not None:
        options.parser.error("--running boots no image: leave out IMAGE")
    folder: Path = options.output or Path("running.profile")
    bootlog, paths = profile_running(folder)
    note(f"{folder}: {len(bootlog.events)} events, {paths} paths, {bootlog.lost} lost")
    print(folder)
    return 0


def run(options: argparse.Namespace) -> int:
    """Profile, and print the folder of the profile."""
    from bootprof.boot.nbd import Emulation
    from bootprof.boot.qemu import Machine
    from bootprof.boot.qmp import parse_keys
    from bootprof.boot.record import record
    from bootprof.progress import note

    if options.running:
        return take_running(options)
    if options.image is None:
        options.parser.error("the following arguments are required: IMAGE")
    if options.list_entries:
        return list_entries(options.image)
    machine = Machine(
        arch=options.arch,
        memory_mib=options.memory,
        processors=options.processors or (1 if options.accelerator == "icount" else 2),
        accelerator=options.accelerator,
        firmware=options.firmware,
        medium=options.medium,
        board=options.board,
    )
    recording = recording_of(options, machine)
    keys = parse_keys(options.keys) if options.keys is not None else ()
    emulation = None
    if options.drive is not None:
        emulation = Emulation(choose_drives([options.drive])[0], options.drive_scale)
    folder: Path = options.output or options.image.with_suffix(".profile")
    done = record(
        options.image,
        folder,
        recording,
        emulation=emulation,
        keys=keys,
        screenshot=options.screenshot,
    )
    plural = "s" if machine.processors > 1 else ""
    note(
        f"one boot of kernel {done.kernel or 'unknown'} with {done.accelerator} on "
        f"{machine.processors} processor{plural}, {machine.memory_mib} MiB, "
        f"{machine.firmware}, {machine.board}, {machine.medium}"
    )
    if done.clock is not None:
        busy = done.clock.busy_seconds
        note(
            f"guest's clock: {done.clock.uptime_seconds:.2f} s since the start of the kernel"
            + (f", processor busy for {busy:.2f} s" if busy is not None else "")
        )
    note(
        f"{folder}: {done.reads} reads of the medium, "
        f"{done.events} events, {done.paths} paths, {done.lost} lost"
    )
    print(folder)
    return 0
