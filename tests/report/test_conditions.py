# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.errors import FormatError
from bootprof.report.conditions import (
    NOT_RECORDED,
    Conditions,
    conditions_of,
    read_description,
    why_boot_times_differ,
    why_guest_times_differ,
)

DESCRIBED = {
    "accelerator": "icount",
    "machine": {
        "arch": "amd64",
        "memory_mib": 1024,
        "processors": 1,
        "firmware": "bios",
        "medium": "cd",
    },
    "drive": {"name": "cd-24x", "scale": 10.0, "requests": 7},
    "backend": "kmod",
    "kernel": "6.1.0-56-amd64",
    "bootprof": "0.1.0",
    "date": "2026-11-25T01:53:46Z",
    "boots": 3,
    "guest_clock": {"uptime_seconds": 9.71, "busy_seconds": 8.0},
}
COUNTED = conditions_of(DESCRIBED)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_every_condition_is_told() -> None:
    assert COUNTED.rows() == {
        "machine": "amd64, 1 processor, 1024 MiB of memory, bios, cd",
        "accelerator": "QEMU icount",
        "drive": "cd-24x, slowed down 10.0 times",
        "backend": "kmod",
        "kernel": "6.1.0-56-amd64",
        "bootprof": "0.1.0",
        "date": "2026-11-25T01:53:46Z",
        "boots": "3",
    }


def test_what_an_old_profile_does_not_record_is_said() -> None:
    assert set(Conditions().rows().values()) == {NOT_RECORDED}
    old = conditions_of({"accelerator": "tcg", "drive": None, "machine": {"processors": 2}})
    assert (old.accelerator, old.drive, old.machine) == ("tcg", "none emulated", "2 processors")
    assert old.rows()["kernel"] == old.rows()["boots"] == NOT_RECORDED


@given(
    st.dictionaries(st.sampled_from(list(DESCRIBED)), JSON),
    st.dictionaries(st.sampled_from(["arch", "processors", "memory_mib", "name", "scale"]), JSON),
)
def test_no_description_is_shown_with_control_characters(
    described: dict[str, object], inner: dict[str, object]
) -> None:
    for found in (described, {**described, "machine": inner, "drive": inner}):
        rows = conditions_of(found).rows()
        assert all(text.isprintable() and text for text in rows.values())


@pytest.mark.parametrize("content", [b"[]", b"7", b"\xff{", b"", b"[" * 100_000])
def test_a_description_that_is_no_object_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"profile\.json: is not"):
        read_description(tmp_path)


def test_a_folder_without_a_description_describes_nothing(tmp_path: Path) -> None:
    assert read_description(tmp_path) == {}
    (tmp_path / "profile.json").write_text(json.dumps(DESCRIBED))
    assert conditions_of(read_description(tmp_path)) == COUNTED


def test_the_clock_of_the_guest_counts_only_with_instruction_counting() -> None:
    assert COUNTED.guest_seconds == 9.71
    assert conditions_of({**DESCRIBED, "accelerator": "tcg"}).guest_seconds == 0


def test_guest_times_of_equal_machines_are_comparable() -> None:
    assert why_guest_times_differ(COUNTED, replace(COUNTED, date="later", boots=1)) == ""


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(COUNTED, machine="arm64"), "the profiles differ in machine"),
        (replace(COUNTED, drive="x", backend="block"), "the profiles differ in drive and backend"),
    ],
)
def test_guest_times_of_other_machines_are_not(other: Conditions, reason: str) -> None:
    assert why_guest_times_differ(COUNTED, other) == reason


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Conditions(), "does not record the accelerator"),
        (COUNTED, "3 boots under QEMU icount, whose speed by the host's clock"),
        (replace(COUNTED, accelerator="tcg", boots=1), "one boot under QEMU tcg, whose speed"),
        (replace(COUNTED, accelerator="kvm", boots=2), "2 boots under QEMU kvm, whose speed"),
    ],
)
def test_boot_times_by_the_clock_of_the_host_are_not(other: Conditions, reason: str) -> None:
    assert reason in why_boot_times_differ(COUNTED, other)
    assert reason in why_boot_times_differ(other, COUNTED)
