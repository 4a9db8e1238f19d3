# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""First-access order, filters, and paths that are looked up in a root."""

import os
import posixpath
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.order import (
    DEFAULT_EXCLUDES,
    IMAGE_EXCLUDES,
    NOT_ON_IMAGE,
    Arrangement,
    Resolver,
    arrange,
    compile_excludes,
    normalise,
)

NOTHING = compile_excludes([])


def arranged(*paths: bytes, **options: object) -> Arrangement:
    return arrange(paths, **{"excluded": NOTHING, **options})  # type: ignore[arg-type]


def test_first_access_decides() -> None:
    result = arranged(b"/b", b"/a", b"/b", b"/c", b"/a")
    assert result == Arrangement(paths=[b"/b", b"/a", b"/c"], read=3)


def test_paths_are_normalised_before_they_are_compared() -> None:
    result = arranged(b"/b//c", b"/b/./c", b"/x/../b/c", b"/../../a", b"/.hidden/..x")
    assert result.paths == [b"/b/c", b"/a", b"/.hidden/..x"]
    assert result.repeated == 2


def test_without_a_root_directories_are_left_out_where_their_names_tell() -> None:
    result = arranged(b"/", b"/usr", b"/etc/", b"/usr/bin/a", b"/srv/.", b"/usr/bin", b"/b", b"//")
    assert result == Arrangement(paths=[b"/usr/bin/a", b"/b"], read=8, directories=6)


@given(st.lists(st.text("ab/", max_size=6), max_size=12))
def test_no_path_of_the_result_lies_below_another(texts: list[str]) -> None:
    paths = arranged(*(b"/" + text.encode() for text in texts)).paths
    assert not any(one.startswith(other + b"/") for one in paths for other in paths)
    assert b"/" not in paths


def test_the_image_has_no_file_below_what_a_running_system_mounts() -> None:
    excluded = compile_excludes(IMAGE_EXCLUDES)
    out = [b"/run/udev/queue", b"/tmp/x", b"/var/run/utmp", b"/cdrom/casper/x", b"/dev/null"]
    stays = [b"/runit/a", b"/tmpfiles", b"/usr/run/x", b"/var/tmp/y", b"/cdroms"]
    result = arranged(*out, *stays, excluded=excluded)
    assert (result.paths, result.excluded) == (stays, len(out))
    assert {b"iso9660", b"udf", b"tmpfs"} <= NOT_ON_IMAGE


def test_what_is_no_absolute_path_is_left_out_and_counted() -> None:
    result = arranged(b"pipe:[4711]", b"/a", b"usr/bin/x", b"")
    assert result == Arrangement(paths=[b"/a"], read=4, not_absolute=3)


@given(st.text("ab./", max_size=12))
def test_normalise_agrees_with_posixpath(text: str) -> None:
    expected = posixpath.normpath("/" + text).replace("//", "/").encode()
    assert normalise(b"/" + text.encode()) == expected
    is_directory = text.endswith(("/", "/.", "/..")) or text in ("", ".", "..")
    assert arranged(b"/" + text.encode()).paths == (
        [] if is_directory or expected == b"/" else [expected]
    )


def test_default_filter_goes_by_component() -> None:
    excluded = compile_excludes(DEFAULT_EXCLUDES)
    out = [b"/dev", b"/dev/null", b"/proc/1/stat", b"/sys/kernel", b"/live/distrib/x", b"/x/../sys"]
    stays = [b"/sysroot", b"/development/a", b"/procps", b"/live/distribution", b"/usr/dev"]
    result = arranged(*out, *stays, excluded=excluded)
    assert result.paths == stays
    assert result.excluded == len(out)


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("/usr/share", ["/usr/share", "/usr/share/doc/x"], ["/usr/share2", "/x/usr/share"]),
        ("/usr/share/", ["/usr/share", "/usr/share/doc"], ["/usr/sharedoc"]),
        ("/", ["/", "/a", "/a/b"], []),
        ("*.pyc", ["/a.pyc", "/usr/x/.pyc", "/d.pyc/below"], ["/a.pyc2", "/a.py"]),
        ("__pycache__", ["/usr/__pycache__/x", "/__pycache__"], ["/x__pycache__"]),
        ("doc/copyright", ["/usr/doc/copyright", "/doc/copyright"], ["/adoc/copyright"]),
        ("/var/*/x", ["/var/a/x", "/var//x/y"], ["/var/a/b/x", "/var/x"]),
        ("/var/**/x", ["/var/x", "/var/a/b/x/y"], ["/varx", "/var/ax"]),
        ("/a?c", ["/abc", "/a\nc", "/a.c"], ["/a/c", "/ac"]),
        ("/[a-c]x", ["/ax", "/cx"], ["/dx", "//x"]),
        ("/[!a-c]x", ["/dx", "/^x"], ["/ax", "//x"]),
        ("/[]x]", ["/]", "/x"], ["/a"]),
        ("/[", ["/["], ["/a"]),
        (r"/\*", ["/*"], ["/a"]),
        ("/a.b+(c)", ["/a.b+(c)"], ["/aXb+(c)"]),
        (r"/x\x2dy", ["/xx2dy"], [r"/x\x2dy"]),
        (r"/x\\x2dy", [r"/x\x2dy"], ["/xx2dy"]),
    ],
)
def test_exclude_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    excluded = compile_excludes([pattern.encode()])
    for path in matches:
        assert excluded(path.encode()), path
    for path in others:
        assert not excluded(path.encode()), path


def test_patterns_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="empty pattern"):
        compile_excludes([b""])
    with pytest.raises(InputError, match="z-a"):
        compile_excludes([b"/[z-a]"])


@given(st.lists(st.text(r"a*?[]!^-&|~\/.{}()+", min_size=1, max_size=8).map(str.encode)))
def test_any_pattern_compiles_or_is_refused(patterns: list[bytes]) -> None:
    try:
        compile_excludes(patterns)(b"/a/b")
    except InputError as error:
        assert "--exclude" in error.message


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with merged /usr, links of every kind, and a secret beside it."""
    (tmp_path / "secret").write_text("outside")
    top = tmp_path / "root"
    for folder in ("usr/lib", "usr/bin", "etc/alternatives", "run", "secret.d"):
        (top / folder).mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    (top / "bin").symlink_to("/usr/bin")
    (top / "usr/lib/libc.so.6").write_text("libc")
    (top / "usr/bin/mawk").write_text("mawk")
    (top / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    (top / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (top / "etc/mtab").symlink_to("../proc/self/mounts")
    (top / "etc/fstab").write_text("fstab")
    os.link(top / "etc/fstab", top / "etc/fstab.hard")
    (top / "loop").symlink_to("loop")
    (top / "ring-a").symlink_to("ring-b/x")
    (top / "ring-b").symlink_to("/ring-a")
    (top / "escape").symlink_to("../secret")
    (top / "escape-far").symlink_to("../" * 30 + str(tmp_path / "secret").lstrip("/"))
    (top / "escape-absolute").symlink_to(tmp_path / "secret")
    (top / "escape-folder").symlink_to(tmp_path)
    os.mkfifo(top / "run/pipe")
    return top


def test_links_are_resolved_in_the_root(root: Path) -> None:
    result = arranged(
        b"/lib/libc.so.6", b"/bin/awk", b"/usr/lib/libc.so.6", b"/usr/bin/mawk", root=root
    )
    assert result == Arrangement(
        paths=[b"/usr/lib/libc.so.6", b"/usr/bin/mawk"], read=4, repeated=2
    )


def test_dots_follow_the_link_and_not_the_text(root: Path) -> None:
    (root / "usr/fstab").write_text("other")
    result = arranged(b"/lib/../fstab", b"/lib/./../lib//libc.so.6", root=root)
    assert result.paths == [b"/usr/fstab", b"/usr/lib/libc.so.6"]


def test_what_is_not_a_file_of_the_root_is_left_out_by_kind(root: Path) -> None:
    result = arranged(
        *(b"/gone", b"/etc/mtab", b"/etc/fstab/below", b"/loop", b"/ring-a", b"/" + b"x" * 300),
        *(b"/usr", b"/lib", b"/run/pipe", b"/", b"/usr/lib/..", b"/" + b"x/" * 5000),
        *(b"/etc/fstab", b"relative"),
        root=root,
    )
    assert result == Arrangement(
        paths=[b"/etc/fstab"], read=14, not_absolute=1, missing=7, not_regular=5
    )


@pytest.mark.parametrize(
    "path",
    [b"/escape", b"/escape-far", b"/escape-absolute", b"/../secret", b"/escape-folder/secret"],
)
def test_no_path_leads_out_of_the_root(root: Path, path: bytes) -> None:
    result = arranged(path, root=root)
    assert result.paths == []
    assert result.missing == 1
    (root / "secret").write_text("inside")
    # Only where the link is relative and leaves at the top does it find the file inside.
    assert set(arranged(path, root=root).paths) <= {b"/secret"}


def test_links_to_an_excluded_place_are_left_out(root: Path) -> None:
    result = arranged(b"/bin/awk", root=root, excluded=compile_excludes([b"/usr/bin"]))
    assert result == Arrangement(paths=[], read=1, excluded=1)


def test_hard_links_count_once_if_asked(root: Path) -> None:
    names = [b"/etc/fstab.hard", b"/etc/fstab"]
    assert arranged(*names, root=root).paths == names
    once = arranged(*names, root=root, hard_links_once=True)
    assert once == Arrangement(paths=names[:1], read=2, repeated=1)


def test_a_root_that_is_no_directory_is_refused(root: Path) -> None:
    for wrong in (root / "gone", root / "etc/fstab"):
        with pytest.raises(InputError, match="not a directory"):
            arranged(b"/a", root=wrong)


def test_the_root_may_be_reached_by_a_link_and_may_be_the_real_one(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(root)
    assert arranged(b"/etc/fstab", root=tmp_path / "link").paths == [b"/etc/fstab"]
    real = os.fsencode(os.path.realpath(__file__))
    assert arranged(real, root=Path("/")).paths == [real]


def test_closed_directories_are_counted_apart() -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        top.chmod(0o755)
        (top / "closed").mkdir(mode=0)
        (top / "closed/file").touch()
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            result = arranged(b"/closed/file", b"/gone", root=top)
        finally:
            os.seteuid(user)
            (top / "closed").chmod(0o755)
    assert result == Arrangement(paths=[], read=2, missing=1, unreadable=1)


def test_deep_links_end_where_the_kernel_ends_them(tmp_path: Path) -> None:
    (tmp_path / "0").write_text("file")
    for number in range(1, 42):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    resolver = Resolver(tmp_path)
    assert resolver.resolve(b"/40")[0] == b"/0"
    assert Path(tmp_path / "40").read_text() == "file"
    with pytest.raises(OSError, match="symbolic links"):
        resolver.resolve(b"/41")
    with pytest.raises(OSError, match="symbolic links"):
        (tmp_path / "41").read_text()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@given(
    links=st.dictionaries(
        st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a"]),
        st.lists(
            st.sampled_from(["a", "b", "d", "d/e", "e", "..", ".", "/", "/d/", "file"]),
            min_size=1,
            max_size=4,
        ).map("/".join),
    ),
    path=st.lists(st.sampled_from(["a", "b", "d", "e", "file", "..", "."]), max_size=6),
)
def test_resolver_agrees_with_the_kernel_in_a_chroot(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], path: list[str]
) -> None:
    top = tmp_path_factory.mktemp("root")
    (top / "d/e").mkdir(parents=True)
    for folder in ("", "d", "d/e"):
        (top / folder / "file").touch()
    for name, target in links.items():
        (top / name).symlink_to(target)
    text = "/" + "/".join(path)
    try:
        found = Resolver(top).resolve(text.encode())[1].st_ino
    except OSError:
        found = None
    assert found == inode_in_chroot(top, text)


def inode_in_chroot(top: Path, path: str) -> int | None:
    """Ask the kernel, in a child process, what a path is for a process with that root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chroot(top)
            # pathlib would take the dots out of the path.
            os.write(writer, b"%d" % os.stat(path).st_ino)  # noqa: PTH116
        except OSError:
            os.write(writer, b"none")
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, 64)
    os.close(reader)
    os.waitpid(child, 0)
    return None if answer == b"none" else int(answer)
