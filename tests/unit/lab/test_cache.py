from pathlib import Path

import pytest

from lab import cache


def test_key_counts_the_boundaries_between_inputs() -> None:
    assert cache.key("ab", "c") != cache.key("a", "bc")
    assert cache.key("ab", b"c") == cache.key(b"ab", "c")


def test_builds_once_for_the_same_inputs(tmp_path: Path) -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text(f"build {len(made)}")

    path = tmp_path / "deep" / "thing"
    assert cache.build(path, "one", make)
    assert not cache.build(path, "one", make)
    assert path.read_text() == "build 1"
    assert cache.build(path, "two", make)
    assert path.read_text() == "build 2"


def test_an_interrupted_build_is_not_fresh_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    cache.build(path, "one", lambda target: target.mkdir())

    def fail(target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("")
        raise InterruptedError

    with pytest.raises(InterruptedError):
        cache.build(path, "two", fail)
    assert cache.is_fresh(path, "one")
    assert not cache.is_fresh(path, "two")
    assert cache.build(path, "two", lambda target: target.mkdir())
    assert list(path.iterdir()) == []


def test_remove_takes_what_an_interrupted_removal_left(tmp_path: Path) -> None:
    left = tmp_path / ".thing.removed"
    left.mkdir()
    (left / "file").write_text("")
    cache.remove(tmp_path / "thing")
    assert list(tmp_path.iterdir()) == []


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / "link"
    link.symlink_to(kept)
    cache.remove(link)
    assert kept.is_dir()
    assert not link.is_symlink()


def test_scratch_is_empty_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "scratch"
    path.mkdir()
    (path / "old").write_text("")
    with cache.scratch(path) as directory:
        assert list(directory.iterdir()) == []
        (directory / "new").write_text("")
    assert not path.exists()
