"""Kernels to test the module on."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kmod.guests import KERNELS, Guest, make_guest


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squashfs")
    (folder / "tree").mkdir()
    (folder / "tree/big").write_bytes(os.urandom(1 << 20))
    image = folder / "image"
    subprocess.run(["mksquashfs", folder / "tree", image, "-quiet", "-no-progress"], check=True)
    return image


@pytest.fixture(scope="module", params=KERNELS, ids="-".join)
def guest(
    request: pytest.FixtureRequest,
    output: Path,
    squashfs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Guest:
    suite, architecture, mode = request.param
    return make_guest(
        suite, architecture, mode, output, squashfs, tmp_path_factory.mktemp("programs")
    )


@pytest.fixture(scope="module")
def table_guest(output: Path, squashfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("programs")
    return make_guest("bullseye", "amd64", "table", output, squashfs, folder)


@pytest.fixture(scope="module")
def ftrace_guest(output: Path, squashfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("programs")
    return make_guest("bookworm", "amd64", "ftrace", output, squashfs, folder)
