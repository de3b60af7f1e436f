import os
from pathlib import Path

import pytest

from common import tools
from common.errors import ConfigError
from kokoro.sources import Tree


def git(path: Path, *words: str, date: str = "2020-01-01T00:00:00Z") -> None:
    identity = {f"GIT_{who}_{what}": "x@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    tools.capture(["git", "-C", path, *words], env={**identity, **dates})


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    (path / "debs").mkdir(parents=True)
    (path / "debs" / "a").write_text("a")
    (path / "docs").mkdir()
    (path / "docs" / "d").write_text("d")
    (path / ".gitignore").write_text("*.pyc\n")
    git(path.parent, "init", "--quiet", "repo")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--message", "one")
    return path


def test_untracked_files_count_and_ignored_ones_do_not(repo: Path) -> None:
    (repo / "debs" / "new").write_text("n")
    (repo / "debs" / "x.pyc").write_text("x")
    assert Tree(repo).select(["debs/**"]) == ("debs/a", "debs/new")


def test_a_removed_file_is_not_a_source(repo: Path) -> None:
    (repo / "debs" / "a").unlink()
    assert Tree(repo).select(["debs/**"]) == ()


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_the_digest_changes_with(repo: Path, change: str) -> None:
    before = Tree(repo).digest(Tree(repo).select(["debs/**"]))
    file = repo / "debs" / "a"
    match change:
        case "content":
            file.write_text("b")
        case "mode":
            file.chmod(0o755)
        case _:
            file.rename(repo / "debs" / "b")
    assert Tree(repo).digest(Tree(repo).select(["debs/**"])) != before


def test_the_digest_ignores_other_files_and_times(repo: Path) -> None:
    before = Tree(repo).digest(Tree(repo).select(["debs/**"]))
    (repo / "docs" / "d").write_text("changed")
    os.utime(repo / "debs" / "a", (1, 1))
    assert Tree(repo).digest(Tree(repo).select(["debs/**"])) == before


def test_the_epoch_is_that_of_the_last_commit_that_touched_the_sources(repo: Path) -> None:
    (repo / "docs" / "d").write_text("later")
    git(repo, "commit", "--all", "--quiet", "--message", "two", date="2021-01-01T00:00:00Z")
    tree = Tree(repo)
    assert tree.epoch(("debs/a",)) == 1577836800
    assert tree.epoch(("debs/a", "docs/d")) == 1609459200


def test_the_epoch_of_an_edit_is_its_time(repo: Path) -> None:
    (repo / "debs" / "a").write_text("edited")
    os.utime(repo / "debs" / "a", (2000000000, 2000000000))
    assert Tree(repo).epoch(("debs/a",)) == 2000000000


def test_the_copy_keeps_symlinks_and_executables_and_nothing_others_can_write(repo: Path, tmp_path: Path) -> None:
    (repo / "debs" / "link").symlink_to("a")
    script = repo / "debs" / "s.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o777)
    tree = Tree(repo)
    tree.copy(tree.select(["debs/**"]), tmp_path / "copy")
    copied = tmp_path / "copy" / "debs"
    assert (copied / "link").readlink() == Path("a")
    assert (copied / "s.sh").stat().st_mode & 0o777 == 0o755
    assert (copied / "a").stat().st_mode & 0o777 == 0o644


def test_no_checkout_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a git checkout"):
        Tree(tmp_path).select(["**"])
