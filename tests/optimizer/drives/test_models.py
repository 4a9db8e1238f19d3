# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.drives.models import (
    CD_24X,
    DRIVES,
    DVD_8X,
    HARD_DISK,
    NVME,
    SD_CARD,
    USB_2,
    Drive,
    load_drive,
)
from optimizer.errors import BootprofError, FormatError, InputError

KIB = 1024
every_drive = pytest.mark.parametrize("drive", DRIVES.values(), ids=DRIVES)
drives = st.sampled_from(list(DRIVES.values()))


def test_a_cd_drive_of_24x_reaches_it_at_the_rim_and_10x_inside() -> None:
    assert float(CD_24X.rate(CD_24X.capacity_bytes)) == pytest.approx(24 * 150 * KIB)
    assert float(CD_24X.rate(0)) == pytest.approx(10.34 * 150 * KIB, rel=0.001)


def test_the_whole_cd_takes_the_time_of_a_constant_number_of_turns_a_second() -> None:
    # 33 mm of radius in tracks of 1.6 µm, at the speed of the drive. The track pitch is not in
    # the model, so this checks it against ECMA-130, up to the tolerance of that (1.2 to 1.4 m/s).
    turns = 33e-3 / 1.6e-6
    expected = turns / (CD_24X.rotation_per_minute / 60)
    assert float(CD_24X.pass_seconds(CD_24X.capacity_bytes)) == pytest.approx(expected, rel=0.2)


@every_drive
def test_a_pass_is_the_integral_of_the_inverse_rate(drive: Drive) -> None:
    offsets = np.linspace(0, drive.capacity_bytes, 100_001)
    middles = (offsets[1:] + offsets[:-1]) / 2
    integral = np.sum(np.diff(offsets) / drive.rate(middles))
    assert float(drive.pass_seconds(drive.capacity_bytes)) == pytest.approx(integral, rel=1e-6)


@every_drive
def test_the_seek_curve_goes_through_the_points_of_the_data_sheet(drive: Drive) -> None:
    times_ms = drive.seek_seconds([0.0, 1 / 3, 1.0]) * 1e3
    points = [drive.seek_track_ms, drive.seek_average_ms, drive.seek_full_ms]
    assert times_ms.tolist() == pytest.approx(points)


@every_drive
def test_the_mean_of_random_seeks_is_about_the_average_of_the_data_sheet(drive: Drive) -> None:
    # The density of the distance of two random places on the stroke is 2 · (1 - x).
    ways = (np.arange(10_000) + 0.5) / 10_000
    mean_ms = np.average(drive.seek_seconds(ways), weights=1 - ways) * 1e3
    assert mean_ms == pytest.approx(drive.seek_average_ms, rel=0.1)


@given(drives, st.floats(0, 1), st.floats(0, 1))
def test_a_longer_way_never_takes_less_time(drive: Drive, one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert drive.seek_seconds(short) <= drive.seek_seconds(long)


@given(drives, st.integers(0, 650_000_000))
def test_going_on_where_the_last_read_ended_costs_nothing(drive: Drive, offset: int) -> None:
    assert drive.positioning_seconds(offset, offset) == 0


def test_a_small_gap_forward_on_a_disk_is_read_through() -> None:
    cost = float(HARD_DISK.positioning_seconds(1_000_000, 1_070_000))
    assert cost == pytest.approx(0.001, rel=0.001)  # 70 kB at 70 MB/s


def test_a_small_gap_backward_costs_a_seek_and_half_a_turn() -> None:
    cost = float(HARD_DISK.positioning_seconds(1_070_000, 1_000_000))
    assert cost == pytest.approx(0.001 + 60 / 5400 / 2, rel=0.01)


def test_a_gap_beyond_the_read_ahead_buffer_is_not_read_through() -> None:
    slow = dataclasses.replace(CD_24X, seek_track_ms=1e3, seek_average_ms=1e3, seek_full_ms=1e3)
    inside = slow.positioning_seconds(0, slow.readahead_bytes)
    outside = slow.positioning_seconds(0, slow.readahead_bytes + 1)
    assert inside < 0.1
    assert outside > 1


def test_flash_memory_takes_the_same_time_for_every_distance() -> None:
    near, far = NVME.positioning_seconds([0, 0], [4096, 200_000_000])
    assert near == pytest.approx(75e-6)
    assert far == pytest.approx(75e-6)


@pytest.mark.parametrize(
    ("drive", "random_reads_a_second"), [(USB_2, 1010), (SD_CARD, 1500), (NVME, 11_600)]
)
def test_random_reads_of_4_kib_come_at_the_rate_that_the_sources_give(
    drive: Drive, random_reads_a_second: float
) -> None:
    positioning = float(drive.positioning_seconds(0, 10**8))
    transfer = 4096 / drive.first_rate_bytes_per_second
    seconds = drive.overhead_ms / 1e3 + positioning + transfer
    assert 1 / seconds == pytest.approx(random_reads_a_second, rel=0.03)


def test_a_dvd_drive_of_8x_starts_near_what_a_test_of_one_showed() -> None:
    assert 3.2 < float(DVD_8X.rate(0)) / (1350 * KIB) < 3.6


def test_every_drive_says_where_its_numbers_are_from() -> None:
    assert all(drive.source for drive in DRIVES.values())


TOML = """\
name = "floppy"
title = "Floppy disk"
capacity_bytes = 1_474_560
overhead_ms = 0
seek_track_ms = 18.0
seek_average_ms = 94
seek_full_ms = 250
first_rate_bytes_per_second = 45e3
last_rate_bytes_per_second = 45e3
rotation_per_minute = 300
"""


def load(text: str) -> Drive:
    return load_drive(io.BytesIO(text.encode("utf-8", "surrogateescape")), "f.toml")


def test_a_drive_can_be_described_in_toml() -> None:
    drive = load(TOML)
    assert drive.title == "Floppy disk"
    assert drive.latency_seconds == pytest.approx(0.1)
    assert float(drive.positioning_seconds(0, 1_474_560)) == pytest.approx(0.35)


@every_drive
def test_every_drive_survives_a_round_through_toml(drive: Drive) -> None:
    def value(content: Any) -> str:
        return f'"{content}"' if isinstance(content, str) else repr(content)

    text = "".join(f"{key} = {value(v)}\n" for key, v in dataclasses.asdict(drive).items())
    assert load(text) == drive


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("name = ", FormatError, "f.toml: not TOML: "),
        ("name = '\udcff'", FormatError, "f.toml: not TOML: "),
        (TOML + "colour = 1\n", InputError, "f.toml: unknown key 'colour'"),
        (TOML.replace("title", "source"), InputError, "f.toml: title is missing"),
        (TOML.replace("94", "'slow'"), InputError, "f.toml: seek_average_ms is of the wrong type"),
        (TOML.replace("94", "true"), InputError, "f.toml: seek_average_ms is of the wrong type"),
        (TOML.replace("94", "nan"), InputError, "f.toml: drive floppy: seek times must not fall"),
        (TOML.replace("94", "300"), InputError, "f.toml: drive floppy: seek times must not fall"),
        (
            TOML.replace("45e3", "0"),
            InputError,
            "f.toml: drive floppy: first_rate_bytes_per_second",
        ),
        (TOML.replace("1_474_560", "-1"), InputError, "f.toml: drive floppy: capacity_bytes must"),
        (TOML.replace("= 0", "= -1"), InputError, "f.toml: drive floppy: overhead_ms must not"),
        (TOML.replace("= 300", "= inf"), InputError, "f.toml: drive floppy: rotation_per_minute"),
    ],
)
def test_a_bad_description_is_an_error_that_names_the_key(
    text: str, kind: type[BootprofError], expected: str
) -> None:
    with pytest.raises(kind) as caught:
        load(text)
    assert caught.value.message.startswith(expected)
