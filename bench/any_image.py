# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof optimize`` on images of other builders; writes docs/any-image.md.

    .venv/bin/python -m bench.any_image [--work DIR] [--steps optimize,other] IMAGE...

bench/images has the recipes of the images. Each image is optimized by one command, with its own
kernel: by its order alone, and with readahead and quick probes where its initrd is of a known kind.
Then the original and the last result boot once more on a machine that was never profiled
(OTHER_MACHINE); then the original boots with strace as the parent of everything, which says how
complete the profile is. What is in DIR already is used again, so the command can be repeated until
all is there; with ``--steps ""``, it writes the page of what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.images.__main__ import figures, recorded_files, straced_files
from bench.images.traced import boot
from bootprof.errors import InputError
from bootprof.initrds import find_initrds
from optimizer.formats.blocktrace import read_block_trace
from optimizer.images.image import open_image

OTHER_MACHINE = ("--board", "q35", "--medium", "usb", "--memory", "2048")
STEPS = ("optimize", "readahead", "other", "trim", "strace")
RULES = Path("config/live.cfg")
# By the step that makes each: what the image gets, and the options for it.
VARIANTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "optimize": ("order", ()),
    "readahead": ("order, readahead, quick probes", ("--readahead", "--quick-probes")),
}
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
`bench/images/`. Each image was put into the order of its own boot by one command, with readahead
and quick probes where its initrd is of a kind that is known:

```
bootprof optimize IMAGE -o OUT
bootprof optimize IMAGE -o OUT --readahead --quick-probes
```

These commands compare every file of the result with the original. Each figure is that of one boot
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
60 s; a boot is the mean time until the boot target of the two boots of the command. Without a time,
the command was given a profile that was there. QEMU starts kernel and initrd itself: what a
boot loader reads is not in the figures. The goals on the other machine are 5x, 20x and -40 % of the
time on CD.

| image | changed | machine | non-contiguous | squashfs | seek distance | squashfs | CD 24x | \
USB 2 | size | time s | goal s |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
TRIMMED = """\
## Smaller initrds

With `--initrd config/live.cfg` besides: the initrd without the drivers that finding the root does
not need, which the root loads. Each of these booted on the other machine, from its USB stick.

| image | MB | after | initrd MB | after |
| --- | ---: | ---: | ---: | ---: |
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
    def trace(self) -> Path:
        """What strace printed."""
        return self.work / f"{self.image.stem}.strace"

    @property
    def refusal(self) -> Path:
        """File with the reason for which there is no readahead."""
        return self.work / f"{self.image.stem}.refused"

    def output(self, variant: str) -> Path:
        """Return the optimized image."""
        stem = self.image.stem + ("" if variant == "optimize" else f".{variant}")
        return self.work / (stem + self.image.suffix)

    def seconds(self, variant: str) -> Path:
        """Return the file with the duration of the command in seconds; none without own profile."""
        return self.output(variant).with_suffix(".seconds")

    def done(self) -> list[str]:
        """Return the variants that were made."""
        return [each for each in VARIANTS if (self.after(each, "profiled")).exists()]

    def before(self, machine: str) -> Path:
        """Return the profile of the image on a machine."""
        if machine == "other":
            return self.work / f"{self.image.stem}.other-before"
        folders = [self.output(each).with_suffix(".optimize") / "before" for each in VARIANTS]
        return next((each for each in folders if (each / "profile.json").exists()), folders[0])

    def after(self, variant: str, machine: str) -> Path:
        """Return the profile of an optimized image on a machine."""
        output = self.output(variant)
        if machine == "other":
            return output.with_suffix(".other-after")
        return output.with_suffix(".optimize") / "after"

    def values(self, variant: str, machine: str) -> list[dict[str, float]]:
        """Return the metrics before and after on a machine; nothing if they are not known."""
        before, after = self.before(machine), self.after(variant, machine)
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
    image, more = results.image, ("--cache", cache, "--timeout", "850")
    for variant, (_, options) in VARIANTS.items():
        if variant not in steps or variant in results.done() or results.refusal.exists():
            continue
        output, before = results.output(variant), results.before("profiled")
        reason = refused(image) if options else ""
        if reason:
            results.refusal.write_text(reason)
            continue
        known = ("--profile", before) if (before / "profile.json").exists() else ()
        started = time.monotonic()
        bootprof("optimize", image, "-o", output, *more, *options, *known)
        if not known:
            results.seconds(variant).write_text(f"{time.monotonic() - started:.1f}\n")
    if "other" in steps and results.done():
        last = results.done()[-1]
        boots = {results.before("other"): image, results.after(last, "other"): results.output(last)}
        for folder, file in boots.items():
            if not folder.exists():
                bootprof("profile", file, "-o", folder, *more, *OTHER_MACHINE)
    trimmed = results.output("trim")
    if "trim" in steps and not refused(image) and results.done():
        if not trimmed.exists():
            options = (*VARIANTS["readahead"][1], "--no-check")
            rules = ("--initrd", RULES, "--profile", results.before("profiled"))
            bootprof("optimize", image, "-o", trimmed, *more, *options, *rules)
        if not results.after("trim", "other").exists():
            folder = results.after("trim", "other")
            bootprof("profile", trimmed, "-o", folder, *more, *OTHER_MACHINE)
    if "strace" in steps and not results.trace.exists():
        boot(image, results.trace)


def refused(image: Path) -> str:
    """Return why nothing can be added to the initrds of an image; nothing if it can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            find_initrds(open_image(image), Path(folder))
        except InputError as error:
            return str(error).replace(f"{image}: ", "")
    return ""


def table(results: Results) -> str:
    """Return the figures of an image on both machines."""
    titles = [title for title, _, _ in METRICS.values()]
    lines = [
        f"## {results.image.stem}\n",
        f"| machine | image | {' | '.join(titles)} |",
        f"| --- | --- |{' ---: |' * len(titles)}",
    ]
    for machine in ("profiled", "other"):
        rows: dict[str, dict[str, float]] = {}
        for variant in results.done():
            values = results.values(variant, machine)
            if values:
                rows["before"], rows[VARIANTS[variant][0]] = values
        for state, build in rows.items():
            cells = [
                format(build[name] / unit, form) if build.get(name) is not None else "-"
                for name, (_, unit, form) in METRICS.items()
            ]
            lines.append(f"| {machine} | {state} | {' | '.join(cells)} |")
    if results.refusal.exists():
        lines.append(f"\nNo readahead: {results.refusal.read_text()}.")
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
    return [
        line
        for variant in results.done()
        for machine in ("profiled", "other")
        if (line := gain_on(results, variant, machine))
    ]


def gain_on(results: Results, variant: str, machine: str) -> str:
    """Return the line of the summary for a variant on a machine; nothing if it is not known."""
    values = results.values(variant, machine)
    if not values:
        return ""
    before, after = values
    folders = results.before(machine), results.after(variant, machine)
    files = results.image, results.output(variant)
    first, second = (inside(file, folder) for file, folder in zip(files, folders, strict=True))
    cells = [
        results.image.stem,
        VARIANTS[variant][0],
        machine,
        times(before["non-contiguous"], after["non-contiguous"]),
        times(first[0], second[0]),
        times(before["seek-distance"], after["seek-distance"]),
        times(first[1], second[1]),
        *(f"{100 * (after[name] / before[name] - 1):+.0f} %" for name in ("cd-24x", "usb-2")),
    ]
    sizes = [file.stat().st_size for file in files]
    cells.append(f"{100 * (sizes[1] / sizes[0] - 1):+.2f} %" if machine == "profiled" else "")
    if machine == "profiled" and results.seconds(variant).exists():
        boots = [
            json.loads((folder / "profile.json").read_text())["target_ns"] / 1e9
            for folder in folders
        ]
        seconds = float(results.seconds(variant).read_text())
        cells += [f"{seconds:.0f}", f"{sum(boots) / 2 * 3 + 60:.0f}"]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def initrd_bytes(image: Path) -> int:
    """Return the size of the largest initrd of an ISO that can be changed."""
    opened = open_image(image)
    assert opened.iso is not None
    files = opened.iso.files()
    with tempfile.TemporaryDirectory() as folder:
        paths = [each.path.encode() for each in find_initrds(opened, Path(folder))]
    return max(sum(region.length_bytes for region in files[path]) for path in paths)


def smaller(results: Results) -> str:
    """Return the line about the smaller initrd of an image."""
    files = results.image, results.output("trim")
    sizes = [each.stat().st_size for each in files] + [initrd_bytes(each) for each in files]
    return f"| {results.image.stem} | " + " | ".join(f"{each / 1e6:.1f}" for each in sizes) + " |"


def recorded(results: Results) -> str:
    """Return the line about the profile of an image compared with strace."""
    layout = open_image(results.image).layout()
    folder = results.before("profiled")
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
    done = [results for results in every if results.done()]
    parts = [SUMMARY + "".join(f"{line}\n" for one in done for line in gain(one))]
    booted = [one for one in done if (one.after("trim", "other") / "profile.json").exists()]
    if booted:
        parts.append(TRIMMED + "".join(f"{smaller(one)}\n" for one in booted))
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
