# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof build`` compared with live-build: time, size and rebuilds, for the same packages.

    .venv/bin/python -m bench.peers [--folder DIR] [--builder NAME ...]

Both build the suite and the packages of config/live.cfg, with the same compressor and block size
of the squashfs, one after the other and each in an empty folder: cold, then with a new title of the
boot menu, then with one changed file of the user. Run it alone on the machine, as root, with
live-build installed (apt-get install live-build).

live-build keeps the bootstrap and the downloaded packages in its cache (``lb clean --binary`` or
``lb clean``, then ``lb build``), as its manual recommends for rebuilds.
"""

from __future__ import annotations

import argparse
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.layers import load_config
from bootprof.process import program, tail

TOP = Path(__file__).parents[1]
CONFIG = TOP / "config/live.cfg"
# As mmdebstrap's: one host for the archive and its security updates.
SECURITY = "http://deb.debian.org/debian-security"
STEPS = ("cold", "new title", "changed file")


@dataclass(frozen=True)
class Taken:
    """What one step took.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Time of processors, which the load of the machine changes little.
    """

    seconds: float
    cpu_seconds: float

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


@dataclass(frozen=True)
class Figures:
    """What one builder took.

    Attributes:
        name: The builder, with its settings where there are several.
        steps: Each step, in the order of :data:`STEPS`.
        size_bytes: Size of the image.
    """

    name: str
    steps: tuple[Taken, ...]
    size_bytes: int


def timed(command: Sequence[str | Path], folder: Path, log: Path) -> Taken:
    """Run a command in a folder; return what it took."""
    started, cpu = time.monotonic(), cpu_of_children()
    with log.open("ab") as stream:
        done = subprocess.run(command, cwd=folder, stdout=stream, stderr=stream, check=False)
    taken = Taken(time.monotonic() - started, cpu_of_children() - cpu)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}: {done.returncode}\n{tail(log).decode()}")
    print(f"{taken.seconds:.1f} s: {shlex.join(map(str, command))}", file=sys.stderr, flush=True)
    return taken


def cpu_of_children() -> float:
    """Return the processor time of all programs that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def with_bootprof(folder: Path, name: str, *options: str) -> Figures:
    """Build with bootprof: cold, with another title, with another file."""
    files = folder / "files/etc"
    files.mkdir(parents=True)
    (files / "motd").write_text("first\n")
    command: list[str | Path] = [
        *(sys.executable, "-m", "bootprof", "build", "--config", CONFIG, "--no-sort"),
        *("--output", folder / "out", "--define", f"system.files={folder}/files"),
        *("--define", "system.files_owner=root", *options),
    ]
    log = folder / "log"
    cold = timed(command, TOP, log)
    titled = timed([*command, "--define", "media.title=Another"], TOP, log)
    (files / "motd").write_text("second\n")
    changed = timed(command, TOP, log)
    size = (folder / "out/demo.iso").stat().st_size
    return Figures(name, (cold, titled, changed), size)


def with_live_build(folder: Path) -> Figures:
    """Build with live-build: cold, with another title, with another file."""
    config = load_config(CONFIG)
    system = config.system
    log = folder / "log"
    lb = program("lb")
    configure: list[str | Path] = [
        *(lb, "config", "--distribution", system.suite, "--architectures", system.arch),
        *("--archive-areas", "main", "--debian-installer", "none", "--apt-recommends", "false"),
        *("--binary-images", "iso-hybrid", "--memtest", "none", "--firmware-chroot", "false"),
        *("--updates", "true", "--security", "true", "--cache", "true", "--apt-indices", "false"),
        *("--chroot-squashfs-compression-type", "zstd", "--zsync", "false", "--checksums", "none"),
        *("--mirror-chroot-security", SECURITY, "--mirror-binary-security", SECURITY),
        *("--bootappend-live", config.media.boot_options),
    ]
    timed(configure, folder, log)
    packages = folder / "config/package-lists/demo.list.chroot"
    packages.write_text("\n".join(system.packages) + "\n")
    files = folder / "config/includes.chroot/etc"
    files.mkdir(parents=True, exist_ok=True)
    (files / "motd").write_text("first\n")
    cold = timed([lb, "build"], folder, log)
    # A title is in the boot loader's templates, that is in the binary stage.
    timed([lb, "config", "--iso-volume", "ANOTHER"], folder, log)
    titled = timed([lb, "clean", "--binary"], folder, log) + timed([lb, "build"], folder, log)
    (files / "motd").write_text("second\n")
    changed = timed([lb, "clean"], folder, log) + timed([lb, "build"], folder, log)
    (image,) = folder.glob("*.iso")
    return Figures("live-build", (cold, titled, changed), image.stat().st_size)


def table(found: Sequence[Figures]) -> list[str]:
    """Return the lines of a Markdown table, with each builder's share of the last one's time."""
    lines = [
        f"| builder | {' | '.join(f'{step}: wall, s | CPU, s' for step in STEPS)} | image, MB |",
        f"| --- |{' ---: |' * (2 * len(STEPS) + 1)}",
    ]
    last = found[-1]
    for one in found:
        cells = [
            f"{mine:.1f}" + (f" ({mine / theirs:.2f})" if one is not last else "")
            for step, other in zip(one.steps, last.steps, strict=True)
            for mine, theirs in (
                (step.seconds, other.seconds),
                (step.cpu_seconds, other.cpu_seconds),
            )
        ]
        lines.append(f"| {one.name} | {' | '.join(cells)} | {one.size_bytes / 1e6:.1f} |")
    return lines


def main() -> None:
    """Run the comparison and print or write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="for the builds (default: a temporary one)")
    parser.add_argument("--builder", action="append", choices=("bootprof", "layers", "live-build"))
    options = parser.parse_args()
    layers = ("--define", "root.separate_changes=true")
    runs: dict[str, Callable[[Path], Figures]] = {
        "bootprof": lambda folder: with_bootprof(folder, "bootprof"),
        "layers": lambda folder: with_bootprof(
            folder, "bootprof, `root.separate_changes`", *layers
        ),
        "live-build": with_live_build,
    }
    found = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        for name in options.builder or runs:
            folder = Path(temporary) / name
            folder.mkdir()
            found.append(runs[name](folder))
            print(table(found)[-1], file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
