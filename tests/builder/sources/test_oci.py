# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import gzip
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import oci
from bootprof.errors import BootprofError, FormatError, InputError
from tests.builder import canary
from tests.builder.sources.test_tarball import archive

LOWER = [
    ("folder", "etc", ""),
    ("file", "etc/a", "1"),
    ("file", "etc/b", "1"),
    ("folder", "opaque", ""),
    ("file", "opaque/old", "1"),
    ("file", "file", "1"),
]
# The new file comes before the mark that empties its folder.
UPPER = [
    ("file", "etc/.wh.a", ""),
    ("file", "opaque/new", "2"),
    ("file", "opaque/.wh..wh..opq", ""),
    ("file", ".wh..wh.plnk", ""),
    ("file", "file/sub", "2"),
    ("file", "etc/b", "2"),
]


def blob(folder: Path, content: bytes) -> dict[str, Any]:
    """Store a blob; return its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def write_layout(folder: Path, layers: Sequence[Sequence[tuple[str, str, str]]]) -> Path:
    """Write an OCI layout whose index has another architecture first, and an index in between."""
    folder.mkdir()
    descriptors = []
    for layer in layers:
        packed = gzip.compress(archive(folder / "layer.tar", layer).read_bytes())
        descriptors.append(blob(folder, packed))
    (folder / "layer.tar").unlink()
    manifest = blob(folder, json.dumps({"layers": descriptors}).encode())
    other = {"digest": "sha256:" + "0" * 64, "platform": {"architecture": "arm64"}}
    inner = {"manifests": [other, manifest | {"platform": {"architecture": "amd64"}}]}
    index = {"manifests": [blob(folder, json.dumps(inner).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def pack(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w") as members:
        members.add(folder, ".")
    return target


def unpacked(source: Path, root: Path, arch: str = "amd64") -> dict[str, str]:
    root.mkdir()
    with open_tree(root) as tree:
        assert oci.unpack(source, arch, tree) == 10**9
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_layers_add_to_and_remove_from_each_other(tmp_path: Path) -> None:
    source = write_layout(tmp_path / "image", [LOWER, UPPER])
    wanted = {"etc/b": "2", "opaque/new": "2", "file/sub": "2"}
    assert oci.is_image(source)
    assert unpacked(source, tmp_path / "root") == wanted
    packed = pack(source, tmp_path / "image.tar")
    assert oci.is_image(packed)
    assert unpacked(packed, tmp_path / "again") == wanted


def test_what_docker_saves_is_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "image"
    for name, layer in (("one", LOWER), ("two", UPPER)):
        (folder / name).mkdir(parents=True)
        archive(folder / name / "layer.tar", layer)
    names = ["one/layer.tar", "two/layer.tar"]
    (folder / "manifest.json").write_text(json.dumps([{"Config": "c.json", "Layers": names}]))
    packed = pack(folder, tmp_path / "image.tar")
    assert oci.is_image(packed)
    assert unpacked(packed, tmp_path / "root")["opaque/new"] == "2"


def write_whole_layout(folder: Path, layers: Sequence[Sequence[tuple[str, str, str]]]) -> Path:
    """Write an OCI layout with everything that other programs expect of one."""
    folder.mkdir()
    media = "application/vnd.oci.image."
    descriptors, diffs = [], []
    for layer in layers:
        content = archive(folder / "layer.tar", layer).read_bytes()
        diffs.append(f"sha256:{hashlib.sha256(content).hexdigest()}")
        packed = blob(folder, gzip.compress(content, mtime=0))
        descriptors.append(packed | {"mediaType": f"{media}layer.v1.tar+gzip"})
    (folder / "layer.tar").unlink()
    rootfs = {"type": "layers", "diff_ids": diffs}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}manifest.v1+json",
        "config": blob(folder, json.dumps(config).encode())
        | {"mediaType": f"{media}config.v1+json"},
        "layers": descriptors,
    }
    described = blob(folder, json.dumps(manifest).encode())
    described |= {"mediaType": f"{media}manifest.v1+json"}
    index = {"schemaVersion": 2, "manifests": [described]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_copies_is_unpacked(kind: str, tmp_path: Path) -> None:
    source = write_whole_layout(tmp_path / "image", [LOWER, UPPER])
    target = tmp_path / "copy"
    name = ":name:latest" if kind == "docker-archive" else ""
    command = ["skopeo", "--insecure-policy", "copy", f"oci:{source}", f"{kind}:{target}{name}"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert oci.is_image(target)
    wanted = {"etc/b": "2", "opaque/new": "2", "file/sub": "2"}
    assert unpacked(target, tmp_path / "root") == wanted


def test_a_plain_root_tree_is_no_image(tmp_path: Path) -> None:
    assert not oci.is_image(archive(tmp_path / "root.tar", LOWER))
    (tmp_path / "text").write_text("no archive")
    assert not oci.is_image(tmp_path / "text")
    assert not oci.is_image(tmp_path)


def test_an_image_without_the_architecture_says_so(tmp_path: Path) -> None:
    source = write_layout(tmp_path / "image", [LOWER])
    with pytest.raises(InputError, match="no image for i386"):
        unpacked(source, tmp_path / "root", "i386")


@pytest.mark.parametrize(
    "layer",
    [
        [("link", "esc", "{out}"), ("file", "esc/.wh.link", "")],
        [("link", "esc", "{out}/etc"), ("file", "esc/.wh..wh..opq", "")],
        [("file", "../outside/etc/.wh.passwd", "")],
        [("file", ".wh...", "")],
        [("file", ".wh.", "")],
        [("file", "etc/.wh..", "")],
    ],
)
def test_marks_remove_nothing_outside(layer: list[tuple[str, str, str]], tmp_path: Path) -> None:
    outside = canary.plant(tmp_path / "outside")
    before = canary.state(outside)
    entries = [(kind, name, text.replace("{out}", str(outside))) for kind, name, text in layer]
    # The link is in a layer of its own, so that it is there when the marks are looked at.
    source = write_layout(tmp_path / "image", [LOWER, entries[:-1], entries[-1:]])
    try:
        unpacked(source, tmp_path / "root")
    except BootprofError as error:
        assert "refused" in error.message
    assert canary.state(outside) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", "{"),
        ("index.json", "[]"),
        ("index.json", "[" * 100_000),
        ("index.json", '{"manifests": 3}'),
        ("index.json", '{"manifests": [{"digest": "sha256:../../etc/passwd"}]}'),
        ("index.json", '{"manifests": [{"digest": "sha256:' + "1" * 64 + '"}]}'),
        ("index.json", '{"layers": [{"digest": 5}]}'),
        ("blob", "another content"),
    ],
)
def test_a_damaged_image_gives_one_line(name: str, content: str, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "image", [LOWER])
    paths = sorted((source / "blobs/sha256").iterdir()) if name == "blob" else [source / name]
    for path in paths:
        path.write_text(content)
    with pytest.raises(FormatError) as caught:
        unpacked(source, tmp_path / "root")
    assert caught.value.message.startswith(f"{source}: ")
    assert "\n" not in caught.value.message


def test_a_layout_that_links_to_the_host_reads_nothing_of_it(tmp_path: Path) -> None:
    source = write_layout(tmp_path / "image", [LOWER])
    host = tmp_path / "host.json"
    (source / "index.json").rename(host)
    (source / "index.json").symlink_to(host)
    with pytest.raises(FormatError, match="lacks its file"):
        unpacked(source, tmp_path / "root")
