# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The import that docs/backends.md walks through works as printed."""

from __future__ import annotations

import io
import re
from pathlib import Path

from bootprof.imports import Import, Source

TOP = Path(__file__).parent.parent.parent


def test_the_import_of_the_manual_reads_its_log() -> None:
    manual = (TOP / "docs/backends.md").read_text()
    found = re.search(r"```python\n# bootprof/imports/plainlog.py\n(.*?)```", manual, re.DOTALL)
    assert found is not None
    module: dict[str, object] = {}
    exec(compile(found[1], "plainlog.py", "exec"), module)
    item = module["IMPORT"]
    assert isinstance(item, Import)
    source = Source("log", io.BytesIO(b"started\nopened /b\nopened /a\nopened relative\n"))
    assert item.looks_like(source)
    bootlog = item.bootlog([source])
    assert (bootlog.paths, bootlog.lost) == ([b"/b", b"/a"], 1)
