# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images of other builders: build one by its recipe, and measure the backends on it.

    .venv/bin/python -m bench.images list
    .venv/bin/python -m bench.images build NAME [--folder out/images]
    .venv/bin/python -m bench.images measure IMAGE [--backend cmdline] [--reference auto]

A recipe is a shell script beside this module; its comment says what it needs. ``measure`` boots the
image twice with the same virtual hardware, and compares the files of its root that both backends
recorded: recall is the share of the reference's files that the backend has too, precision the share
of the backend's files that the reference has. Empty files have no pages and do not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from optimizer.formats.text import unescape_line
from optimizer.images.image import open_image
from optimizer.images.layout import FileType, Layout

RECIPES = Path(__file__).parent
# What their images are: ISO 9660, or a disk.
DISKS = ("uki",)


def recipes() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.sh"))


def build(name: str, folder: Path) -> Path:
    """Build an image in a temporary folder; return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    image = (folder / f"{name}.{'raw' if name in DISKS else 'iso'}").resolve()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        script = RECIPES / f"{name}.sh"
        subprocess.run(["sh", str(script), str(image)], cwd=temporary, check=True)
    return image


def recorded_files(profile: Path, layout: Layout) -> set[int]:
    """Return the regular files with content that a profile has, as positions in the inodes."""
    found = set()
    # Without the files of the initrd, whose paths the root has, too.
    for line in (profile / "bootlog.list").read_bytes().splitlines():
        path = unescape_line(line)
        visited = layout.resolve(path) if path.startswith(b"/") else None
        if visited:
            inode = int(layout.entries["inode"][visited[-1]])
            row = layout.inodes[inode]
            if row["type"] == FileType.FILE and row["size_bytes"]:
                found.add(inode)
    return found


def profile(image: Path, folder: Path, backend: str, more: list[str]) -> Path:
    """Profile an image; return the folder of the profile."""
    target = folder / backend
    command = [sys.executable, "-m", "bootprof", "profile", str(image), "--backend", backend]
    subprocess.run([*command, "--output", str(target), *more], check=True)
    return target


def compare(image: Path, reference: Path, other: Path) -> str:
    """Return a line of a Markdown table: files of each, recall and precision."""
    layout = open_image(image).layout()
    expected, found = recorded_files(reference, layout), recorded_files(other, layout)
    both = len(expected & found)
    recall, precision = both / max(len(expected), 1), both / max(len(found), 1)
    return f"| {image.name} | {len(expected)} | {len(found)} | {recall:.3f} | {precision:.3f} |"


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list")
    builder = actions.add_parser("build")
    builder.add_argument("name", choices=recipes())
    builder.add_argument("--folder", type=Path, default=Path("out/images"))
    measure = actions.add_parser("measure")
    measure.add_argument("image", type=Path)
    measure.add_argument("--backend", default="cmdline")
    measure.add_argument("--reference", default="auto")
    compared = actions.add_parser("compare", help="two profiles that exist")
    compared.add_argument("image", type=Path)
    compared.add_argument("reference", type=Path)
    compared.add_argument("other", type=Path)
    options, more = parser.parse_known_args()
    if options.action == "list":
        print("\n".join(recipes()))
    elif options.action == "build":
        print(build(options.name, options.folder))
    else:
        print("| image | files of the reference | files | recall | precision |")
        print("| --- | ---: | ---: | ---: | ---: |")
        if options.action == "compare":
            print(compare(options.image, options.reference, options.other))
            return
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            reference = profile(options.image, folder, options.reference, more)
            other = profile(options.image, folder, options.backend, more)
            print(compare(options.image, reference, other))


if __name__ == "__main__":
    main()
