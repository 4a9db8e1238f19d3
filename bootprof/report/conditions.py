# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The conditions that a profile was recorded under, as its ``profile.json`` has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.errors import FormatError
from optimizer.formats.text import printable

DESCRIPTION_NAME = "profile.json"
NOT_RECORDED = "not recorded"
# The accelerator of QEMU that counts instructions: the guest's clock does not depend on the load of
# the host.
COUNTING_ACCELERATOR = "icount"
# Ten years: more is no time of a boot.
MOST_SECONDS = 10 * 366 * 24 * 3600


@dataclass(frozen=True)
class Conditions:
    """How a profile was recorded. Where ``profile.json`` does not say it, a text is empty.

    Attributes:
        machine: Architecture, processors, memory, firmware and medium, as text.
        accelerator: Of QEMU: ``kvm``, ``tcg`` or ``icount``.
        drive: The drive that the image was served like, as text.
        backend: The backend that recorded the bootlog.
        kernel: Release of the kernel that was booted.
        bootprof: Version of bootprof that recorded it.
        date: When, in ISO 8601, UTC.
        boots: Number of boots that the times are from; 0 if it is not recorded.
        guest_seconds: Time to the boot target by the guest's clock, if instructions were counted;
            0 otherwise.
    """

    machine: str = ""
    accelerator: str = ""
    drive: str = ""
    backend: str = ""
    kernel: str = ""
    bootprof: str = ""
    date: str = ""
    boots: int = 0
    guest_seconds: float = 0.0

    def rows(self) -> dict[str, str]:
        """Return a title and a text for each condition."""
        texts = {
            "machine": self.machine,
            "accelerator": self.accelerator and f"QEMU {self.accelerator}",
            "drive": self.drive,
            "backend": self.backend,
            "kernel": self.kernel,
            "bootprof": self.bootprof,
            "date": self.date,
            "boots": str(self.boots or ""),
        }
        return {title: text or NOT_RECORDED for title, text in texts.items()}


def read_description(folder: Path) -> Mapping[str, object]:
    """Return the contents of the ``profile.json`` of a folder; empty if there is none.

    Raises:
        FormatError: It is not a JSON object.
        OSError: It cannot be read.
    """
    file = folder / DESCRIPTION_NAME
    if not file.is_file():
        return {}
    try:
        described = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: is not JSON", hint="record the profile again") from error
    if not isinstance(described, dict):
        raise FormatError(f"{file}: is not a JSON object", hint="record the profile again")
    return described


def conditions_of(described: Mapping[str, object]) -> Conditions:
    """Return the conditions of a profile; a value of the wrong type counts as not recorded.

    Args:
        described: Contents of its ``profile.json``; earlier versions wrote fewer keys.
    """
    boots = described.get("boots")
    drive = described.get("drive", "")
    accelerator = text_of(described, "accelerator")
    return Conditions(
        machine=machine_text(mapping_of(described, "machine")),
        accelerator=accelerator,
        drive="none emulated" if drive is None else drive_text(mapping_of(described, "drive")),
        backend=text_of(described, "backend"),
        kernel=text_of(described, "kernel"),
        bootprof=text_of(described, "bootprof"),
        date=text_of(described, "date"),
        boots=boots if isinstance(boots, int) and 0 < boots < 1_000_000 else 0,
        guest_seconds=seconds_of(described) if accelerator == COUNTING_ACCELERATOR else 0.0,
    )


def seconds_of(described: Mapping[str, object]) -> float:
    """Return the time since the start of the guest's kernel by its own clock; 0 if unknown."""
    uptime = mapping_of(described, "guest_clock").get("uptime_seconds")
    if not isinstance(uptime, int | float) or not 0 < uptime < MOST_SECONDS:
        return 0.0
    return float(uptime)


def text_of(described: Mapping[str, object], key: str) -> str:
    """Return a text or a number as text that can be shown; empty if it is neither."""
    value = described.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return printable(str(value))


def mapping_of(described: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a JSON object; an empty one if the value is none."""
    value = described.get(key)
    return value if isinstance(value, dict) else {}


def machine_text(machine: Mapping[str, object]) -> str:
    """Return the virtual machine as text."""
    parts = [text_of(machine, "arch")]
    processors, memory = text_of(machine, "processors"), text_of(machine, "memory_mib")
    if processors:
        parts.append(f"{processors} processor{'' if processors == '1' else 's'}")
    if memory:
        parts.append(f"{memory} MiB of memory")
    parts += [text_of(machine, "firmware"), text_of(machine, "medium")]
    return ", ".join(part for part in parts if part)


def drive_text(drive: Mapping[str, object]) -> str:
    """Return the emulated drive as text."""
    name, scale = text_of(drive, "name"), text_of(drive, "scale")
    if not name or scale in ("", "1", "1.0"):
        return name
    return f"{name}, slowed down {scale} times"


def accelerators_of(conditions: Sequence[Conditions]) -> str:
    """Return how the machines of some profiles ran, for the title of an axis of their times.

    Returns:
        ``QEMU tcg`` or ``QEMU icount, tcg``, say; empty if none recorded it.
    """
    names = sorted({each.accelerator for each in conditions if each.accelerator})
    return f"QEMU {', '.join(names)}" if names else ""


def why_boot_times_differ(first: Conditions, other: Conditions) -> str:
    """Return why the boot times of two boots by the host's clock cannot be compared.

    The speed of a processor that is emulated, or that shares the host with other work, depends on
    the load of the host, and a few boots do not separate that from a change of the image.
    """
    for conditions in (first, other):
        if not conditions.accelerator:
            return "a profile does not record the accelerator of its machine"
    slow = first if first.accelerator != COUNTING_ACCELERATOR else other
    boots = "one boot" if slow.boots <= 1 else f"{slow.boots} boots"
    return (
        f"{boots} under QEMU {slow.accelerator}, whose speed by the host's clock depends on the "
        "load of the host"
    )


def why_guest_times_differ(first: Conditions, other: Conditions) -> str:
    """Return why the boot times of two boots with instruction counting cannot be compared.

    Equal machines that count instructions take equal times for equal boots. Empty if they are so.
    """
    unlike = [
        title
        for title, one, another in (
            ("machine", first.machine, other.machine),
            ("drive", first.drive, other.drive),
            ("backend", first.backend, other.backend),
        )
        if one != another
    ]
    return f"the profiles differ in {' and '.join(unlike)}" if unlike else ""
