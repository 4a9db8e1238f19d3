# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The pictures of the documents, from the output of ``make demo``.

    .venv/bin/python -m bench.pictures OUT [DOCS]

``seek.png`` is the seek plot that ``bootprof compare`` wrote to OUT. ``report.png`` and
``report-dark.png`` are two sections of OUT's ``compare.html``, as Chromium shows them in the light
and in the dark theme (Debian package ``chromium``). DOCS is ``docs`` by default.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH_PIXELS, HEIGHT_PIXELS = 1240, 1600
COLOURS = 64
# What of the report the pictures show: the seek plot and the map, without the map's tables.
SHOWN = """
header,section{display:none}#seeks,#map{display:block}#map .scroll,#map>figure>figcaption{
display:none}#seeks h2{margin-top:0;border:0}body{padding-bottom:12px}
"""
MEDIA = "(prefers-color-scheme:dark)"
OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)


def picture(report: str, target: Path, *, dark: bool) -> None:
    """Write a picture of a report.

    Args:
        report: The page.
        target: The PNG file.
        dark: Whether it is in the dark theme.
    """
    page = report.replace("</style>", SHOWN + "</style>", 1)
    page = page.replace(MEDIA, "all" if dark else "not all", 1)
    with tempfile.TemporaryDirectory() as folder:
        file, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        file.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                "chromium",
                *OFFLINE,
                f"--user-data-dir={folder}/user",
                f"--window-size={WIDTH_PIXELS},{HEIGHT_PIXELS}",
                f"--screenshot={shot}",
                file.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        with Image.open(shot) as image:
            whole = image.convert("RGB")
    pixels = np.asarray(whole)
    filled = np.flatnonzero((pixels != pixels[-1, 0]).any(axis=(1, 2)))
    bottom = min(int(filled[-1]) + 12, whole.height)
    small = whole.crop((0, 0, whole.width, bottom)).quantize(COLOURS)
    small.save(target, optimize=True)


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of make demo")
    parser.add_argument("docs", type=Path, nargs="?", default=Path("docs"))
    options = parser.parse_args()
    shutil.copyfile(options.out / "seek.png", options.docs / "seek.png")
    report = (options.out / "compare.html").read_text(encoding="utf-8")
    picture(report, options.docs / "report.png", dark=False)
    picture(report, options.docs / "report-dark.png", dark=True)


if __name__ == "__main__":
    main()
