# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What goes where in a squashfs that is reordered: runs of blocks and fragment blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.images.reorder import Wanted, covered_extents
from optimizer.images.squashfs.layout import SquashfsLayout
from optimizer.images.squashfs.tails import Group, grouped, tail_of


@dataclass(frozen=True)
class Unit:
    """Content that is moved as a whole: runs of blocks that overlap, or a fragment block.

    Attributes:
        offset: Where it lies on the image file.
        length: Its length in bytes.
    """

    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """What goes where.

    Attributes:
        content: Units of the image and new fragment blocks, in their new order.
        wanted: How many of ``content``, from the start or the end, are wanted.
        kept_fragments: Old fragment blocks that are not taken apart.
        wanted_fragments: Those of them that are wanted.
        groups: New fragment blocks, those of wanted files last.
    """

    content: list[Unit | Group]
    wanted: list[Unit | Group]
    kept_fragments: list[int]
    wanted_fragments: frozenset[int]
    groups: list[Group]


def find_units(layout: SquashfsLayout) -> tuple[list[Unit], dict[int, int]]:
    """Find the runs of blocks that are moved as one.

    Returns:
        The units, ascending by offset, and the unit of each inode that has blocks on the image.
    """
    inodes, blocks = layout.inodes, layout.blocks
    runs = []
    for row in np.flatnonzero(inodes["block_count"] > 0).tolist():
        first, count = int(inodes["first_block"][row]), int(inodes["block_count"][row])
        length = int(blocks["length_bytes"][first : first + count].sum())
        if length:
            runs.append((int(blocks["offset_bytes"][first]), length, row))
    units: list[Unit] = []
    unit_of: dict[int, int] = {}
    for offset, length, row in sorted(runs):
        if units and offset < units[-1].offset + units[-1].length:
            reach = max(units[-1].offset + units[-1].length, offset + length)
            units[-1] = Unit(units[-1].offset, reach - units[-1].offset)
        else:
            units.append(Unit(offset, length))
        unit_of[row] = len(units) - 1
    return units, unit_of


def make_plan(
    layout: SquashfsLayout,
    wanted: Wanted,
    needed: Sequence[int],
    units: Sequence[Unit],
    unit_of: dict[int, int],
) -> Plan:
    """Decide what goes where.

    Args:
        layout: Of the image.
        wanted: The order.
        needed: Inodes in the order of first need.
        units: From :func:`find_units`.
        unit_of: From :func:`find_units`.
    """
    hot_tails = dict.fromkeys(
        tail for inode in needed if (tail := tail_of(layout, inode)) is not None
    )
    broken = {tail.fragment for tail in hot_tails}
    all_tails = dict.fromkeys(
        tail
        for inode in np.flatnonzero(layout.inodes["fragment_bytes"] > 0).tolist()
        if (tail := tail_of(layout, inode)) is not None and tail.fragment in broken
    )
    hot_groups = grouped(list(hot_tails), layout.block_size_bytes)
    cold = sorted(
        (tail for tail in all_tails if tail not in hot_tails),
        key=lambda tail: (tail.fragment, tail.offset),
    )
    cold_groups = grouped(cold, layout.block_size_bytes)
    group_of = {tail: group for group in hot_groups for tail in group.tails}
    hot: dict[int, Unit | Group] = {}
    for inode in needed:
        tail = tail_of(layout, inode)
        if tail is not None:
            group = group_of[tail]
            hot.setdefault(id(group), group)
        if inode in unit_of:
            unit = units[unit_of[inode]]
            hot.setdefault(id(unit), unit)
    kept = [number for number in range(layout.fragments.size) if number not in broken]
    fragment_units = {
        number: Unit(
            int(layout.fragments["offset_bytes"][number]),
            int(layout.fragments["length_bytes"][number]),
        )
        for number in kept
    }
    movable = sorted([*units, *fragment_units.values()], key=lambda unit: unit.offset)
    by_offset = {unit.offset: unit for unit in movable}
    starts = np.array([unit.offset for unit in movable], np.int64)
    extents = layout.extent_map.extents
    for extent in covered_extents(layout, wanted.spans) if len(wanted.spans) else ():
        if layout.is_content[extent]:
            offset = int(extents["offset_bytes"][extent])
            found = movable[max(0, int(np.searchsorted(starts, offset, side="right")) - 1)]
            if found.offset <= offset < found.offset + found.length:
                hot.setdefault(id(found), found)
    others: list[Unit | Group] = [unit for unit in by_offset.values() if id(unit) not in hot]
    others += cold_groups
    chosen = list(hot.values())
    content = [*chosen, *others] if wanted.place == "start" else [*others, *chosen]
    also_wanted = frozenset(number for number in kept if id(fragment_units[number]) in hot)
    return Plan(content, chosen, kept, also_wanted, [*cold_groups, *hot_groups])
