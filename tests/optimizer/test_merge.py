# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The promises of the rule by which profiles are merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.merge import Merged, Merger

PATHS = [b"/" + bytes([letter]) for letter in b"abcdefghijklm"]
ORDERS = st.lists(st.sampled_from(PATHS), unique=True, min_size=1)
PROFILES = st.lists(st.tuples(ORDERS, st.sampled_from([0.1, 0.5, 1.0, 3.0])), min_size=1)

Profiles = list[tuple[list[bytes], float]]


def merged(profiles: Profiles, least_support: float = 0.0) -> Merged:
    merger = Merger()
    for number, (order, weight) in enumerate(profiles):
        merger.add(str(number), order, weight)
    return merger.merge(least_support=least_support)


@given(ORDERS, st.integers(1, 5))
def test_profiles_that_agree_are_kept(order: list[bytes], copies: int) -> None:
    result = merged([(order, 1.0)] * copies)
    assert result.paths == order
    assert all(opinion.footrule == 0 and not opinion.absent for opinion in result.opinions)
    assert np.allclose(result.spread, 0, atol=1e-6)


@given(PROFILES, st.randoms())
def test_the_order_of_the_profiles_does_not_matter(profiles: Profiles, random: object) -> None:
    shuffled = list(profiles)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged(shuffled).paths == merged(profiles).paths


@given(PROFILES)
def test_all_files_of_all_profiles_are_there_once(profiles: Profiles) -> None:
    result = merged(profiles)
    assert sorted(result.paths) == sorted({path for order, _ in profiles for path in order})
    assert (np.diff(result.scores) >= 0).all()
    assert ((result.scores >= 0) & (result.scores < 1)).all()


@given(PROFILES)
def test_what_all_profiles_agree_on_holds(profiles: Profiles) -> None:
    place = {path: rank for rank, path in enumerate(merged(profiles).paths)}
    for first in place:
        for second in place:
            if (
                all(
                    first in order
                    and (second not in order or order.index(first) < order.index(second))
                    for order, _ in profiles
                )
                and first != second
            ):
                assert place[first] < place[second]


@given(PROFILES, ORDERS, st.integers(2, 4))
def test_a_weight_counts_as_so_many_profiles(
    profiles: Profiles, order: list[bytes], copies: int
) -> None:
    by_weight = merged([*profiles, (order, float(copies))])
    by_number = merged([*profiles, *[(order, 1.0)] * copies])
    assert by_weight.paths == by_number.paths


def test_the_score_is_the_weighted_mean_of_rank_over_files_and_1_where_missing() -> None:
    result = merged([([b"/a", b"/b", b"/c", b"/d"], 3.0), ([b"/b", b"/e"], 1.0)])
    scores = dict(zip(result.paths, result.scores, strict=True))
    assert scores == pytest.approx(
        {b"/a": 1 / 4, b"/b": 3 / 16, b"/c": 10 / 16, b"/d": 13 / 16, b"/e": 14 / 16}
    )
    assert result.paths == [b"/b", b"/a", b"/c", b"/d", b"/e"]
    assert dict(zip(result.paths, result.support, strict=True))[b"/e"] == 0.25
    first, second = result.opinions
    assert (first.only_here, first.absent) == (3, 1)
    assert (second.only_here, second.absent) == (1, 3)
    # b before a, where the profile has a before b: two files moved by 1, of at most 16 / 2.
    assert first.footrule == 2 / 8


def test_a_reversed_profile_has_footrule_1() -> None:
    result = merged([(PATHS[:8], 100.0), (PATHS[7::-1], 1.0)])
    assert [opinion.footrule for opinion in result.opinions] == [0, 1]


def test_a_file_that_few_profiles_have_goes_to_the_end_or_is_left_out() -> None:
    profiles: Profiles = [([b"/rare", *PATHS], 1.0), *[(PATHS, 1.0)] * 99]
    assert merged(profiles).paths == [*PATHS, b"/rare"]
    assert merged(profiles, least_support=0.01).paths == [*PATHS, b"/rare"]
    assert merged(profiles, least_support=0.02).paths == PATHS


def test_excluded_paths_take_no_rank() -> None:
    one, other = Merger(), Merger()
    one.add("noisy", [b"/proc/1", b"/proc/2", b"/a", b"/b"])
    one.add("quiet", [b"/b", b"/a"])
    other.add("noisy", [b"/a", b"/b"])
    other.add("quiet", [b"/b", b"/a"])
    result = one.merge(lambda path: path.startswith(b"/proc/"))
    assert result.paths == other.merge().paths
    assert result.scores.tolist() == other.merge().scores.tolist()


def test_nothing_to_merge_and_bad_weights_are_errors() -> None:
    with pytest.raises(InputError, match="no file is left"):
        Merger().merge()
    with pytest.raises(InputError, match="no file is left"):
        merged([([], 1.0)])
    for weight in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="weight"):
            merged([(PATHS, weight)])
