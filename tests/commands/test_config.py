# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.builder.layers import keys, load_config
from bootprof.cli import main
from bootprof.commands.config import table

TOP = Path(__file__).parents[2]


def test_the_documentation_has_the_table_of_all_keys() -> None:
    page = (TOP / "docs/commands/build.md").read_text()
    assert "\n".join(table(keys().values())) + "\n" in page


def test_the_merged_configuration_gives_itself_and_names_its_origins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "live.cfg"
    path.write_text(
        'name = "x"\n[system]\npackages = ["a"]\n[media]\ntitle = "a \\"b\\" \\u007f#"\n'.replace(
            "\\u007f", ""
        )
    )
    (tmp_path / "settings.cfg").write_text('[system.install_env]\nA = "1"\n')
    words = ["config", "-c", str(path), "-D", "media.timeout=3"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f'packages = ["a"]  # {path}: line 3\n' in printed
    assert f'install_env = {{ "A" = "1" }}  # {tmp_path}/settings.cfg: line 1\n' in printed
    assert "timeout = 3  # --define media.timeout\n" in printed
    assert "outer_edge = false  # default\n" in printed
    again = tmp_path / "again.cfg"
    again.write_text(printed)
    (tmp_path / "other").mkdir()
    moved = again.rename(tmp_path / "other/live.cfg")
    assert load_config(moved) == load_config(path, ["media.timeout=3"])


def test_json_has_value_and_origin_of_each_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "-c", str(TOP / "config/live.cfg"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == keys().keys()
    assert found["system.hostname"]["value"] == "demo"
    assert found["media.outer_edge"] == {"value": False, "origin": "default"}


def test_an_error_is_one_line_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "live.cfg").write_text('name = "x"\n[system]\nsiute = "sid"\n')
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", "config", "-c", tmp_path / "live.cfg"],
        capture_output=True,
        text=True,
        check=False,
        cwd=TOP,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"bootprof: error: {tmp_path}/live.cfg: line 3: system.siute: no such key",
        "bootprof: hint: did you mean system.suite?",
    ]
