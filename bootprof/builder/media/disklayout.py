# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How a stick with a live system is divided: the one description for the builder and the guest.

A layout is a list of rules, one for each partition in its order on the disk. The builder resolves
it for the image of a disk, a running live system for a stick of any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid5

from bootprof.errors import InputError

Role = Literal["bios", "esp", "live", "boot", "root"]

MIB = 1 << 20
SECTOR_BYTES = 512
# Partitions begin and end at multiples of this: sticks and disks write in units of up to 1 MiB.
ALIGNMENT_BYTES = MIB
# The table at each end of the disk has 33 sectors (UEFI specification 2.10, section 5.3).
GPT_FIRST_SECTOR = 34
GPT_SPARE_BYTES = MIB
# The namespace of identifiers that are made from what a medium holds.
NAMESPACE = UUID("6b1ff2d8-0a0c-4c3c-9d0b-6f8f5a3a2f10")


@dataclass(frozen=True)
class Rule:
    """A partition, before the size of the disk is known.

    Attributes:
        role: What it is for.
        size_mib: Its size in MiB; None for what its content needs, 0 for the rest of the disk.
        gpt_type: Its type in a GUID partition table.
        dos_type: Its type in a master boot record, hexadecimal, or "" if it has no entry there.
    """

    role: Role
    size_mib: int | None
    gpt_type: str
    dos_type: str


# GRUB's core image has no file system. It lies in front of the first aligned partition, in a
# partition of its own if the table is a GPT, and unlisted behind a master boot record.
BIOS = Rule("bios", 1, "21686148-6449-6E6F-744E-656564454649", "")
ESP = Rule("esp", 8, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ef")
# A FAT file system is for any system, others are for Linux.
LIVE = Rule("live", None, "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "83")
LIVE_FAT = Rule("live", None, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "0c")
# An installed system has room for what other systems put on the same ESP, and its kernels on a
# partition of their own if its root is encrypted.
INSTALLED_ESP = Rule("esp", 64, ESP.gpt_type, ESP.dos_type)
BOOT = Rule("boot", 512, LIVE.gpt_type, LIVE.dos_type)
ROOT = Rule("root", 0, LIVE.gpt_type, LIVE.dos_type)
ROOT_RULES = (BIOS, INSTALLED_ESP, BOOT, ROOT)


def stick(file_system: str) -> tuple[Rule, ...]:
    """Return the rules for a stick whose live system lies on a file system ("fat" or "ext4")."""
    return (BIOS, ESP, LIVE_FAT if file_system == "fat" else LIVE)


@dataclass(frozen=True)
class Partition:
    """A partition on a disk.

    Attributes:
        role: What it is for.
        number: Its number in the table, from 1.
        start: First sector (512 bytes).
        sectors: Size in sectors.
        type: Its type, as sfdisk takes it.
        uuid: Its identifier.
    """

    role: Role
    number: int
    start: int
    sectors: int
    type: str
    uuid: str

    @property
    def offset_bytes(self) -> int:
        """Where it begins, in bytes."""
        return self.start * SECTOR_BYTES

    @property
    def size_bytes(self) -> int:
        """Its size in bytes."""
        return self.sectors * SECTOR_BYTES


@dataclass(frozen=True)
class DiskLayout:
    """The partitions of a disk with a GUID partition table.

    Attributes:
        identifier: Identifier of the disk, a UUID.
        size_bytes: Size of the disk in bytes.
        partitions: Its partitions, in their order on the disk.
    """

    identifier: str
    size_bytes: int
    partitions: tuple[Partition, ...]

    def of(self, role: Role) -> Partition:
        """Return the partition that has a role."""
        return next(partition for partition in self.partitions if partition.role == role)


def identifier(content: str, name: str) -> str:
    """Return an identifier that the same content always gets, and no other.

    Args:
        content: Digest of what the medium holds.
        name: What it identifies on the medium.
    """
    return str(uuid5(NAMESPACE, f"{content} {name}"))


def resolve(
    rules: Sequence[Rule],
    content_bytes: Mapping[Role, int],
    *,
    content: str,
    size_bytes: int | None = None,
) -> DiskLayout:
    """Lay partitions out on a disk.

    Args:
        rules: The partitions, in their order.
        content_bytes: What the content of those that have no fixed size needs.
        content: Digest of what the medium holds, from which identifiers are made.
        size_bytes: Size of the disk, or None for one that is just large enough.

    Raises:
        InputError: The disk is too small.
    """
    start, found = ALIGNMENT_BYTES, []
    for number, rule in enumerate(rules, 1):
        uuid = identifier(content, f"partition {rule.role}")
        if rule.role == "bios":
            sectors = ALIGNMENT_BYTES // SECTOR_BYTES - GPT_FIRST_SECTOR
            found.append(Partition("bios", number, GPT_FIRST_SECTOR, sectors, rule.gpt_type, uuid))
            continue
        if rule.size_mib is None:
            size = -(-content_bytes[rule.role] // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        elif rule.size_mib:
            size = rule.size_mib * MIB
        elif size_bytes is None:
            raise ValueError("the rest of a disk of no size")
        else:
            size = (size_bytes - GPT_SPARE_BYTES - start) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        sectors = size // SECTOR_BYTES
        found.append(
            Partition(rule.role, number, start // SECTOR_BYTES, sectors, rule.gpt_type, uuid)
        )
        start += size
    needed = start + GPT_SPARE_BYTES
    if any(partition.sectors <= 0 for partition in found) or needed > (size_bytes or needed):
        raise InputError(
            f"the disk has {size_bytes or 0} bytes, the live system needs {needed}",
            hint="choose a larger one",
        )
    return DiskLayout(identifier(content, "disk"), size_bytes or needed, tuple(found))


def sfdisk_script(layout: DiskLayout) -> str:
    """Return a layout as the script that sfdisk(8) reads."""
    lines = ["label: gpt", f"label-id: {layout.identifier}", f"first-lba: {GPT_FIRST_SECTOR}"]
    lines += [
        f"start={partition.start}, size={partition.sectors}, type={partition.type}, "
        f"uuid={partition.uuid}, name={partition.role}"
        for partition in layout.partitions
    ]
    return "\n".join(lines) + "\n"


def rules_table(rules: Sequence[Rule]) -> str:
    """Return rules as text for the program in the guest: a line each, fields separated by tabs.

    The fields are the role, the size ("content", "rest", or a number of MiB), the type in a GUID
    partition table, and the type in a master boot record or "-".
    """
    return "".join(
        f"{rule.role}\t{'content' if rule.size_mib is None else rule.size_mib or 'rest'}"
        f"\t{rule.gpt_type}\t{rule.dos_type or '-'}\n"
        for rule in rules
    )
