# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Priorities and escaping, and where files land in images that the real programs make."""

import contextlib
import io
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.formats.sortfile import (
    MKSQUASHFS_PRIORITIES,
    PathList,
    Place,
    distinct_paths_of,
    fragment_action,
    gensquashfs_lines,
    gensquashfs_priorities,
    mksquashfs_lines,
    mksquashfs_priorities,
    paths_of_sort_file,
    split_expressible,
)
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout

PLACES = st.sampled_from(["start", "end"])
PATHS = st.lists(
    st.binary(min_size=1, max_size=12)
    .filter(lambda text: not {0, 10} & set(text))
    .map(lambda text: b"/" + text.lstrip(b"/")),
    unique=True,
    max_size=20,
)


@given(st.integers(0, 200_000), PLACES)
def test_mksquashfs_priorities_keep_order_and_range(count: int, place: Place) -> None:
    priorities = list(mksquashfs_priorities(count, place))
    assert len(priorities) == count
    assert all(priority in MKSQUASHFS_PRIORITIES for priority in (priorities[:1] + priorities[-1:]))
    assert priorities == sorted(priorities, reverse=True)
    # On one side of the files that are not listed, which have 0.
    assert not priorities or (priorities[-1] > 0 if place == "start" else priorities[0] < 0)
    if count <= 32767:
        assert len(set(priorities)) == count


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("count", [32767, 32768, 32769, 65534, 65535, 196_000])
def test_shared_priorities_are_shared_evenly(count: int, place: Place) -> None:
    priorities = list(mksquashfs_priorities(count, place))
    available = 32767 if place == "start" else 32768
    distinct = set(priorities)
    assert len(distinct) == min(count, available)
    sizes = {priorities.count(priority) for priority in random.Random(1).sample([*distinct], 50)}
    assert max(sizes) - min(sizes) <= 1
    assert priorities[0] == (32767 if place == "start" else -1)
    if count >= available:
        assert priorities[-1] == (1 if place == "start" else -32768)


@given(st.integers(0, 10_000), PLACES)
def test_gensquashfs_priorities_rise_on_one_side_of_0(count: int, place: Place) -> None:
    priorities = list(gensquashfs_priorities(count, place))
    assert len(priorities) == count
    assert all(low < high for low, high in pairwise(priorities))
    assert all(priority < 0 if place == "start" else priority > 0 for priority in priorities)


def unescape(text: bytes) -> tuple[bytes, bytes]:
    """Read a line as mksquashfs does: the path up to bare white space, and what follows."""
    path = bytearray()
    position = 0
    assert not text.startswith(b"#")
    while not text[position : position + 1].isspace():
        position += text[position : position + 1] == b"\\"
        path += text[position : position + 1]
        position += 1
    return bytes(path), text[position:]


@given(PATHS)
def test_mksquashfs_lines_read_back(paths: list[bytes]) -> None:
    lines = mksquashfs_lines(paths)
    assert len(lines) == len(paths)
    for rank, (line, path) in enumerate(zip(lines, paths, strict=True)):
        if path != b"/":
            assert unescape(line) == (path[1:], b" %d\n" % (32767 - rank))


@given(PATHS)
def test_gensquashfs_lines_read_back(paths: list[bytes]) -> None:
    for line, path in zip(gensquashfs_lines(paths), paths, strict=True):
        name = line.partition(b" ")[2].strip()
        assert not name.startswith((b'"', b"[")) or path == b"/"
        assert name.strip(b"/") == path.strip(b"/")


def test_unit_names_are_escaped() -> None:
    assert mksquashfs_lines([b"/a/system-systemd\\x2dcryptsetup.slice", b"/b c"]) == [
        b"a/system-systemd\\\\x2dcryptsetup.slice 32767\n",
        b"b\\ c 32766\n",
    ]


def test_paths_with_a_newline_are_parted() -> None:
    assert split_expressible([b"/a", b"/b\n", b"/c"]) == ([b"/a", b"/c"], [b"/b\n"])
    assert split_expressible([b"/a", b"/c"]) == ([b"/a", b"/c"], [])
    assert split_expressible([]) == ([], [])


# Every name that one of the two programs could take for something else.
NAMES = [
    *(b"plain", b"with space", b"two  spaces ", b" leading", b"tab\there", b"return\r", b"\vv\f"),
    *(rb"system-systemd\x2dcryptsetup.slice", b"end\\", b"\\", rb"\012", b"back\\ slash"),
    *(b"#comment", b"#", b"sub/#not", b"sub/with space/x ", b"sub/ x", b'"quoted"', b'"', b'a"b'),
    *(b"[glob]x", b"[x", b"star*", b"what?", b"-dash", b"32767", b"name 5", b"x -3", b"..dots"),
    *(b"\xff\xfe", b"\xc3\xa9t\xc3\xa9", b"nbsp\xa0", b"\x85", b"\x01\x7f", b"a=b,c;d$e&f"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of 5,000 random bytes under all names, and 20 cold ones."""
    top = tmp_path_factory.mktemp("tree")
    source = random.Random(7)
    for name in [*NAMES, *(b"cold%d" % number for number in range(20))]:
        path = top / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(5000))
    return top


def run_mksquashfs(tree: Path, sort_file: Path, image: Path) -> str:
    words: list[str | Path] = [
        "mksquashfs",
        tree,
        image,
        "-sort",
        sort_file,
        "-noD",
        "-no-fragments",
        "-no-progress",
    ]
    done = subprocess.run(words, capture_output=True, check=True)
    return done.stderr.decode(errors="replace")


def run_gensquashfs(tree: Path, sort_file: Path, image: Path) -> str:
    # Random bytes do not shrink, so they stand in the image as they are.
    words: list[str | Path] = ["gensquashfs", "-q", "-D", tree, "--sort-file", sort_file, image]
    done = subprocess.run(words, capture_output=True, check=True)
    return done.stderr.decode(errors="replace")


TOOLS = [
    pytest.param(
        run,
        lines,
        id=name,
        marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"),
    )
    for name, run, lines in [
        ("mksquashfs", run_mksquashfs, mksquashfs_lines),
        ("gensquashfs", run_gensquashfs, gensquashfs_lines),
    ]
]


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize(("run", "lines"), TOOLS)
def test_files_land_in_the_order_of_the_sort_file(
    run: Callable[[Path, Path, Path], str],
    lines: Callable[[list[bytes], Place], list[bytes]],
    place: Place,
    tree: Path,
    tmp_path: Path,
) -> None:
    hot = [b"/" + name for name in NAMES]
    random.Random(3).shuffle(hot)
    (tmp_path / "sort").write_bytes(b"".join(lines(hot, place)))
    said = run(tree, tmp_path / "sort", tmp_path / "image")
    assert "annot" not in said and "no match" not in said, said

    image = (tmp_path / "image").read_bytes()
    paths = [path for path in tree.rglob("*") if path.is_file()]
    found = {b"/" + os.fsencode(path.relative_to(tree)): path.read_bytes() for path in paths}
    places = {name: image.find(content) for name, content in found.items()}
    assert min(places.values()) > 0
    landed = sorted(places, key=places.__getitem__)
    assert len(landed) == len(hot) + 20
    assert (landed[: len(hot)] if place == "start" else landed[20:]) == hot


@pytest.mark.skipif(not shutil.which("mksquashfs"), reason="mksquashfs is not installed")
def test_addresses_in_the_inodes_follow_the_order(tree: Path, tmp_path: Path) -> None:
    """The same with compressed data, judged by the block addresses that the kernel would use."""
    from dissect.squashfs import SquashFS

    source = tmp_path / "source"
    shutil.copytree(tree, source)
    for path in source.rglob("*"):
        if path.is_file():
            path.write_bytes(path.name.encode(errors="surrogateescape") * 5000)
    # dissect.squashfs decodes names as UTF-8.
    hot = [b"/" + name for name in NAMES if b"/" not in name and name.isascii()]
    random.Random(4).shuffle(hot)
    (tmp_path / "sort").write_bytes(b"".join(mksquashfs_lines(hot)))
    image = tmp_path / "image"
    words: list[str | Path] = [
        "mksquashfs",
        source,
        image,
        "-sort",
        tmp_path / "sort",
        "-b",
        "4096",
        "-no-fragments",
    ]
    subprocess.run(words, capture_output=True, check=True)
    with image.open("rb") as stream:
        inodes = SquashFS(stream).get("/").listdir()
        starts = {
            b"/" + os.fsencode(name): inode.header.start_block
            for name, inode in inodes.items()
            if inode.is_file() and b"/" + os.fsencode(name) in hot
        }
    assert sorted(starts, key=starts.__getitem__) == hot


# What names of the list would match if they were taken for patterns.
ALIKE = [*(b"gx", b"starfish", b"whatx", b"yes", b"sub/with/x", b"ab", b"a,b"), b"sub/nested/#not"]


def fragments_of(
    tree: Path, hot: list[bytes], folder: Path
) -> tuple[set[int], set[int], SquashfsLayout]:
    """Pack a tree with the tails of some files apart; return the fragment blocks of both kinds."""
    (folder / "sort").write_bytes(b"".join(mksquashfs_lines(hot, "end")))
    (folder / "action").write_bytes(fragment_action(hot))
    words: list[str | Path] = [
        *("mksquashfs", tree, folder / "image", "-b", "16384", "-no-progress", "-noappend"),
        *("-sort", folder / "sort", "-action-file", folder / "action"),
    ]
    subprocess.run(words, capture_output=True, check=True)
    layout = read_layout(folder / "image")
    files = [
        b"/" + os.fsencode(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()
    ]
    both: tuple[set[int], set[int]] = set(), set()
    for path in files:
        both[path not in hot].add(int(layout.inodes["fragment"][layout.inode_of(path)]))
    return *both, layout


@pytest.mark.skipif(not shutil.which("mksquashfs"), reason="mksquashfs is not installed")
@pytest.mark.parametrize("seed", range(3))
def test_the_tails_of_listed_files_stand_in_fragment_blocks_of_their_own(
    seed: int, tree: Path, tmp_path: Path
) -> None:
    top = tmp_path / "tree"
    shutil.copytree(tree, top)
    source = random.Random(seed)
    for name in ALIKE:
        path = top / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.randbytes(3000))
    # The first time all odd names, the other times half of them: the other half must not come in.
    hot = [b"/" + name for name in (source.sample(NAMES, len(NAMES) // 2) if seed else NAMES)]
    hot_blocks, cold_blocks, layout = fragments_of(top, hot, tmp_path)
    assert hot_blocks and cold_blocks and not hot_blocks & cold_blocks
    assert -1 not in hot_blocks | cold_blocks
    # As full as blocks of 16 KiB get with files of 5,000 bytes, and the last block is a listed one.
    assert len(hot_blocks) == -(-len(hot) // 3)
    starts = layout.fragments["offset_bytes"]
    assert int(starts.argmax()) in hot_blocks


def test_no_listed_file_means_no_action() -> None:
    assert fragment_action([]) == b""


@given(
    st.lists(st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & set(b"\0\n/")))
)
def test_the_paths_of_a_sort_file_can_be_read_back(names: list[bytes]) -> None:
    paths = [b"/" + name for name in dict.fromkeys(names)]
    content = b"".join(mksquashfs_lines(paths))
    assert paths_of_sort_file(content) == paths


def test_what_is_no_line_of_a_sort_file_is_passed_over() -> None:
    content = b"# remark 1\n\nonly-a-path\n  usr/bin/a\\ b  12 \nx\\\\x2d -3\n"
    assert paths_of_sort_file(content) == [b"/usr/bin/a b", b"/x\\x2d"]


def listed(content: bytes) -> PathList:
    return distinct_paths_of(io.BytesIO(content), "list")


@pytest.mark.parametrize(
    ("content", "kind", "paths"),
    [
        (b"", "empty", []),
        (b"# only a comment 3\n", "empty", [b"# only a comment 3"]),
        (b"/b\n/a 3 x\n", "list", [b"/b", b"/a 3 x"]),
        (b"bin/b 1\nbin/a 2\n", "mksquashfs", [b"/bin/a", b"/bin/b"]),
        (b"  bin/b \t -1\n\n# x\n/bin/a\t-2  \n", "mksquashfs", [b"/bin/b", b"/bin/a"]),
        (b"a\\ b\\\\c\\  5\n\\#d 4\n", "mksquashfs", [b"/a b\\c ", b"/#d"]),
        (b"not escaped 5\nx 4\n", "mksquashfs", [b"/not escaped", b"/x"]),
        (b"a 1\nb 2\na 3\n", "mksquashfs", [b"/a", b"/b"]),
        (b"a 1\nb 1\nc 1\n", "mksquashfs", [b"/a", b"/b", b"/c"]),
        (b"far 40000\nfarther -163162\n", "mksquashfs", [b"/far", b"/farther"]),
        (b"3 c\n-1 a\n2 b\n", "gensquashfs", [b"/a", b"/b", b"/c"]),
        (b'1 "a \\"q\\" \\\\"\n0 /b/\n', "gensquashfs", [b"/b/", b'/a "q" \\']),
        (b"1 [align,dont_fragment] a\n2 [glob] *.so\n", "gensquashfs", [b"/a"]),
        (b"32767 bin/a\n32766 bin/b c\n", "draklive", [b"/bin/a", b"/bin/b c"]),
        (b"9 /bin/a\n8 /bin/b\n", "draklive", [b"/bin/a", b"/bin/b"]),
        (b"1 2\n", "mksquashfs", [b"/1"]),
    ],
)
def test_each_kind_of_list_is_recognised_and_put_in_its_order(
    content: bytes, kind: str, paths: list[bytes]
) -> None:
    for text in (content, content.replace(b"\n", b"\r\n")):
        found = listed(text)
        assert (found.kind, list(found.paths)) == (kind, paths)
        assert ("CR LF" in " ".join(found.said)) == (b"\r" in text)


@given(paths=PATHS, place=PLACES)
def test_the_sort_files_that_are_written_here_are_read_back_in_their_order(
    paths: list[bytes], place: Place
) -> None:
    kept = [path for path in paths if path != b"/" and not path.startswith(b"/./")]
    found = listed(b"".join(mksquashfs_lines(kept, place)))
    assert list(found.paths) == kept


def test_a_line_that_is_not_like_the_others_is_named_by_its_number() -> None:
    lines = b"".join(b"file%d 1\n" % number for number in range(20_000))
    with pytest.raises(FormatError, match="list:20001: not 'PATH PRIORITY'") as raised:
        listed(lines + b"no number here\n")
    assert raised.value.hint


def test_logs_that_begin_with_numbers_are_no_sort_files() -> None:
    for line in (
        b'9 open("/b", O_RDONLY) = 3\n',
        b"1795571965 tree/ a b OPEN\n",
        b"11711  python3            3   0 /etc/ld.so.cache\n",
    ):
        assert listed(line).kind == "list"
    with pytest.raises(FormatError, match="e4rat"):
        listed(b"2049 42 /bin/sh\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        listed(content)
