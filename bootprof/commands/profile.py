"""``bootprof profile``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EPILOG = """\
backends, from the one that sees most to the one that needs least:
  kmod         the kernel module, loaded in the initrd before the root is mounted
  ebpf         the BPF tracer from the initrd; needs a kernel with BTF, and sees what came into
               the page cache, too
  fanotify     opens and executions on each file system, by the kernel's own notification
  inotify      opens alone, by a watch for each directory, for kernels without fanotify
  tracepoints  the kernel's block tracepoints, mapped to files
  block_dump   the kernel's log of block reads (before Linux 5.14), mapped to files
  block        the reads of the medium as the host sees them, mapped to files with a confidence:
               any image that boots, with no change to it
  auto         the first of kmod, ebpf, fanotify, inotify that the image's kernel lets start, if
               the image is a profiling image (bootprof build --profiling); block if it is not
Several run on one boot with a plus sign, as in kmod+ebpf; the bootlog is that of the first. The
block trace is always taken.

The boot runs until its boot target: console:REGEX (found in what the guest prints on its serial
port) or seconds:N. The profile is a folder:
  bootlog.list     distinct paths in order of first access: feed it to bootprof sort
  bootlog.events   every event, with time, pid, command, operation, device, inode
  blocktrace.tsv   every read of the medium: feed it to bootprof compare
  console.log, nbdkit.log, stats, profile.json

examples:
  bootprof profile out/profiling.iso -o out/unsorted
  bootprof profile foreign.iso --backend block --until seconds:90 --medium cdrom
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof profile``."""
    parser = subparsers.add_parser(
        "profile",
        help="boot an image in QEMU and record what it reads",
        description="Boot an image in QEMU; harvest the bootlog and the block trace.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="ISO or disk image")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the profile (default: IMAGE without its suffix, plus .profile)",
    )
    parser.add_argument(
        "-b",
        "--backend",
        default="auto",
        metavar="NAME",
        help="how to record, see below (default: %(default)s)",
    )
    parser.add_argument(
        "-u",
        "--until",
        default="console:login:",
        metavar="TARGET",
        help="boot target (default: %(default)s)",
    )
    parser.add_argument(
        "-t",
        "--timeout",
        type=float,
        default=600,
        metavar="SECONDS",
        help="give up after this time (default: %(default)s)",
    )
    parser.add_argument("--arch", choices=("amd64", "i386"), default="amd64")
    parser.add_argument(
        "--memory", type=int, default=1024, metavar="MIB", help="default: %(default)s MiB"
    )
    parser.add_argument("--processors", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--accelerator",
        choices=("auto", "kvm", "tcg"),
        default="auto",
        help="auto: KVM where it runs guest code, or else emulation",
    )
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="bios")
    parser.add_argument(
        "--medium",
        choices=("disk", "cdrom"),
        default="disk",
        help="attach the image as a disk (USB stick) or as a CD-ROM (default: %(default)s)",
    )
    parser.add_argument(
        "--drive",
        metavar="DRIVE",
        help="serve the image as slowly as a drive would: a name (cd-24x, dvd-8x, usb-2, sd-card, "
        "hard-disk, nvme) or a TOML file (docs/drive-model.md)",
    )
    parser.add_argument(
        "--drive-scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiply the drive's times, as the processor's are where it is emulated "
        "(default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Profile, and print the folder of the profile."""
    from bootprof.boot.nbd import Emulation
    from bootprof.boot.profile import choose_backend, profile
    from bootprof.boot.qemu import Machine
    from bootprof.boot.target import parse_target
    from bootprof.commands.inputs import choose_drives
    from bootprof.errors import InputError
    from bootprof.progress import note, step

    target = parse_target(options.until)
    emulation = None
    if options.drive is not None:
        if not 0 < options.drive_scale < float("inf"):
            raise InputError(f"drive scale {options.drive_scale}: must be above 0")
        emulation = Emulation(choose_drives([options.drive])[0], options.drive_scale)
    choice = choose_backend(options.image, options.backend)
    folder = options.output or options.image.with_suffix(".profile")
    with step(f"boot of {options.image}") as update:
        done = profile(
            options.image,
            folder,
            choice=choice,
            machine=Machine(
                arch=options.arch,
                memory_mib=options.memory,
                processors=options.processors,
                accelerator=options.accelerator,
                firmware=options.firmware,
                medium=options.medium,
            ),
            target=target,
            timeout_seconds=options.timeout,
            progress=update,
            emulation=emulation,
        )
        update(f"boot target after {done.target_ns / 1e9:.1f} s")
    note(f"backend {done.backend}: {done.reason}")
    note(
        f"{folder}: {done.reads} reads of the medium, "
        f"{done.events} events, {done.paths} paths, {done.lost} lost"
    )
    print(folder)
    return 0
