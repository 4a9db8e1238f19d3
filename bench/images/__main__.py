# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Images of other builders: build one by its recipe, and measure the backends on it.

    .venv/bin/python -m bench.images list
    .venv/bin/python -m bench.images build NAME [--folder out/images]
    .venv/bin/python -m bench.images measure IMAGE [--backend cmdline] [--reference auto]
    .venv/bin/python -m bench.images compare IMAGE REFERENCE PROFILE
    .venv/bin/python -m bench.images strace IMAGE LOG [PROFILE...]

A recipe is a shell script beside this module; its comment says what it needs. ``measure`` boots the
image twice with the same virtual hardware, and compares the files of its root that both backends
recorded: recall is the share of the reference's files that the backend has too, precision the share
of the backend's files that the reference has. Empty files have no pages and do not count.

``strace`` boots the image with strace as the parent of everything (:mod:`bench.images.traced`), or
reads the log of such a boot, and compares profiles with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.images.traced import ROOTS, boot, opened
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
    # Without the files of the initrd, whose paths the root has, too.
    lines = (profile / "bootlog.list").read_bytes().splitlines()
    found = {regular_file(layout, unescape_line(line)) for line in lines}
    return {inode for inode in found if inode is not None}


def regular_file(layout: Layout, path: bytes) -> int | None:
    """Return the position in the inodes of a regular file with content; None if it is none."""
    visited = layout.resolve(path) if path.startswith(b"/") else None
    if not visited:
        return None
    inode = int(layout.entries["inode"][visited[-1]])
    row = layout.inodes[inode]
    return inode if row["type"] == FileType.FILE and row["size_bytes"] else None


def straced_files(log: Path, layout: Layout) -> set[int]:
    """Return the regular files with content that strace saw, as positions in the inodes."""
    found = set()
    for path in opened(log):
        for prefix in ROOTS:
            inode = regular_file(layout, path.removeprefix(prefix))
            if inode is not None:
                found.add(inode)
                break
    return found


def profile(image: Path, folder: Path, backend: str, more: list[str]) -> Path:
    """Profile an image; return the folder of the profile."""
    target = folder / backend
    command = [sys.executable, "-m", "bootprof", "profile", str(image), "--backend", backend]
    subprocess.run([*command, "--output", str(target), *more], check=True)
    return target


def figures(expected: set[int], found: set[int]) -> tuple[int, int, float, float]:
    """Return the numbers of files of a reference and of a profile, recall and precision."""
    both = len(expected & found)
    return len(expected), len(found), both / max(len(expected), 1), both / max(len(found), 1)


def row(name: str, expected: set[int], found: set[int]) -> str:
    """Return a line of a Markdown table: files of each, recall and precision."""
    reference, files, recall, precision = figures(expected, found)
    return f"| {name} | {reference} | {files} | {recall:.3f} | {precision:.3f} |"


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
    followed = actions.add_parser("strace", help="profiles with a boot that strace follows")
    followed.add_argument("image", type=Path)
    followed.add_argument("log", type=Path, help="what strace printed; booted if it is missing")
    followed.add_argument("profiles", type=Path, nargs="*")
    options, more = parser.parse_known_args()
    if options.action == "list":
        print("\n".join(recipes()))
        return
    if options.action == "build":
        print(build(options.name, options.folder))
        return
    image, layout = options.image, open_image(options.image).layout()
    if options.action == "strace" and not options.log.exists():
        boot(image, options.log)
    print("| image | files of the reference | files | recall | precision |")
    print("| --- | ---: | ---: | ---: | ---: |")
    if options.action == "strace":
        expected = straced_files(options.log, layout)
        for folder in options.profiles:
            print(row(f"{image.name}: {folder.name}", expected, recorded_files(folder, layout)))
    elif options.action == "compare":
        found = [recorded_files(folder, layout) for folder in (options.reference, options.other)]
        print(row(image.name, *found))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            reference = profile(image, Path(temporary), options.reference, more)
            other = profile(image, Path(temporary), options.backend, more)
            found = [recorded_files(folder, layout) for folder in (reference, other)]
            print(row(image.name, *found))


if __name__ == "__main__":
    main()
