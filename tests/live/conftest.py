# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What tests of the live tools share."""

import pytest

from bootprof.builder.media.incomplete import make_incomplete


@pytest.fixture(scope="session")
def marker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The menu that says that a copy is incomplete."""
    path = tmp_path_factory.mktemp("marker") / "incomplete.img"
    make_incomplete(path, epoch=0)
    return str(path)
