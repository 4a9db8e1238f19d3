# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""live_medium_id says what blkid says of a live medium, and nothing of what it does not know."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.guest.programs import LIVE_MEDIUM_ID, build_checked, run_checked

SECTOR = 2048
DATE, NO_DATE = b"2026112501440000\0", b"0" * 16 + b"\0"
SIMPLE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789#+-.:=@_ "
CHARACTERS = [bytes([code]) for code in (*range(0x20, 0x7F), 0, 9)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checked(LIVE_MEDIUM_ID, tmp_path_factory.mktemp("program"))


def descriptor(
    kind: int, label: bytes, created: bytes = DATE, modified: bytes = DATE, escapes: bytes = b""
) -> bytes:
    """A volume descriptor: ECMA-119, 8.4 and 8.5."""
    sector = bytearray(SECTOR)
    sector[0:7] = bytes([kind]) + b"CD001\1"
    sector[8:40] = b"LINUX".ljust(32)
    sector[40:72] = label
    sector[80:84] = struct.pack("<I", 100)
    sector[84:88] = struct.pack(">I", 100)
    sector[88 : 88 + len(escapes)] = escapes
    sector[128:132] = struct.pack("<H", SECTOR) + struct.pack(">H", SECTOR)
    sector[813:830], sector[830:847] = created, modified
    return bytes(sector)


def iso(*descriptors: bytes, head: bytes = b"") -> bytes:
    end = bytes([255]) + b"CD001\1" + bytes(SECTOR - 7)
    return head.ljust(16 * SECTOR, b"\0") + b"".join(descriptors) + end + bytes(64 * SECTOR)


def properties(output: bytes) -> dict[bytes, bytes]:
    """Parse KEY=VALUE lines, those about a file system."""
    lines = dict(line.split(b"=", 1) for line in output.split(b"\n") if line)
    known = (b"ID_FS_TYPE", b"ID_FS_LABEL", b"ID_FS_UUID", b"ID_FS_USAGE", b"ID_FS_VERSION")
    return {key: value for key, value in lines.items() if key.startswith(known)}


def blkid(image: Path) -> dict[bytes, bytes]:
    tool = shutil.which("blkid", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        pytest.skip("blkid is not installed: apt-get install util-linux")
    done = subprocess.run([tool, "-p", "-o", "udev", image], capture_output=True, check=False)
    return properties(done.stdout)


def labels() -> list[bytes]:
    source = random.Random(1389)
    odd = [
        b"plain",
        b"Debian 12 amd64",
        b"",
        b"a\0b",
        b"\0hidden",
        b"tab\tend\t ",
        b"slash/back\\slash",
        b"$(reboot);`'\"",
        b"x" * 32,
        b"#+-.:=@_",
    ]
    random_ones = [b"".join(source.choices(CHARACTERS, k=source.randint(1, 32))) for _ in range(40)]
    return [label.ljust(32)[:32] for label in odd + random_ones]


def agrees_with_blkid(program: Path, image: Path) -> bool:
    """Return whether the program identified an image, which has to be as blkid does it."""
    done = run_checked(program, image)
    if done.returncode:
        # Left to blkid.
        assert (done.returncode, done.stdout) == (1, b"")
        return False
    assert properties(done.stdout) == blkid(image)
    return True


def test_labels_are_those_of_blkid_or_left_to_it(program: Path, tmp_path: Path) -> None:
    image = tmp_path / "medium.iso"
    identified = set()
    for label in labels():
        image.write_bytes(iso(descriptor(1, label)))
        if agrees_with_blkid(program, image):
            identified.add(label.rstrip())
    assert {b"plain", b"Debian 12 amd64", b"", b"x" * 32, b"#+-.:=@_"} <= identified
    assert not any(label.strip(SIMPLE) for label in identified)


@pytest.mark.parametrize(
    ("created", "modified", "identified"),
    [
        (DATE, NO_DATE, True),
        (NO_DATE, NO_DATE, True),
        (bytes(17), DATE, True),
        (DATE, NO_DATE[:16] + b"\4", True),
        (DATE, bytes(17), False),
        (bytes(17), NO_DATE, False),
        (DATE, b"20\0" + DATE[3:], False),
        (DATE, b" " * 17, False),
    ],
)
def test_the_identifier_is_the_time_of_the_last_change(
    program: Path, tmp_path: Path, created: bytes, modified: bytes, identified: bool
) -> None:
    image = tmp_path / "medium.iso"
    image.write_bytes(iso(descriptor(1, b"live".ljust(32), created, modified)))
    assert agrees_with_blkid(program, image) == identified


@pytest.mark.parametrize("plain", ["LIVE MEDIUM", "LIVE MEDIUM LONGER THAN IT", "Live__MEDIUM_AND"])
@pytest.mark.parametrize(
    "joliet",
    [
        "LIVE",
        "Live medium",
        "live medium long",
        "LIVE MEDIUX",
        "other",
        "Live \u00e9 medium",
        "",
        "_",
    ],
)
def test_a_joliet_label_is_combined_with_the_other_as_blkid_does(
    program: Path, tmp_path: Path, plain: str, joliet: str
) -> None:
    image = tmp_path / "medium.iso"
    name = (joliet.encode("utf-16-be") + b"\0 " * 16)[:32]
    image.write_bytes(
        iso(descriptor(1, plain.encode().ljust(32)), descriptor(2, name, escapes=b"%/E"))
    )
    assert agrees_with_blkid(program, image) == (joliet.isascii() and joliet != "")


def test_a_device_of_another_kind_or_size_is_left_to_blkid(program: Path, tmp_path: Path) -> None:
    device = tmp_path / "device"
    for content in (b"", b"x" * 511, bytes(1 << 16), iso()[: 16 * SECTOR], b"\xff" * (1 << 16)):
        device.write_bytes(content)
        assert (run_checked(program, device).returncode, run_checked(program, device).stdout) == (
            1,
            b"",
        )


@pytest.mark.parametrize("identified", [True, False], ids=["mkfs", "labelled"])
def test_an_erofs_is_identified_by_its_uuid(
    program: Path, tmp_path: Path, identified: bool
) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    subprocess.run(["mkfs.erofs", image, tree], check=True, capture_output=True)
    if not identified:
        content = bytearray(image.read_bytes())
        content[1024 + 64] = ord("x")
        image.write_bytes(content)
    assert agrees_with_blkid(program, image) == identified


def test_no_content_of_a_medium_makes_it_crash_or_write_another_property(
    program: Path, tmp_path: Path
) -> None:
    source = random.Random(7)
    image = tmp_path / "medium.iso"
    good = iso(descriptor(1, b"live".ljust(32)), descriptor(2, bytes(32), escapes=b"%/@"))
    for _ in range(150):
        content = bytearray(good)
        for _ in range(source.randint(1, 200)):
            content[source.randrange(16 * SECTOR, 19 * SECTOR)] = source.randrange(256)
        content[16 * SECTOR : 16 * SECTOR + 7] = b"\1CD001\1"
        image.write_bytes(content[: source.randint(17 * SECTOR, len(content))])
        done = run_checked(program, image)
        assert done.returncode in (0, 1)
        for line in done.stdout.splitlines():
            assert line.startswith(b"ID_") and line.isascii() and line.decode().isprintable()


@pytest.mark.parametrize(
    "words",
    [[], ["a", "b"], ["a", "b", "c"], ["a", "-1", "0"], ["a", "9" * 30, "0"], ["a", "1", "x"]],
)
def test_wrong_usage_has_status_2(program: Path, words: list[str]) -> None:
    done = run_checked(program, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: live_medium_id")


@pytest.mark.parametrize(("start", "status"), [("0", 0), ("399", 0), ("400", 1)])
def test_a_partition_belongs_to_the_medium_up_to_its_end(
    program: Path, tmp_path: Path, start: str, status: int
) -> None:
    partition = tmp_path / "partition"
    partition.write_bytes(bytes(1 << 16))
    assert run_checked(program, partition, "400", start).returncode == status


@pytest.mark.parametrize("size", [(1 << 20) - 512, 1 << 20])
def test_a_small_partition_of_a_medium_is_not_read(
    program: Path, tmp_path: Path, size: int
) -> None:
    partition = tmp_path / "partition"
    content = iso(descriptor(1, b"live".ljust(32)))
    partition.write_bytes(content + bytes(size - len(content)))
    done = run_checked(program, partition, "4000", "64")
    assert done.returncode == 0
    assert (b"ID_FS_TYPE=iso9660" in done.stdout) == (size == 1 << 20)
    assert run_checked(program, partition, "4000", "4000").returncode == 1
