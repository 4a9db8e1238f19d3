from pathlib import Path

import pytest

from tests.builder import small


@pytest.fixture(scope="session")
def small_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small image was built once, with its cache."""
    folder = tmp_path_factory.mktemp("small")
    small.build(folder)
    return folder
