# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof build`` compared with live-build and mkosi: time, size and rebuilds.

    .venv/bin/python -m bench.peers [--write] [--folder DIR] [--builder NAME ...]

All build the suite and the packages of config/live.cfg, with the same compressor and block size of
the squashfs, one after the other and each in an empty folder: cold, then with a new title of the
boot menu, then with one changed file of the user. Run it alone on the machine, as root, with the
peers installed (apt-get install live-build mkosi). ``--write`` writes the table into docs/peers.md.

live-build keeps the bootstrap and the downloaded packages in its cache: ``lb clean``, ``lb
config``, ``lb build``, as its manual recommends for rebuilds. live-build 20230502 builds neither
after ``lb clean --binary`` alone ("cannot stat 'chroot/boot/vmlinuz-*'") nor without another ``lb
config``.
mkosi makes no medium for live-boot: it packs the root as squashfs only, has no title, and keeps the
downloaded packages (its ``--incremental`` refuses a squashfs).

A step that fails is "failed" in the table, its log stays in the folder, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.layers import load_config
from bootprof.errors import BootprofError
from bootprof.files import remove, write_output
from bootprof.process import program, run, tail

TOP = Path(__file__).parents[1]
CONFIG = TOP / "config/live.cfg"
PAGE = TOP / "docs/peers.md"
BEGIN, END = "<!-- written by bench.peers -->", "<!-- end -->"
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
        steps: Each step, in the order of :data:`STEPS`; None if it failed or the builder has none.
        size_bytes: Size of the image, 0 if there is none.
    """

    name: str
    steps: tuple[Taken | None, ...]
    size_bytes: int


@dataclass(frozen=True)
class Runner:
    """Runs the programs of one builder.

    Attributes:
        folder: Where they run.
        log: What they print.
    """

    folder: Path
    log: Path

    def step(self, *commands: Sequence[str | Path]) -> Taken | None:
        """Run commands one after the other; return what they took, or None if one failed."""
        total = Taken(0, 0)
        for command in commands:
            started, cpu = time.monotonic(), cpu_of_children()
            with self.log.open("ab") as stream:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    check=False,
                )
            total += Taken(time.monotonic() - started, cpu_of_children() - cpu)
            text = shlex.join(map(str, command))
            if done.returncode:
                note(f"{text}: status {done.returncode}\n{tail(self.log).decode()}")
                return None
            note(f"{total.seconds:.1f} s: {text[:100]}")
        return total


def note(text: str) -> None:
    """Print how far the comparison is."""
    print(text, file=sys.stderr, flush=True)


def cpu_of_children() -> float:
    """Return the processor time of all programs that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def size_of(paths: Iterable[Path]) -> int:
    """Return the size in bytes of the only file there is, or 0."""
    found = [path for path in paths if path.is_file()]
    return found[0].stat().st_size if len(found) == 1 else 0


def with_bootprof(folder: Path, name: str, *options: str) -> Figures:
    """Build with bootprof: cold, with another title, with another file."""
    motd = user_file(folder / "files")
    command: list[str | Path] = [
        *(sys.executable, "-m", "bootprof", "build", "--config", CONFIG, "--no-sort"),
        *("--output", folder / "out", "--define", f"system.files={folder}/files"),
        *("--define", "system.files_owner=root", *options),
    ]
    runner = Runner(TOP, folder / "log")
    cold = runner.step(command)
    titled = runner.step([*command, "--define", "media.title=Another"])
    motd.write_text("second\n")
    changed = runner.step(command)
    return Figures(name, (cold, titled, changed), size_of([folder / "out/demo.iso"]))


def with_live_build(folder: Path) -> Figures:
    """Build with live-build: cold, with another title, with another file."""
    config = load_config(CONFIG)
    system = config.system
    runner = Runner(folder, folder / "log")
    lb = program("lb")
    configure: list[str | Path] = [
        *(lb, "config", "--distribution", system.suite, "--architectures", system.arch),
        *("--archive-areas", "main", "--debian-installer", "none", "--apt-recommends", "false"),
        *("--binary-images", "iso-hybrid", "--memtest", "none", "--firmware-chroot", "false"),
        *("--updates", "true", "--security", "true", "--cache", "true", "--apt-indices", "false"),
        *("--chroot-squashfs-compression-type", config.squashfs.compressor),
        *("--zsync", "false", "--checksums", "none"),
        *("--mirror-chroot-security", SECURITY, "--mirror-binary-security", SECURITY),
        *("--bootappend-live", config.media.boot_options),
    ]
    name = f"live-build {version_of('live-build')}"
    if runner.step(configure) is None:
        return Figures(name, (None, None, None), 0)
    packages = folder / "config/package-lists/demo.list.chroot"
    packages.write_text("\n".join(system.packages) + "\n")
    motd = user_file(folder / "config/includes.chroot")
    cold = runner.step([lb, "build"])
    again = [*configure, "--iso-volume", "ANOTHER"]
    titled = runner.step([lb, "clean"], again, [lb, "build"])
    motd.write_text("second\n")
    changed = runner.step([lb, "clean"], again, [lb, "build"])
    return Figures(name, (cold, titled, changed), size_of(folder.glob("*.iso")))


def with_mkosi(folder: Path) -> Figures:
    """Build the root alone with mkosi: cold, and with another file."""
    config = load_config(CONFIG)
    system = config.system
    motd = user_file(folder / "files")
    (folder / "cache").mkdir()
    command: list[str | Path] = [
        *(program("mkosi"), "--force", "--distribution", "debian", "--release", system.suite),
        *("--format", "plain_squashfs", f"--compress-fs={config.squashfs.compressor}"),
        *("--cache", "cache", "--extra-tree", "files", "--output", "root.squashfs"),
        *("--hostname", system.hostname, "--package", ",".join(system.packages)),
    ]
    runner = Runner(folder, folder / "log")
    cold = runner.step(command)
    motd.write_text("second\n")
    changed = runner.step(command)
    name = f"mkosi {version_of('mkosi')}, squashfs only"
    return Figures(name, (cold, None, changed), size_of(folder.glob("root.squashfs")))


def user_file(files: Path) -> Path:
    """Make the user's folder with its one file; return the file."""
    path = files / "etc/motd"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("first\n")
    return path


def version_of(package: str) -> str:
    """Return the version of a Debian package of this machine."""
    return run(["dpkg-query", "-W", "-f=${Version}", package]).decode()


def table(found: Sequence[Figures]) -> list[str]:
    """Return the lines of a Markdown table, each time with its ratio to live-build's."""
    lines = [
        f"| builder | {' | '.join(f'{step}: wall, s | CPU, s' for step in STEPS)} | image, MB |",
        f"| --- |{' ---: |' * (2 * len(STEPS) + 1)}",
    ]
    (peer,) = [one for one in found if one.name.startswith("live-build")] or [found[-1]]
    for one in found:
        cells = []
        for title, step, other in zip(STEPS, one.steps, peer.steps, strict=True):
            if step is None:
                none = title == "new title" and one.name.startswith("mkosi")
                cells += ["-" if none else "failed", ""]
                continue
            for mine, theirs in (
                (step.seconds, other and other.seconds),
                (step.cpu_seconds, other and other.cpu_seconds),
            ):
                ratio = f" ({mine / theirs:.2f})" if theirs and one is not peer else ""
                cells.append(f"{mine:.1f}{ratio}")
        size = f"{one.size_bytes / 1e6:.1f}" if one.size_bytes else "-"
        lines.append(f"| {one.name} | {' | '.join(cells)} | {size} |")
    return lines


def conditions(loads: Sequence[float]) -> str:
    """Say on what kind of machine the figures of a table hold.

    Args:
        loads: Mean load of the machine before the run and after each builder.
    """
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"One run on {when}, {os.cpu_count()} processors, load of the machine between "
        f"{min(loads):.1f} and {max(loads):.1f} (a builder alone: about {os.cpu_count()}). In "
        "brackets: ratio to live-build. Ratios of processor time hold under load, too; wall times "
        "only at an equal one."
    )


def written(page: str, lines: Sequence[str]) -> str:
    """Return a page with other lines between the marks.

    Raises:
        ValueError: It has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} ... {END}")
    return "\n".join([before + begin, *lines, end + after])


def main() -> None:
    """Run the comparison and print or write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="for the builds (default: a temporary one)")
    parser.add_argument(
        "--builder", action="append", choices=("bootprof", "layers", "live-build", "mkosi")
    )
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    options = parser.parse_args()
    layers = ("--define", "root.separate_changes=true")
    runs: dict[str, Callable[[Path], Figures]] = {
        "bootprof": lambda folder: with_bootprof(folder, "bootprof"),
        "layers": lambda folder: with_bootprof(
            folder, "bootprof, `root.separate_changes`", *layers
        ),
        "live-build": with_live_build,
        "mkosi": with_mkosi,
    }
    found, loads, lines = [], [os.getloadavg()[0]], list[str]()
    top = options.folder or Path(tempfile.mkdtemp(prefix="peers-"))
    for name in options.builder or ("bootprof", "live-build", "mkosi"):
        folder = (top / name).resolve()
        folder.mkdir(parents=True)
        found.append(runs[name](folder))
        loads.append(os.getloadavg()[2])
        note(table(found)[-1])
        for path in folder.iterdir():
            if path.name != "log":
                try:
                    remove(path)
                except BootprofError as error:
                    # A failed step of a peer may leave something mounted.
                    note(str(error))
        lines = [conditions(loads), "", *table(found)]
        if options.write:
            write_output(PAGE, written(PAGE.read_text(), lines).encode())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
