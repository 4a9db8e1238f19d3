# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Roots of other suites, archives and architectures boot."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bootprof.files import file_digest, scratch_folder
from bootprof.process import run
from tests.builder.media.booting import OPTIONS, add_check, attached, boot, build, configure

pytestmark = [pytest.mark.vm, pytest.mark.root]

SETTINGS = f"""
name = "root"
[system]
packages = %s
files = "files"
files_owner = "root"
%s
[squashfs]
compressor = "lz4"
sort = ""
[initrd]
leave_out = []
keep = []
compressor = "keep"
[media]
boot_options = "{OPTIONS}"
"""
PACKAGES = ("dbus", "kmod", "live-boot", "login", "systemd-sysv", "udev")
CONTROL = """\
Package: derived-base
Version: 1.0-{number}
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: mark of a derivative
"""
RELEASE = """\
Suite: derived
Codename: derived
Components: main
Architectures: amd64
Date: Wed, 01 Jan 2025 00:00:00 UTC
SHA256:
 {digest} {size} main/binary-amd64/Packages
"""
DEBIAN = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
    "http://deb.debian.org/debian bookworm main\n"
)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder for what apt's own user reads; those of pytest are for their owner only."""
    with scratch_folder() as folder:
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[list[str | Path]]:
    """The command that signs with the key of an archive."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--yes", "--passphrase", ""]
    gpg += ["--pinentry-mode", "loopback"]
    run([*gpg, "--quick-generate-key", "archive@example.org", "default", "sign", "never"])
    yield gpg
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def download(folder: Path, packages: Sequence[str]) -> None:
    """Download packages of Debian, and all that a minimal system with them has."""
    apt = folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(DEBIAN)
    words = [
        *("apt-get", "--yes", "--no-install-recommends", "--option", "APT::Sandbox::User=root"),
        *("--option", f"Dir::State={apt}/state", "--option", f"Dir::State::status={apt}/status"),
        *("--option", f"Dir::Cache={apt}/cache", "--option", "Dir::Etc::sourceparts=-"),
        *("--option", f"Dir::Etc::sourcelist={apt}/sources.list"),
        # A container may have told apt to keep no archive.
        *(
            "--option",
            "APT::Keep-Downloaded-Packages=true",
            "--option",
            "APT::Update::Post-Invoke=",
        ),
    ]
    run([*words, "update"])
    patterns = ("?essential", "?priority(required)", "apt")
    run([*words, "--download-only", "install", *patterns, *packages])
    for path in (apt / "cache/archives").glob("*.deb"):
        path.rename(folder / path.name)


def publish(folder: Path, number: int, keys: list[str | Path]) -> None:
    """Write a signed suite "derived" of the packages in a folder, and one that marks it.

    Source: https://wiki.debian.org/DebianRepository/Format.
    """
    package = folder / "derived-base"
    (package / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (package / "DEBIAN/control").write_text(CONTROL.format(number=number))
    (package / "etc").mkdir(exist_ok=True)
    (package / "etc/derived-release").write_text(f"Derived {number}\n")
    deb = folder / "derived-base.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", package, deb])
    index = b"\n".join(
        run(["dpkg-deb", "--field", path])
        + f"Filename: {path.name}\nSize: {path.stat().st_size}\n"
        f"SHA256: {file_digest(path)}\n".encode()
        for path in sorted(folder.glob("*.deb"))
    )
    suite = folder / "dists/derived"
    (suite / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
    (suite / "main/binary-amd64/Packages").write_bytes(index)
    digest = hashlib.sha256(index).hexdigest()
    (suite / "Release").write_text(RELEASE.format(digest=digest, size=len(index)))
    run([*keys, "--output", suite / "InRelease", "--clearsign", suite / "Release"])


@pytest.mark.media
def test_a_derivative_with_its_own_archive_and_keys_boots_and_is_refreshed(
    output: Path, tmp_path: Path, public: Path, keys: list[str | Path]
) -> None:
    archive, folder = public / "archive", public / "config"
    folder.mkdir()
    archive.mkdir()
    packages = [*PACKAGES, "linux-image-amd64"]
    download(archive, packages)
    publish(archive, 1, keys)
    run([*keys, "--output", folder / "derived.gpg", "--export"])
    system = f'suite = "derived"\nkeyring = "derived.gpg"\nmirrors = ["copy:{archive}"]'
    config = configure(folder, SETTINGS % (json.dumps([*packages, "derived-base"]), system))
    add_check(folder, "derived", '#!/bin/sh\necho "release: $(cat /etc/derived-release)"\n')

    def built(*options: str) -> tuple[Path, str]:
        # A folder of its own, so that other tests can build at the same time.
        (image,) = build(
            config, output / "derived", "--image", str(tmp_path / "live.iso"), *options
        )
        found = json.loads(image.with_suffix(".json").read_text())["packages"]
        return image, found["derived-base:all"]

    image, version = built()
    assert version == "1.0-1"
    assert boot(*attached(image, "cd"), folder=tmp_path).facts["release"] == "Derived 1"
    publish(archive, 2, keys)
    assert built()[1] == "1.0-1"
    assert built("--refresh")[1] == "1.0-2"


@pytest.mark.parametrize(
    ("suite", "arch", "kernel", "release"),
    [
        pytest.param(
            *("bookworm", "i386", "linux-image-686", "-686 i686"), marks=pytest.mark.media
        ),
        pytest.param(
            *("trixie", "amd64", "linux-image-amd64", "+deb13-amd64 x86_64"),
            marks=pytest.mark.examples,
        ),
        pytest.param(
            *("bullseye", "amd64", "linux-image-amd64", "-amd64 x86_64"),
            marks=pytest.mark.examples,
        ),
    ],
)
def test_another_suite_or_architecture_boots(
    suite: str, arch: str, kernel: str, release: str, output: Path, tmp_path: Path
) -> None:
    system = f'suite = "{suite}"\narch = "{arch}"\n'
    if arch == "i386":
        # Without the archive of security updates, whose index of i386 can be broken for days.
        system += 'mirrors = ["http://deb.debian.org/debian"]'
    config = configure(tmp_path, SETTINGS % (json.dumps([*PACKAGES, kernel]), system))
    (image,) = build(config, output / f"{suite}-{arch}", "--image", str(tmp_path / "live.iso"))
    found = boot(*attached(image, "cd"), folder=tmp_path)
    assert found.facts["kernel"].endswith(release)
    assert found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"
