# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from bootprof import files
from bootprof.builder import store
from bootprof.process import run, wait_for


def test_a_thing_is_made_once_and_then_reused(tmp_path: Path) -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text("whole")

    first, reused_first = store.obtain(tmp_path, "thing", "0123", make, ".txt")
    second, reused_second = store.obtain(tmp_path, "thing", "0123", make, ".txt")
    assert first == second == tmp_path / "thing-0123.txt"
    assert (reused_first, reused_second, len(made)) == (False, True, 1)
    assert made[0] != first


def test_an_interrupted_step_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def make(target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.obtain(tmp_path, "thing", "0123", make)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_removed_by_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / f"{files.UNFINISHED}abcd1234"
    leftover.mkdir()
    with store.locked(tmp_path):
        assert not leftover.exists()


def hold(folder: Path, held: Event) -> None:
    with store.locked(folder):
        held.set()
        time.sleep(0.5)
        (folder / "done").touch()


def test_a_second_build_in_one_folder_waits_for_the_first_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path, held))
    other.start()
    assert held.wait(10)
    with store.locked(tmp_path):
        assert (tmp_path / "done").exists()
    other.join()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"waiting for another bootprof that is at work in {tmp_path} ..."


def slow(target: Path) -> None:
    time.sleep(0.5)
    target.write_text("whole")


def make_slowly(folder: Path, started: Event) -> None:
    def make(target: Path) -> None:
        started.set()
        slow(target)

    store.obtain(folder, "kernel", "0", make)


def test_an_entry_is_made_beside_a_build_and_only_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    other = context.Process(target=make_slowly, args=(tmp_path, started))
    with store.locked(tmp_path), store.opened(tmp_path):
        other.start()
        assert started.wait(10)
        found, reused = store.obtain(tmp_path, "kernel", "0", slow)
        assert (found.read_text(), reused) == ("whole", True)
        assert not store.obtain(tmp_path, "kernel", "1", slow)[1]
    other.join()
    assert f"waiting for another bootprof that makes {found} ..." in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "kernel-0", "kernel-1"]


def stay_behind(folder: Path) -> None:
    def make(target: Path) -> None:
        # As a program that a build has started, and that outlives it.
        run(["sh", "-c", 'sleep 1; : > "$0"', target.parent.parent / "done"])

    store.obtain(folder, "thing", "0", make)


def test_the_lock_of_a_killed_maker_lasts_as_long_as_its_programs(tmp_path: Path) -> None:
    other = multiprocessing.get_context("fork").Process(target=stay_behind, args=(tmp_path,))
    other.start()
    lock = tmp_path / ".lock-thing-0"
    assert wait_for(lambda: lock.exists() and bool(list(tmp_path.glob(f"{files.UNFINISHED}*"))), 10)
    other.kill()
    other.join()
    _, reused = store.obtain(tmp_path, "thing", "0", slow)
    assert not reused
    assert not lock.exists()


def test_digest_depends_on_content_of_files_and_not_on_their_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("same")
    two.write_text("same")
    assert store.digest_of(1, one) == store.digest_of(1, two)
    two.write_text("other")
    assert store.digest_of(1, one) != store.digest_of(1, two)


def test_remove_follows_no_symbolic_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / "link"
    link.symlink_to(kept)
    files.remove(link)
    assert kept.is_dir()
    assert not link.is_symlink()


def test_what_was_used_last_stays_in_the_cache(tmp_path: Path) -> None:
    def make(target: Path) -> None:
        target.mkdir()

    for digest in "abcd":
        store.obtain(tmp_path, "root", digest, make)
        os.utime(tmp_path / f"root-{digest}", ns=(10**9, 10**9))
    (tmp_path / "rooted-x").mkdir()
    used, _ = store.obtain(tmp_path, "root", "b", make)
    assert used.stat().st_mtime_ns == 10**9
    os.utime(tmp_path / "root-d", ns=(10**10, 10**9))
    store.prune(tmp_path, "root", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root-b", "root-d", "rooted-x"]


def test_a_thing_that_is_made_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for number in range(2):

        def make(target: Path, number: int = number) -> None:
            target.mkdir()
            (target / str(number)).touch()

        folder, reused = store.obtain(tmp_path, "thing", "0", make, again=True)
        assert not reused
    assert [path.name for path in folder.iterdir()] == ["1"]
