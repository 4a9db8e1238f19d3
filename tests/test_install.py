# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a user installs: the wheel in an empty environment, run from a folder far from the checkout.

The packages that the wheel needs are installed in the versions of requirements/dev.txt, so that a
new release of one of them cannot fail this test.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof import __version__

pytestmark = pytest.mark.install
TOP = Path(__file__).parent.parent
# Imports all that is installed, compiles all that is shipped.
EVERYTHING = """
import importlib, pathlib, pkgutil, sys
import bootprof, optimizer
for package in (bootprof, optimizer):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from bootprof import sources
from bootprof.builder.initrd import additions, profiler, readahead
folder = pathlib.Path(sys.argv[1])
programs = []
for recorder in profiler.RECORDERS:
    profiler.make_recorder(recorder, "amd64", folder / recorder.name, folder / "log")
    programs.append(folder / recorder.name / recorder.name)
profiler.make_profiler([], programs, "", "amd64", folder / "profiler.cpio", epoch=0)
readahead.make_archive(b"", "amd64", folder / "readahead.cpio", epoch=0)
additions.make_additions(folder / "additions.cpio", "amd64", epoch=0)
print(sources.KERNEL_MODULE)
"""


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel and what it needs, and a folder to work in."""

    environment: Path
    folder: Path

    @property
    def site_packages(self) -> Path:
        return next(self.environment.glob("lib/python3*/site-packages"))

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; what it prints is shown if it fails."""
        program = self.environment / "bin" / str(words[0])
        done = subprocess.run(
            [program, *map(str, words[1:])],
            cwd=self.folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the checkout, and the wheel that is built from this sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    command: list[str | Path]
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, TOP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    lock = (TOP / "requirements/dev.txt").read_text()
    pins = re.findall(r"^([\w.-]+==[^ \\]+(?: ;[^\\\n]+)?)", lock, flags=re.M)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    (wheel,) = distributions.glob("*.whl")
    # The interpreter that the environment of the tests was made from.
    subprocess.run([Path(sys.executable).resolve(), "-m", "venv", environment], check=True)
    words = ["install", "--quiet", "--disable-pip-version-check", f"--constraint={constraints}"]
    subprocess.run(["bin/pip", *words, wheel], cwd=environment, check=True)
    work = folder / "work"
    work.mkdir()
    return Installed(environment, work)


@pytest.fixture(scope="module")
def image(installed: Installed) -> Path:
    """An ISO image with a squashfs; a PC finds nothing to boot on it, and says so."""
    tree = installed.folder / "tree"
    tree.mkdir()
    for name in ("one", "two"):
        (tree / name).write_bytes(name.encode() * 200_000)
    medium = installed.folder / "medium"
    (medium / "live").mkdir(parents=True)
    squashfs = medium / "live/filesystem.squashfs"
    subprocess.run(["mksquashfs", tree, squashfs, "-quiet", "-no-progress"], check=True)
    made = installed.folder / "tiny.iso"
    command: list[str | Path] = [
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        "-rational-rock",
        "-o",
        made,
        medium,
    ]
    subprocess.run(command, check=True)
    return made


def snapshot(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_the_tests_the_documentation_and_the_licence(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"COPYING", "Makefile", "README.md", "config/live.cfg", "docs/architecture.md"}
    wanted |= {"tests/test_install.py", "kmod/Kbuild", "ebpf/Makefile", "vmtest/kernels.py"}
    assert wanted <= names


def test_the_wheel_holds_the_two_packages_and_nothing_else(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        header = archive.read(metadata).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"bootprof", "optimizer", f"bootprof-{__version__}.dist-info"}
    assert {"bootprof/py.typed", "optimizer/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/COPYING") for name in names)
    assert "\nLicense-Expression: GPL-2.0-only\n" in header
    assert f"\nVersion: {__version__}\n" in header


def test_the_program_runs_from_any_folder(installed: Installed) -> None:
    assert "bootprof build --profiling" in installed.run("bootprof", "--help").stdout
    assert installed.run("bootprof", "--version").stdout == f"bootprof {__version__}\n"
    assert installed.run("python", "-m", "bootprof", "--version").stdout.startswith("bootprof ")


def test_all_is_imported_and_compiled_and_the_installation_stays_as_it_is(
    installed: Installed, tmp_path: Path
) -> None:
    before = snapshot(installed.site_packages)
    shown = installed.run("python", "-c", EVERYTHING, tmp_path).stdout.strip()
    assert Path(shown).is_relative_to(installed.site_packages)
    made = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"bootprof-trace", "bootprof-watch"} <= made
    assert {"profiler.cpio", "readahead.cpio", "additions.cpio"} <= made
    assert b"bootprof/agent" in (tmp_path / "profiler.cpio").read_bytes()
    assert snapshot(installed.site_packages) == before


def test_readahead_makes_a_list(installed: Installed, image: Path) -> None:
    bootlog = installed.folder / "bootlog.list"
    bootlog.write_text("/one\n")
    installed.run("bootprof", "readahead", image, bootlog, "--output", "readahead.list")
    assert (installed.folder / "readahead.list").stat().st_size > 0


@pytest.mark.vm
def test_profile_serves_the_image_like_a_slow_drive(installed: Installed, image: Path) -> None:
    words = ["--backend", "block", "--medium", "cdrom", "--until", "seconds:4"]
    installed.run("bootprof", "profile", image, "--drive", "cd-24x", *words, "-o", "profile")
    assert (installed.folder / "profile/blocktrace.tsv").exists()


@pytest.mark.vm
@pytest.mark.root
def test_build_makes_a_profiling_image(installed: Installed, output: Path) -> None:
    config = installed.folder / "live.cfg"
    config.write_bytes((TOP / "config/live.cfg").read_bytes())
    words = ["--config", config, "--profiling", "--output", output, "--image", "profiling.iso"]
    installed.run("bootprof", "build", *words)
    assert b"rdinit=/bootprof/agent" in (installed.folder / "profiling.iso").read_bytes()
