# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A short run of every fuzz target: any bytes give a result or one line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, attempt


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_bytes_give_a_result_or_one_line(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    attempt(target, data.draw(mutated(target.seeds) | st.binary(max_size=300)))


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_are_read(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)
