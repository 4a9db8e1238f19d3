# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The rules that hold for every file. Those for imports are in tests/test_architecture.py."""

import ast
import functools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from bootprof import __version__

TOP = Path(__file__).parent.parent
MOST_LINES = 500
SOURCES = (".py", ".c", ".h", ".sh")
# Written so that this file does not contain what it looks for.
FOREIGN = ("/wor" + "k/", "/tmp/" + "wt", "file:" + "///", "python" + "hosted", "py" + "pi.org")
SPDX = "SPDX-" + "License-Identifier: "
# Names that were given up, as words in names of Python, and what took their place.
OLD_NAMES = {
    "emulator": "drive",
    "evidence": "details",
    "rich": "events",
    "twin": "duplicate",
    "twins": "duplicates",
}
OLD_MODULES = (
    *("bootprof.backends.located", "bootprof.backends.imported", "bootprof.backends.rich"),
    *("bootprof.vm", "bootprof.profile", "bootprof.emulator", "bootprof.report.evidence"),
    *("bootprof.report.machine", "bootprof.report.units", "optimizer.twins", "optimizer.squashfs"),
    *("optimizer.iso9660", "optimizer.bootlog", "optimizer.blocktrace", "optimizer.sortfile"),
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True, text=True
    ).stdout
    paths = [TOP / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@functools.cache
def texts() -> dict[str, str]:
    """Return every tracked text by its path in the checkout."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found[str(path.relative_to(TOP))] = content.decode()
    return found


def names_in(source: str) -> set[str]:
    """Return the names that a Python source gives or uses, without names of imported modules."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Name(id=name):
                found.add(name)
    return found


def words_of(name: str) -> set[str]:
    return set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_"))


def test_no_source_is_longer_than_500_lines() -> None:
    lengths = {
        name: text.count("\n")
        for name, text in texts().items()
        if name.endswith(SOURCES) or text.startswith("#!")
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_nothing_names_a_machine_that_it_was_written_on_or_a_package_index() -> None:
    found = [(name, word) for name, text in texts().items() for word in FOREIGN if word in text]
    assert found == []


@pytest.mark.parametrize("word", OLD_NAMES)
def test_names_that_were_given_up_are_gone(word: str) -> None:
    found = {
        (path, name)
        for path, text in texts().items()
        if path.endswith(".py") and not path.startswith("tests/")
        for name in names_in(text)
        if word in words_of(name)
    }
    assert found == set(), f"say {OLD_NAMES[word]}"


@pytest.mark.parametrize("module", OLD_MODULES)
def test_modules_that_were_moved_are_named_nowhere(module: str) -> None:
    path = module.replace(".", "/")
    assert not (TOP / f"{path}.py").exists()
    pattern = re.compile(rf"(?<![\w/.])({re.escape(module)}(?![\w.-])|{path}\.py)")
    own = str(Path(__file__).relative_to(TOP))
    assert [name for name, text in texts().items() if name != own and pattern.search(text)] == []


def test_every_source_begins_with_its_licence() -> None:
    bare = [
        name
        for name, text in texts().items()
        if text and (name.endswith(SOURCES) or text.startswith("#!"))
        if SPDX not in "".join(text.splitlines(True)[:3])
    ]
    assert bare == []


def test_property_tests_share_one_profile() -> None:
    own = [
        name
        for name, text in texts().items()
        if Path(name).name.startswith("test_") and name != "tests/test_house.py"
        if "deadline=" in text or "register_profile" in text
    ]
    assert own == [], "tests/conftest.py sets the deadline for all"


def test_the_version_stands_in_one_place_and_others_repeat_it() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert f'PACKAGE_VERSION="{__version__}"' in (TOP / "kmod/dkms.conf").read_text()
    assert f"bootprof/{__version__}" in (TOP / "kmod/README.md").read_text()
    assert f"## {__version__} " in (TOP / "NEWS.md").read_text()
    numbered = re.compile(r'^#define VERSION\s+"([^"]*)"', flags=re.M)
    for name, text in texts().items():
        assert set(numbered.findall(text)) <= {__version__}, name


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    text = (TOP / "Makefile").read_text()
    declared = text.partition(".PHONY:")[2].replace("\\\n", " ").split()
    # Below another make, which ran these tests, make says which folder it enters.
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=TOP, capture_output=True, check=True, text=True)
    assert {line.split()[0] for line in shown.stdout.splitlines()} == set(declared)


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", [name for name in texts() if name.endswith(".md")])
def test_links_lead_somewhere(document: str) -> None:
    known = texts()
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", known[document]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (TOP / document).parent / file if file else TOP / document
        missing = not path.resolve().exists()
        if missing or (anchor and anchor not in anchors_of(path.read_text())):
            broken.append(target)
    assert broken == []


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=TOP, capture_output=True, text=True, check=False)


def test_clean_keeps_the_cache(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "cache").mkdir(parents=True)
    (output / "cache/.lock").touch()
    (output / "image.iso").touch()
    (output / "profile").mkdir()
    assert make("clean", f"OUT={output}", f"BUILD={tmp_path / 'build'}").returncode == 0
    assert [path.name for path in output.iterdir()] == ["cache"]
    assert (output / "cache/.lock").exists()


def test_clean_leaves_a_folder_alone_that_is_not_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "letter.txt").touch()
    done = make("clean", f"OUT={tmp_path}", f"BUILD={tmp_path / 'build'}")
    assert done.returncode != 0
    assert f"{tmp_path} holds no cache/.lock" in done.stderr
    assert (tmp_path / "letter.txt").exists()
