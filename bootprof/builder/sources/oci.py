# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree from a container image: an OCI layout, or an archive of one or of ``docker save``.

Format: opencontainers/image-spec (image-layout.md, image-index.md, manifest.md, layer.md), and the
``manifest.json`` of ``docker save``. Each blob is checked by the digest in its name.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bootprof.builder.roottree import RootTree, open_tree
from bootprof.builder.sources import tarball
from bootprof.errors import FormatError, InputError
from bootprof.files import file_digest, scratch_folder

INDEX, DOCKER_MANIFEST = "index.json", "manifest.json"
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
# Names of Debian's architectures in Go.
ARCHITECTURES = {"amd64": "amd64", "i386": "386"}
MOST_JSON_BYTES = 4 << 20
MOST_INDEXES = 4


def is_image(source: Path) -> bool:
    """Return whether a folder or an archive is a container image, by the files at its top."""
    if source.is_dir():
        return (source / "oci-layout").is_file()
    try:
        with tarfile.open(source, "r:") as members:
            names = {member.name.removeprefix("./") for member in members}
    except tarfile.TarError:
        return False
    return "oci-layout" in names or DOCKER_MANIFEST in names


def unpack(source: Path, arch: str, tree: RootTree) -> int:
    """Unpack the layers of a container image into a root tree.

    Args:
        source: Folder or archive.
        arch: Debian architecture, to choose by if the image has several.
        tree: Root tree.

    Returns:
        The time of the newest entry, in seconds since 1970.

    Raises:
        FormatError: It is damaged.
        InputError: It has no image of this architecture, or an entry that cannot be made.
    """
    with layout(source) as files:
        return max(
            (tarball.unpack(layer, tree, whiteouts=True) for layer in layers(files, source, arch)),
            default=0,
        )


@contextmanager
def layout(source: Path) -> Iterator[RootTree]:
    """Open the files of an image, those of an archive unpacked for the length of a block."""
    if source.is_dir():
        with open_tree(source) as files:
            yield files
        return
    with scratch_folder() as folder, open_tree(folder) as files:
        tarball.unpack(source, files)
        yield files


def layers(files: RootTree, source: Path, arch: str) -> list[Path]:
    """Return the archives of the layers of an image, the lowest first."""
    if not files.is_file(INDEX):
        images = read_json(files, DOCKER_MANIFEST, source, list)
        names = texts(fields(images, 0, source).get("Layers"), source)
        return [located(files, name, source) for name in names]
    found = read_json(files, INDEX, source, dict)
    for _ in range(MOST_INDEXES):
        if "layers" in found:
            digests = [entry.get("digest") for entry in objects(found["layers"], source)]
            return [blob(files, digest, source) for digest in digests]
        chosen = choose(objects(found.get("manifests"), source), arch, source)
        path = blob(files, chosen.get("digest"), source)
        found = read_json(files, str(path.relative_to(files.locate("/"))), source, dict)
    raise FormatError(f"{source}: more than {MOST_INDEXES} indexes in each other")


def choose(manifests: list[dict[str, Any]], arch: str, source: Path) -> dict[str, Any]:
    """Return the manifest of an architecture; the only one there is may name none."""
    wanted = ARCHITECTURES[arch]
    found = []
    for manifest in manifests:
        platform = manifest.get("platform")
        named = platform.get("architecture") if isinstance(platform, dict) else None
        if named == wanted or (named is None and len(manifests) == 1):
            found.append(manifest)
    if not found:
        raise InputError(f"{source}: contains no image for {arch}", hint="set system.arch")
    return found[0]


def blob(files: RootTree, digest: object, source: Path) -> Path:
    """Return the file of a digest, which is that of its content."""
    match = DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise FormatError(f"{source}: not a SHA-256 digest: {digest!r:.80}")
    path = located(files, f"blobs/sha256/{match[1]}", source)
    if file_digest(path) != match[1]:
        raise FormatError(f"{source}: the content of {match[0]} has another digest")
    return path


def located(files: RootTree, name: str, source: Path) -> Path:
    """Return where a file of the image is."""
    if "\0" in name or not files.is_file(name):
        raise FormatError(f"{source}: lacks its file {name!r:.100}")
    return files.locate(name)


def read_json(files: RootTree, name: str, source: Path, wanted: type) -> Any:
    """Return the content of a JSON file of the image.

    Raises:
        FormatError: It is not JSON, or not of the expected type.
    """
    path = located(files, name, source)
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError("too large")
        found = json.loads(path.read_bytes())
        if not isinstance(found, wanted):
            raise ValueError("another kind of value")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: {name}: {str(error)[:100]}") from None
    return found


def objects(value: object, source: Path) -> list[dict[str, Any]]:
    """Return a list of JSON objects."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FormatError(f"{source}: no list of manifests or layers where one is expected")
    return value


def fields(images: list[Any], number: int, source: Path) -> dict[str, Any]:
    """Return the description of one image of ``docker save``."""
    if len(images) <= number or not isinstance(images[number], dict):
        raise FormatError(f"{source}: {DOCKER_MANIFEST} describes no image")
    found: dict[str, Any] = images[number]
    return found


def texts(value: object, source: Path) -> list[str]:
    """Return a list of file names."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise FormatError(f"{source}: {DOCKER_MANIFEST} names no layers")
    return value
