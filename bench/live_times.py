# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Measure the time that a live system takes to copy and to install itself, beside other programs.

    python -m bench.live_times                        the medium as fast as its file
    python -m bench.live_times --drive dvd-8x         the medium as a drive reads it
    python -m bench.live_times --repeats 1 --folder /var/tmp/times

One live system (that of the tests in tests/live) runs all programs one after the other in QEMU,
each with empty caches and an empty disk, and each until the disk has everything. The processor is
emulated, so only the ratios mean something, and those of programs that compute much are too high.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from statistics import median

from bootprof.boot.nbd import Emulation, served
from optimizer.drives.models import DRIVES
from tests.live.installing import PROBING, blank, make_image, medium, run_script

TOP = Path(__file__).parent.parent
# What is measured, in groups; the first of a group is 1.
GROUPS = (
    ("dd", "dd, then cmp", "bootprof-live copy"),
    ("unsquashfs", "rsync -a", "bootprof-live install: files", "bootprof-live install"),
)
SCRIPT = r"""
now() { cut -d ' ' -f 1 /proc/uptime; }
cat > /run/answers <<EOF
disk = $target
user = ada
password = correct horse
boot_options = @options
EOF
source=$(awk '$2 == "/" && $3 == "overlay" { print $4 }' /proc/mounts | tr , '\n' |
    sed -n 's/^lowerdir=//p')
bytes=$(blockdev --getsize64 /dev/sr0)
written() { dd if=/dev/sr0 of="$target" bs=1M oflag=direct conv=fsync; }
checked() { written && dd if="$target" bs=1M iflag=direct,count_bytes count="$bytes" |
    cmp -n "$bytes" /dev/sr0 -; }
fresh() { mke2fs -q -F -t ext4 "$target" && mount "$target" /mnt && "$@" && umount /mnt; }
copied() { bootprof-live copy --yes "$target"; }
installed() {
    bootprof-live install --yes --answers /run/answers | while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in Configuring*) now > /run/configuring ;; Done*) : > /run/installed ;; esac
    done
    rm /run/installed
}
timed() {
    name=$1
    shift
    wipefs -qa "$target"
    blockdev --rereadpt "$target"
    sync
    echo 3 > /proc/sys/vm/drop_caches
    begin=$(now)
    "$@" > /run/said 2>&1 && status=done || status=failed
    sync
    blockdev --flushbufs "$target"
    echo "$round $name: $status $begin $(now)"
    [ $status = done ] || tail -n 3 /run/said
}
for round in @rounds; do
    timed 'dd' written
    timed 'dd, then cmp' checked
    timed 'bootprof-live copy' copied
    timed 'unsquashfs' fresh unsquashfs -quiet -no-progress -f -d /mnt \
        /run/live/medium/live/filesystem.squashfs
    timed 'rsync -a' fresh rsync -a "$source/" /mnt/
    timed 'bootprof-live install' installed
    echo "$round bootprof-live install: files: done $begin $(cat /run/configuring)"
done
"""


def measure(iso: Path, folder: Path, drive: str | None, repeats: int) -> dict[str, list[float]]:
    """Return the times of each program, in seconds."""
    script = SCRIPT.replace("@rounds", " ".join(map(str, range(1, repeats + 1))))
    script = script.replace("@options", PROBING)
    with contextlib.ExitStack() as stack:
        source = str(iso)
        if drive is not None:
            emulation = Emulation(DRIVES[drive])
            server = stack.enter_context(served(iso, folder / "reads.log", emulation))
            source = f"nbd:unix:{server.socket_path}"
        found = run_script(
            script,
            blank(folder / "target"),
            *medium(source),
            folder=folder,
            seconds=3600,
        )
    times: dict[str, list[float]] = {}
    for line in found.console.splitlines():
        round_, _, rest = line.partition(" ")
        name, _, values = rest.rpartition(": ")
        if round_.isdigit() and any(name in group for group in GROUPS):
            status, begin, end = values.split()
            if status != "done":
                raise SystemExit(f"{name} failed:\n{found.console[-3000:]}")
            times.setdefault(name, []).append(float(end) - float(begin))
    return times


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--drive", choices=sorted(DRIVES), help="drive that the medium is read by")
    parser.add_argument("--repeats", type=int, default=2, help="rounds (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for the disk, some GB (default: temporary)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "image").mkdir(parents=True)
        iso = make_image(TOP / "out", folder / "image")
        times = measure(iso, folder, options.drive, options.repeats)
        print(f"{options.drive or 'no drive emulated'}, {iso.stat().st_size / 1e6:.1f} MB:\n")
    print("| program | seconds, each round | ratio of the medians |\n| --- | ---: | ---: |")
    for group in GROUPS:
        for name in group:
            each = ", ".join(f"{value:.0f}" for value in times[name])
            ratio = median(times[name]) / median(times[group[0]])
            print(f"| `{name}` | {each} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
