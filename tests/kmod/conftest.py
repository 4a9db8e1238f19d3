# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Kernels to test the module on."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kmod.guests import KERNELS, Guest, make_guest
from vmtest.kernels import chosen_suites


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the file systems that guests mount."""
    folder, tree = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("tree")
    (tree / "big").write_bytes(os.urandom(1 << 20))
    squashfs, ext2 = folder / "big.squashfs", folder / "disk.ext2"
    subprocess.run(["mksquashfs", tree, squashfs, "-quiet", "-no-progress"], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext2", ext2, "8M"], check=True)
    return folder


@pytest.fixture(
    scope="module", params=[item for item in KERNELS if item[0] in chosen_suites()], ids="-".join
)
def guest(
    request: pytest.FixtureRequest,
    output: Path,
    images: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Guest:
    suite, architecture, mode = request.param
    return make_guest(
        suite, architecture, mode, output, images, tmp_path_factory.mktemp("programs")
    )


@pytest.fixture(scope="module")
def table_guest(output: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("programs")
    return make_guest("bullseye", "amd64", "table", output, images, folder)


@pytest.fixture(scope="module")
def ftrace_guest(output: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("programs")
    return make_guest("bookworm", "amd64", "ftrace", output, images, folder)
