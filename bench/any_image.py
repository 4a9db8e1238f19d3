# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof optimize`` on images of other builders; writes docs/any-image.md.

    .venv/bin/python -m bench.any_image [--work DIR] [--steps optimize,other,strace] IMAGE...

bench/images has the recipes of the images. Each image is optimized by one command, with its own
kernel; then the original and the result boot once more on a machine that was never profiled
(OTHER_MACHINE); then the original boots with strace as the parent of everything, which says how
complete the profile is. What is in DIR already is used again, so the command can be repeated until
all is there; with ``--steps ""``, it writes the page of what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.images.__main__ import figures, recorded_files, straced_files
from bench.images.traced import boot
from optimizer.formats.blocktrace import read_block_trace
from optimizer.images.image import open_image

OTHER_MACHINE = ("--board", "q35", "--medium", "usb", "--memory", "2048")
STEPS = ("optimize", "other", "strace")
METRICS = {
    "reads": ("reads", 1, ",.0f"),
    "bytes": ("MB read", 1e6, ",.1f"),
    "non-contiguous": ("non-contiguous", 1, ",.0f"),
    "seek-distance": ("seek GB", 1e9, ".3g"),
    "cd-24x": ("CD 24x s", 1, ".3g"),
    "usb-2": ("USB 2 s", 1, ".3g"),
    "nvme": ("NVMe ms", 1e-3, ".3g"),
}
HEAD = """\
# Images of other builders

Written by `.venv/bin/python -m bench.any_image IMAGE...`; the recipes of the images are in
`bench/images/`. Each image was put into the order of its own boot by one command:

```
bootprof optimize IMAGE -o OUT
```

That command compares every file of the result with the original. Each figure is that of one boot
under QEMU's emulation. The profiled machine is `bootprof profile`'s default: QEMU's `pc`, the image
as a virtio disk, 1 GiB. The other machine was never profiled: QEMU's `q35`, the image on a USB
stick, another network card, sound, 2 GiB.

"""
SUMMARY = """\
## Gain

Before divided by after, of non-contiguous reads and seek distance: of all reads, and of those of
the squashfs alone. The others are the kernel's and udev's probes of the medium, at its beginning
and its end, which an order of files cannot change. Then the change of the modelled time of a CD and
of a USB 2 stick. Size is the change of the image. The goal of the command's time is three boots and
60 s; a boot is the mean time until the boot target of the two boots of the command. No readahead
was added. QEMU starts kernel and initrd itself: what a boot loader reads is not in the figures.

| image | machine | non-contiguous | squashfs | seek distance | squashfs | CD 24x | USB 2 | size | \
time s | goal s |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
RECORDED = """\
## How complete the profiles are

Files of the root that a boot opened or executed, as strace saw them in a boot of its own from the
first process on, and those of the profile that the order was made from (BPF tracer):

| image | kernel | backend | files by strace | files of the profile | recall | precision |
| --- | --- | --- | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True)
class Results:
    """What is known of an image.

    Attributes:
        image: The image.
        work: Folder of the results.
    """

    image: Path
    work: Path

    @property
    def output(self) -> Path:
        """The optimized image."""
        return self.work / self.image.name

    @property
    def seconds(self) -> Path:
        """File with the duration of the command in seconds; it exists if that succeeded."""
        return self.work / f"{self.image.stem}.seconds"

    @property
    def trace(self) -> Path:
        """What strace printed."""
        return self.work / f"{self.image.stem}.strace"

    def profiles(self, machine: str) -> tuple[Path, Path]:
        """Return the profiles before and after on a machine."""
        if machine == "profiled":
            folder = self.output.with_suffix(".optimize")
            return folder / "before", folder / "after"
        stem = self.image.stem
        return self.work / f"{stem}.other-before", self.work / f"{stem}.other-after"

    def values(self, machine: str) -> list[dict[str, float]]:
        """Return the metrics before and after on a machine; nothing if they are not known."""
        before, after = self.profiles(machine)
        if not (before / "profile.json").exists() or not (after / "profile.json").exists():
            return []
        builds = json.loads(bootprof("compare", "--json", before, after))["builds"]
        return [
            {name: metric["value"] for name, metric in build["metrics"].items()} for build in builds
        ]


def bootprof(*words: str | Path) -> str:
    """Run bootprof, and return what it printed; its exit status 1 is an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", *words], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, words))}: exit status {done.returncode}")
    return done.stdout


def run_steps(results: Results, steps: Sequence[str], cache: Path) -> None:
    """Do what is not there yet."""
    image = results.image
    if "optimize" in steps and not results.seconds.exists():
        started = time.monotonic()
        bootprof("optimize", image, "-o", results.output, "--cache", cache, "--timeout", "850")
        results.seconds.write_text(f"{time.monotonic() - started:.1f}\n")
    if "other" in steps and results.seconds.exists():
        for file, folder in zip((image, results.output), results.profiles("other"), strict=True):
            if not folder.exists():
                more = ("--cache", cache, "--timeout", "850", *OTHER_MACHINE)
                bootprof("profile", file, "-o", folder, *more)
    if "strace" in steps and not results.trace.exists():
        boot(image, results.trace)


def table(results: Results) -> str:
    """Return the figures of an image on both machines."""
    titles = [title for title, _, _ in METRICS.values()]
    lines = [
        f"## {results.image.stem}\n",
        f"| machine | image | {' | '.join(titles)} |",
        f"| --- | --- |{' ---: |' * len(titles)}",
    ]
    for machine in ("profiled", "other"):
        for state, build in zip(("before", "after"), results.values(machine), strict=False):
            cells = [
                format(build[name] / unit, form) if build.get(name) is not None else "-"
                for name, (_, unit, form) in METRICS.items()
            ]
            lines.append(f"| {machine} | {state} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def inside(image: Path, profile: Path) -> tuple[int, int]:
    """Return non-contiguous reads and seek distance in bytes of the reads of the squashfs alone."""
    place = open_image(image).chosen
    assert place is not None
    with (profile / "blocktrace.tsv").open("rb") as stream:
        reads = read_block_trace(stream, str(profile)).reads
    begin = reads["offset_bytes"].astype(np.int64)
    end = begin + reads["length_bytes"].astype(np.int64)
    within = (begin >= place.offset_bytes) & (end <= place.offset_bytes + place.size_bytes)
    jumps = np.abs(begin[within][1:] - end[within][:-1])
    return int(np.count_nonzero(jumps)), int(jumps.sum())


def times(before: float, after: float) -> str:
    """Return how many times less something became."""
    return f"{before / after:.1f}x" if after else "-"


def gain(results: Results) -> list[str]:
    """Return the lines of the summary for an image."""
    lines = []
    sizes = [path.stat().st_size for path in (results.image, results.output)]
    for machine in ("profiled", "other"):
        values = results.values(machine)
        if not values:
            continue
        before, after = values
        first, second = (
            inside(file, folder)
            for file, folder in zip(
                (results.image, results.output), results.profiles(machine), strict=True
            )
        )
        cells = [
            times(before["non-contiguous"], after["non-contiguous"]),
            times(first[0], second[0]),
            times(before["seek-distance"], after["seek-distance"]),
            times(first[1], second[1]),
            *(f"{100 * (after[name] / before[name] - 1):+.0f} %" for name in ("cd-24x", "usb-2")),
        ]
        if machine == "profiled":
            boots = [
                json.loads((folder / "profile.json").read_text())["target_ns"] / 1e9
                for folder in results.profiles(machine)
            ]
            cells += [
                f"{100 * (sizes[1] / sizes[0] - 1):+.2f} %",
                f"{float(results.seconds.read_text()):.0f}",
                f"{sum(boots) / 2 * 3 + 60:.0f}",
            ]
        else:
            cells += ["", "", ""]
        lines.append(f"| {results.image.stem} | {machine} | {' | '.join(cells)} |")
    return lines


def recorded(results: Results) -> str:
    """Return the line about the profile of an image compared with strace."""
    layout = open_image(results.image).layout()
    folder, _ = results.profiles("profiled")
    said = json.loads((folder / "profile.json").read_text())
    expected = straced_files(results.trace, layout)
    reference, files, recall, precision = figures(expected, recorded_files(folder, layout))
    return (
        f"| {results.image.stem} | {said['kernel']} | {said['backend']} | {reference} | {files} | "
        f"{recall:.3f} | {precision:.3f} |"
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, default=Path("out/any-image"))
    parser.add_argument("--cache", type=Path, default=Path("out/cache"))
    parser.add_argument("--page", type=Path, default=Path("docs/any-image.md"))
    parser.add_argument("--steps", default=",".join(STEPS), help="default: %(default)s")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    every = [Results(image, options.work) for image in options.images]
    for results in every:
        run_steps(results, options.steps.split(","), options.cache)
    done = [results for results in every if results.seconds.exists()]
    parts = [SUMMARY + "".join(f"{line}\n" for one in done for line in gain(one))]
    followed = [recorded(one) for one in done if one.trace.exists()]
    if followed:
        parts.append(RECORDED + "".join(f"{line}\n" for line in followed))
    parts += [table(results) for results in done]
    missing = [results.image.stem for results in every if results not in done]
    if missing:
        parts.append(f"Built and not measured yet: {', '.join(missing)}.\n")
    options.page.write_text(HEAD + "\n".join(parts))


if __name__ == "__main__":
    main()
