# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Root images of each format boot, and the same inputs give the same bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bootprof.files import file_digest
from tests.builder.media.booting import OPTIONS, PACKAGES, attached, boot, build, configure

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

SETTINGS = f"""
name = "roots"
[system]
{PACKAGES}
files = "files"
files_owner = "root"
patches = "patches"
hooks = "hooks"
[squashfs]
compressor = "lz4"
sort = ""
[media]
boot_options = "{OPTIONS}"
"""
MOTD = """\
--- /dev/null
+++ b/etc/made-by-patch
@@ -0,0 +1 @@
+patched
"""
CHECK = """\
#!/bin/sh
echo "patch: $(cat /etc/made-by-patch)"
echo "hook: $(cat /etc/made-by-hook)"
if [ -e /etc/issue.net ]; then echo "removed: no"; else echo "removed: yes"; fi
: > /etc/written && echo "writable: yes"
"""
HOOK = "#!/bin/sh\nset -e\nuname -m > /etc/made-by-hook\nrm /etc/issue.net\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roots")
    made = configure(folder, SETTINGS)
    write(folder / "files/usr/local/lib/probe/changes", CHECK)
    write(folder / "patches/1.patch", MOTD)
    write(folder / "hooks/configured/1.chroot", HOOK)
    return made


@pytest.mark.parametrize(
    ("options", "images"),
    [
        (("root.format=ext4",), {"filesystem.ext4": "ext4"}),
        (
            ("root.separate_changes=true",),
            {"filesystem.squashfs": "squashfs", "layer-changes.squashfs": "squashfs"},
        ),
    ],
    ids=["ext4", "layers"],
)
def test_a_root_image_boots_with_patches_files_and_the_work_of_hooks(
    options: tuple[str, ...], images: dict[str, str], config: Path, output: Path, tmp_path: Path
) -> None:
    defines = [word for option in options for word in ("--define", option)]
    (image,) = build(config, output, *defines, "--image", str(tmp_path / "live.iso"))
    found = boot(*attached(image, "cd"), folder=tmp_path)
    for name, wanted in images.items():
        mount = found.mounts[f"/run/live/rootfs/{name}"]
        assert (mount.type, "ro" in mount.options) == (wanted, True)
    facts = ("patch", "hook", "removed", "writable")
    assert [found.facts[name] for name in facts] == ["patched", "x86_64", "yes", "yes"]


@pytest.mark.parametrize("options", [(), ("root.format=ext4",), ("root.separate_changes=true",)])
def test_two_builds_in_other_folders_at_other_times_give_the_same_bytes(
    options: tuple[str, ...], config: Path, output: Path, tmp_path: Path
) -> None:
    defines = [word for option in options for word in ("--define", option)]
    defines += ["--define", 'media.kinds=["iso", "disk", "partition", "netboot"]']
    build(config, output, *defines, "--image", str(tmp_path / "first/roots.iso"))
    manifest = json.loads((tmp_path / "first/roots.json").read_text())
    # The bootstrap is shared: the archive may change between two of them.
    cache = tmp_path / "an other place/cache"
    cache.mkdir(parents=True)
    newest = max((output / "cache").glob("bootstrap-*"), key=lambda path: path.stat().st_atime_ns)
    subprocess.run(["cp", "-a", newest, cache], check=True)
    build(config, cache.parent, *defines)
    again = json.loads((cache.parent / "roots.json").read_text())
    assert [image["sha256"] for image in again["images"]] == [
        image["sha256"] for image in manifest["images"]
    ]
    assert again["images"][0]["sha256"] == file_digest(cache.parent / "roots.iso")
