# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import json
from pathlib import Path

import pytest

from bootprof.commands.inputs import load_build
from bootprof.report.details import Details, gather
from optimizer.attribution import Cause
from optimizer.drives.models import CD_24X, NVME, Drive

BLOCK = 131072


def details_of(profile: Path, *drives: Drive) -> Details:
    return gather(load_build(profile), drives or (CD_24X,))


def test_a_whole_profile_has_map_causes_and_timeline(profile: Path, image: Path) -> None:
    found = details_of(profile)
    assert found.absent == {}
    assert found.image == image
    assert found.image_map and found.causes and found.timeline
    lanes = {lane.title: lane for lane in found.image_map.lanes}
    assert lanes["file data"].held_bytes.sum() == pytest.approx(4 * BLOCK)
    # /cold is first on the image: its first block was not read but for the superblock's page.
    assert BLOCK * 3 <= lanes["file data"].read_bytes.sum() < BLOCK * 3 + 8192
    assert lanes["file data"].needed_bytes.sum() == pytest.approx(2 * BLOCK)
    assert lanes["fragments"].needed_bytes.sum() == pytest.approx(1000)
    assert found.causes.found.bytes_read[Cause.NEEDED_DATA] == 2 * BLOCK + 1000
    assert found.causes.files == 2


def test_the_timeline_says_who_touched_a_file_first(profile: Path) -> None:
    timeline = details_of(profile).timeline
    assert timeline is not None
    assert (timeline.events, timeline.lost) == (3, 3)
    init, shell = timeline.processes
    assert (init.title, init.new_files, init.new_bytes) == ("init [1]", 1, 2 * BLOCK)
    assert (shell.title, shell.files, shell.new_files, shell.new_bytes) == ("sh [7]", 2, 1, 1000)
    assert [row.title for row in timeline.folders] == ["/", "/etc"]


def test_an_image_beside_the_profile_is_found_without_its_description(profile: Path) -> None:
    (profile / "profile.json").unlink()
    assert details_of(profile).image is not None


def test_a_missing_image_is_said_and_the_timeline_stays(profile: Path, image: Path) -> None:
    image.unlink()
    found = details_of(profile)
    assert found.image_map is None and found.causes is None
    assert found.absent["image_map"] == f"the image {image} does not exist"
    assert found.timeline is not None
    assert found.timeline.processes[0].new_bytes is None


@pytest.mark.parametrize("change", ["one bit", "size"])
def test_an_image_that_was_built_again_is_not_used(change: str, profile: Path, image: Path) -> None:
    content = bytearray(image.read_bytes())
    content[BLOCK] ^= 1
    image.write_bytes(content if change == "one bit" else content + bytes(4096))
    found = details_of(profile)
    assert found.image_map is None and found.causes is None
    assert "belongs to another image" in found.absent["image_map"]


def test_without_a_bootlog_there_is_a_map_of_what_was_read(profile: Path) -> None:
    (profile / "bootlog.events").unlink()
    found = details_of(profile)
    assert set(found.absent) == {"causes", "timeline"}
    assert found.image_map is not None
    assert not found.image_map.knows_need
    assert all(lane.needed_bytes.sum() == 0 for lane in found.image_map.lanes)
    assert sum(lane.read_bytes.sum() for lane in found.image_map.lanes) > 3 * BLOCK


def test_a_plain_bootlog_gives_causes_but_no_timeline(profile: Path) -> None:
    (profile / "bootlog.events").unlink()
    (profile / "bootlog.list").write_bytes(b"/hot\n")
    found = details_of(profile)
    assert set(found.absent) == {"timeline"}
    assert found.causes is not None and found.causes.files == 1


def test_causes_are_told_for_the_first_drive_that_the_image_fits_on(profile: Path) -> None:
    tiny = Drive("tiny", "tiny", 1000, 1, 0, 0, 0, 1e6, 1e6)
    found = details_of(profile, tiny, NVME)
    assert found.causes is not None and found.causes.drive == NVME
    assert details_of(profile, tiny).absent == {"causes": "the image fits on none of the drives"}


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("bootlog.events", b"#bootprof-bootlog 1\nnoise\n", "timeline"),
        ("bootlog.events", b"#bootprof-bootlog 1\n", "timeline"),
        ("bootlog.events", b"", "causes"),
        ("profile.json", b"[]", "image_map"),
        ("profile.json", b'{"image": 7}', "image_map"),
        ("profile.json", b"\xff{", "image_map"),
        ("profile.json", json.dumps({"image": "x" * 5000}).encode(), "image_map"),
    ],
)
def test_what_cannot_be_read_is_a_reason_and_not_the_end(
    name: str, content: bytes, part: str, profile: Path
) -> None:
    (profile / name).write_bytes(content)
    assert details_of(profile).absent[part]


def test_an_image_that_holds_no_squashfs_is_a_reason(profile: Path, image: Path) -> None:
    trace = (profile / "blocktrace.tsv").read_text().splitlines(keepends=True)
    kept = [line for line in trace if "sha256" not in line]
    (profile / "blocktrace.tsv").write_text("".join(kept))
    (profile / "profile.json").unlink()
    image.write_bytes(bytes(image.stat().st_size))
    assert set(details_of(profile).absent) == {"image_map", "causes"}
