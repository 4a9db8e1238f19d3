# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof optimize`` on images of other builders; writes docs/any-image.md.

    .venv/bin/python -m bench.any_image [--work DIR] IMAGE...

bench/images has the recipes of the images. Each image is optimized by one command, with its own
kernel; then the original and the result boot once more on a machine that was never profiled: a
CD-ROM drive instead of a disk, and twice the memory. What is in DIR already is used again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

OTHER_MACHINE = ("--medium", "cdrom", "--memory", "2048")
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

Every file of the result was compared with the original by that command. The time is that of the
whole command: two boots under QEMU's emulation, the order, the comparison, the report. Each line
is one boot. The other machine has a CD-ROM drive instead of a disk, and twice the memory; it was
never profiled.

"""


def bootprof(*words: str | Path) -> str:
    """Run bootprof, and return what it printed; its exit status 1 is an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", *words], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, words))}: exit status {done.returncode}")
    return done.stdout


def values(before: Path, after: Path) -> list[dict[str, float]]:
    """Return the metrics of two profiles."""
    builds = json.loads(bootprof("compare", "--json", before, after))["builds"]
    return [
        {name: metric["value"] for name, metric in build["metrics"].items()} for build in builds
    ]


def optimized(image: Path, work: Path, cache: Path) -> float:
    """Optimize an image, and return the seconds that it took."""
    took = work / f"{image.stem}.seconds"
    if not took.exists():
        started = time.monotonic()
        bootprof("optimize", image, "-o", work / image.name, "--cache", cache)
        took.write_text(f"{time.monotonic() - started:.1f}\n")
    return float(took.read_text())


def on_other_machine(image: Path, work: Path, cache: Path) -> tuple[Path, Path]:
    """Boot an image and its result on the machine that was not profiled."""
    folders = (work / f"{image.stem}.other-before", work / f"{image.stem}.other-after")
    for file, folder in zip((image, work / image.name), folders, strict=True):
        if not folder.exists():
            bootprof("profile", file, "-o", folder, "--cache", cache, *OTHER_MACHINE)
    return folders


def rows(machine: str, figures: list[dict[str, float]]) -> list[str]:
    """Return the lines of a table for one machine."""
    lines = []
    for state, build in zip(("before", "after"), figures, strict=True):
        cells = [
            format(build[name] / unit, form) if build.get(name) is not None else "-"
            for name, (_, unit, form) in METRICS.items()
        ]
        lines.append(f"| {machine} | {state} | {' | '.join(cells)} |")
    return lines


def section(image: Path, work: Path, cache: Path) -> str:
    """Return the part of the page about one image."""
    seconds = optimized(image, work, cache)
    folder = (work / image.name).with_suffix(".optimize")
    titles = [title for title, _, _ in METRICS.values()]
    table = [
        f"| machine | image | {' | '.join(titles)} |",
        "| --- " * (len(titles) + 2) + "|",
        *rows("profiled", values(folder / "before", folder / "after")),
        *rows("other", values(*on_other_machine(image, work, cache))),
    ]
    sizes = [path.stat().st_size for path in (image, work / image.name)]
    about = f"{sizes[0]:,} bytes before, {sizes[1]:,} after; {seconds:.0f} s"
    return f"## {image.stem}\n\n{about}\n\n" + "\n".join(table) + "\n"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, default=Path("out/any-image"))
    parser.add_argument("--cache", type=Path, default=Path("out/cache"))
    parser.add_argument("--page", type=Path, default=Path("docs/any-image.md"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    parts = [section(image, options.work, options.cache) for image in options.images]
    options.page.write_text(HEAD + "\n".join(parts))


if __name__ == "__main__":
    main()
