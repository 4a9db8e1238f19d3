"""What tests of several folders share."""

import os
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def output() -> Path:
    """Folder for what takes long to make and is kept from run to run."""
    return Path(os.environ.get("BOOTPROF_OUTPUT", TOP / "out")).resolve()
