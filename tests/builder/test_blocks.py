# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Compressed blocks that are used again: the image is the one that mksquashfs makes alone."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bootprof.builder import blocks, config
from bootprof.builder.squashfs import make_squashfs
from bootprof.files import file_digest
from bootprof.process import run
from bootprof.sources import BLOCKS_LIBRARY
from tests.guest.programs import CHECKS, ENVIRONMENT

EPOCH = 1_700_000_000
HEADER_BYTES = 48
STORE = "compressed-blocks"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files that compress, files that do not, and more than one block of some."""
    source = random.Random(11)
    folder = tmp_path / "root"
    folder.mkdir()
    for number in range(14):
        text = b"".join(source.choice((b"boot ", b"live ", b"image ")) for _ in range(2000))
        (folder / f"text {number}").write_bytes(text * (number % 8 + 1))
        (folder / f"noise {number}").write_bytes(source.randbytes(number * 20000))
    return folder


def pack(root: Path, compressor: str, target: Path, cache: Path | None) -> str:
    """Pack a folder, with compressed blocks of a cache if there is one; return the digest."""

    def make(variables: Mapping[str, str]) -> None:
        make_squashfs(
            config.Squashfs(compressor=compressor),  # type: ignore[arg-type] # one of those
            root,
            target,
            sort=None,
            epoch=EPOCH,
            log_file=target.with_suffix(".log"),
            progress=lambda _: None,
            variables=variables,
        )

    if cache is None:
        make({})
    else:
        with blocks.kept(cache, compressor, target) as variables:
            assert variables["BOOTPROF_BLOCKS"] == str(cache / STORE)
            make(variables)
    digest = file_digest(target)
    target.unlink()
    return digest


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("compressor", blocks.COMPRESSORS)
def test_kept_blocks_change_no_byte_and_none_is_compressed_twice(
    compressor: str, root: Path, cache: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    alone = pack(root, compressor, image, None)
    assert pack(root, compressor, image, cache) == alone
    size_bytes = (cache / STORE).stat().st_size
    assert size_bytes > 500_000
    assert pack(root, compressor, image, cache) == alone
    # Whatever is compressed is kept.
    assert (cache / STORE).stat().st_size == size_bytes
    # A changed block is compressed, and no other data block.
    with (root / "noise 13").open("r+b") as stream:
        stream.write(b"changed")
    alone = pack(root, compressor, image, None)
    assert pack(root, compressor, image, cache) == alone
    assert 0 < (cache / STORE).stat().st_size - size_bytes < 2 * (131072 + HEADER_BYTES)


@pytest.mark.parametrize("compressor", blocks.COMPRESSORS)
def test_a_damaged_store_reaches_no_image(
    compressor: str, root: Path, cache: Path, tmp_path: Path
) -> None:
    image, source = tmp_path / "image", random.Random(5)
    alone = pack(root, compressor, image, None)
    pack(root, compressor, image, cache)
    whole = (cache / STORE).read_bytes()
    flipped = bytearray(whole)
    for _ in range(200):
        flipped[source.randrange(len(flipped))] ^= 1 << source.randrange(8)
    # The first block's own data, behind its header.
    inside = bytearray(whole)
    inside[HEADER_BYTES + 20] ^= 1
    for damaged in (flipped, inside, whole[: len(whole) // 2 + 3], source.randbytes(5000), b""):
        (cache / STORE).write_bytes(damaged)
        assert pack(root, compressor, image, cache) == alone
        # What was cut off is there again.
        assert pack(root, compressor, image, cache) == alone


def test_no_store_makes_the_library_touch_memory_that_is_not_its_own(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "checked.so"
    compile_to = ["gcc", "-shared", "-fPIC", "-O1", "-g", *CHECKS, "-o", str(library)]
    run([*compile_to, BLOCKS_LIBRARY, "-ldl", "-lpthread"])
    # mksquashfs was not built with the sanitizers: their malloc has to come before the C library's.
    runtime = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    options = f"{ENVIRONMENT['ASAN_OPTIONS']}:verify_asan_link_order=0"
    image, source = tmp_path / "image", random.Random(6)
    for compressor in blocks.COMPRESSORS:
        (cache / STORE).unlink(missing_ok=True)
        alone = pack(root, compressor, image, None)
        with monkeypatch.context() as checked:
            checked.setattr(blocks, "obtain_library", lambda _: library)
            checked.setenv("LD_PRELOAD", runtime)
            checked.setenv("ASAN_OPTIONS", options)
            assert pack(root, compressor, image, cache) == alone
            whole = (cache / STORE).read_bytes()
            for flips in (0, 1, 20, 2000):
                damaged = bytearray(whole)
                # Headers more often than data, which would hardly hit one.
                for _ in range(flips):
                    at = source.randrange(source.choice((HEADER_BYTES, len(damaged))))
                    damaged[at] = source.randrange(256)
                (cache / STORE).write_bytes(damaged[: len(damaged) - flips])
                assert pack(root, compressor, image, cache) == alone


def test_a_link_in_place_of_the_store_is_not_written_through(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"of another program")
    (cache / STORE).symlink_to(other)
    alone = pack(root, "zstd", tmp_path / "image", None)
    assert pack(root, "zstd", tmp_path / "image", cache) == alone
    assert other.read_bytes() == b"of another program"


def test_compressors_without_kept_blocks_pack_alone(cache: Path, tmp_path: Path) -> None:
    with blocks.kept(cache, "lz4", tmp_path / "image") as variables:
        assert variables == {}


def test_a_store_that_outgrows_its_image_begins_anew(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LIMIT_BYTES", 0)
    monkeypatch.setattr(blocks, "LIMIT_TIMES", 0)
    pack(root, "zstd", tmp_path / "image", cache)
    assert not (cache / STORE).exists()
