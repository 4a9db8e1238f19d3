# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.builder.roottree import Attributes, RootTree, open_tree
from bootprof.errors import BootprofError, InputError
from tests.builder import canary
from tests.builder.cage import caged

NAMES = st.sampled_from(["etc", "usr", "bin", "log", "passwd", "hostname", "a", "boot", "x"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
# {out} is the tree that must survive.
TARGETS = st.one_of(
    st.sampled_from(
        ["{out}", "{out}/etc", "{out}/etc/passwd", "/", "/etc", "..", "../..", ".", "a", "x"]
    ),
    st.integers(1, 12).map(lambda levels: "../" * levels + "{out}"[1:]),
    st.integers(1, 12).map(lambda levels: "../" * levels + "{out}/etc"),
    PATHS,
    PATHS.map(lambda path: "/" + path),
)
ENTRIES = st.dictionaries(
    PATHS, st.one_of(st.just("file"), st.just("folder"), TARGETS.map(lambda t: "link " + t)),
    max_size=12,
)  # fmt: skip
AWAY = st.one_of(PATHS, PATHS.map(lambda path: "../../" + path), TARGETS)
ATTRIBUTES = Attributes(0o751, (os.getuid(), os.getgid()), 10**18)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("write_file"), AWAY, st.just(b"new")),
        st.tuples(st.just("rewrite_file"), AWAY, st.just(b"new")),
        st.tuples(st.just("make_folder"), AWAY),
        st.tuples(st.just("make_link"), AWAY, TARGETS),
        st.tuples(st.just("make_hard_link"), AWAY, AWAY),
        st.tuples(st.just("make_node"), AWAY, st.just(stat.S_IFIFO)),
        st.tuples(st.just("empty_file"), AWAY),
        st.tuples(st.just("remove"), AWAY),
        st.tuples(st.just("set_attributes"), AWAY, st.just(ATTRIBUTES)),
        st.tuples(st.just("read_file"), AWAY),
        st.tuples(st.just("locate"), AWAY),
        st.tuples(st.just("glob"), st.sampled_from(["*", "*/*", "etc/*", "*/passwd"])),
    ),
    min_size=1,
    max_size=12,
)


def make_farm(root: Path, outside: Path, entries: dict[str, str]) -> None:
    """Fill a root tree; what does not fit between the others is left out."""
    root.mkdir()
    for name, kind in entries.items():
        path = root / name
        # Made by plain calls, so kept inside by hand.
        if any(parent.is_symlink() for parent in path.parents if parent != root):
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_bytes(b"old")
            elif kind == "folder":
                path.mkdir(exist_ok=True)
            else:
                path.symlink_to(kind.removeprefix("link ").replace("{out}", str(outside)))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


@given(ENTRIES, CALLS)
def test_nothing_outside_of_a_tree_is_changed_or_read_whatever_its_links(
    entries: dict[str, str], calls: list[tuple[str, ...]]
) -> None:
    def body(folder: Path) -> None:
        outside = canary.plant(folder / "outside")
        root = folder / "root"
        make_farm(root, outside, entries)
        before = canary.state(outside)
        present = sorted(path.name for path in folder.iterdir())
        top = folder.stat().st_ctime_ns
        with open_tree(root) as tree:
            for call, *arguments in calls:
                given_ = [
                    a.replace("{out}", str(outside)) if isinstance(a, str) else a for a in arguments
                ]
                try:
                    result = getattr(tree, call)(*given_)
                except (BootprofError, OSError):
                    continue
                if call == "read_file":
                    assert result != canary.SECRET
                elif call == "locate":
                    assert result == root or root in result.parents
        assert canary.state(outside) == before
        assert sorted(path.name for path in folder.iterdir()) == present
        assert folder.stat().st_ctime_ns == top

    with tempfile.TemporaryDirectory() as name:
        caged(Path(name), body)


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    """A root tree with the links that Debian's has."""
    root = tmp_path / "root"
    for folder in ("etc", "usr/bin", "var", "run"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "var/lock").symlink_to("/run/lock")
    (root / "var/run").symlink_to("/run")
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    return RootTree(root, os.open(root, os.O_RDONLY))


def test_folders_are_followed_through_links_of_the_tree(tree: RootTree) -> None:
    tree.write_file("bin/tool", b"#!", 0o755)
    tree.write_file("/var/run/pid", b"1")
    assert (tree.path / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (tree.path / "run/pid").read_bytes() == b"1"
    assert (tree.path / "bin").is_symlink()


def test_a_written_file_replaces_a_link_and_keeps_other_names_of_a_file(tree: RootTree) -> None:
    tree.write_file("etc/localtime", b"zone")
    assert (tree.path / "etc/localtime").read_bytes() == b"zone"
    assert not (tree.path / "etc/localtime").is_symlink()
    (tree.path / "etc/one").write_bytes(b"old")
    (tree.path / "etc/two").hardlink_to(tree.path / "etc/one")
    tree.write_file("etc/one", b"new")
    assert (tree.path / "etc/two").read_bytes() == b"old"


def test_a_link_to_nowhere_gives_way_to_a_folder_that_is_needed(tree: RootTree) -> None:
    tree.write_file("var/lock/planted", b"")
    assert (tree.path / "var/lock").is_dir()
    assert not (tree.path / "var/lock").is_symlink()


def test_a_folder_with_content_is_not_replaced(tree: RootTree) -> None:
    tree.write_file("etc/folder/file", b"")
    with pytest.raises(InputError, match="etc/folder: a folder with content is in the way"):
        tree.make_link("etc/folder", "elsewhere")


def test_only_regular_files_are_read(tree: RootTree) -> None:
    tree.make_node("etc/pipe", stat.S_IFIFO)
    for name in ("etc/pipe", "etc"):
        with pytest.raises(InputError, match="not a regular file"):
            tree.read_file(name)
    with pytest.raises(FileNotFoundError):
        tree.read_file("etc/localtime")


def test_patterns_match_in_folders_behind_links_and_nothing_else(tree: RootTree) -> None:
    for name in ("usr/bin/a", "usr/bin/b.log", "etc/c.log"):
        tree.write_file(name, b"")
    assert tree.glob("bin/*") == ["bin/a", "bin/b.log"]
    assert tree.glob("*/*.log") == ["bin/b.log", "etc/c.log"]
    assert tree.glob("etc/passwd") == tree.glob("none/*") == []


def test_a_tree_of_any_depth_is_removed(tree: RootTree) -> None:
    descriptor = os.dup(tree.descriptor)
    for _ in range(3000):
        os.mkdir("d" * 50, dir_fd=descriptor)
        os.close(os.open("f", os.O_CREAT, dir_fd=descriptor))
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    tree.remove("d" * 50)
    assert not (tree.path / ("d" * 50)).exists()


def test_a_path_with_nul_is_an_input_error(tree: RootTree) -> None:
    with pytest.raises(InputError, match="NUL"):
        tree.read_file("etc\0/passwd")


@pytest.mark.root
def test_what_is_mounted_in_a_tree_is_out_of_reach(tree: RootTree, tmp_path: Path) -> None:
    outside = canary.plant(tmp_path / "outside")
    (tree.path / "mnt").mkdir()
    before = canary.state(outside)
    program = (
        "import sys, pathlib; from bootprof.builder.roottree import open_tree\n"
        "with open_tree(pathlib.Path(sys.argv[1])) as tree:\n"
        "    for call in (lambda: tree.remove('mnt'), lambda: tree.write_file('mnt/new', b''),\n"
        "                 lambda: tree.read_file('mnt/etc/passwd')):\n"
        "        try: call(); print('done')\n"
        "        except OSError as error: print(error.errno)\n"
    )
    script = 'mount --bind "$1" "$2/mnt" && exec "$3" -c "$4" "$2"'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            outside,
            tree.path,
            sys.executable,
            program,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "done" not in done.stdout
    assert len(done.stdout.split()) == 3
    assert canary.state(outside) == before
