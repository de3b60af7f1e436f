"""Ant's globs: the manual's own examples, a brute-force reference, and what select() walks and refuses."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError
from kokoro.ant import matches, select


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        # from Ant's manual, "Directory-based Tasks"
        ("*.java", "FooBar.java", True),
        ("*.java", ".java", True),
        ("*.java", "FooBar.xml", False),
        ("?.java", "x.java", True),
        ("?.java", ".java", False),
        ("?.java", "xyz.java", False),
        ("**/CVS/*", "CVS/Repository", True),
        ("**/CVS/*", "org/apache/jakarta/tools/ant/CVS/Entries", True),
        ("**/CVS/*", "org/apache/CVS/foo/bar/Entries", False),
        ("org/apache/jakarta/**", "org/apache/jakarta/tools/ant/docs/index.html", True),
        ("org/apache/jakarta/**", "org/apache/xyz.java", False),
        ("org/apache/**/CVS/*", "org/apache/CVS/Entries", True),
        ("org/apache/**/CVS/*", "org/apache/jakarta/tools/ant/CVS/Entries", True),
        ("org/apache/**/CVS/*", "org/apache/CVS/foo/bar/Entries", False),
        ("**/test/**", "a/test/b", True),
        ("**/test/**", "a/tests/b", False),
        ("mypackage/test/", "mypackage/test/a/b", True),
        ("mypackage\\test\\", "mypackage/test/a/b", True),
        # from .cfg files
        ("**/*sponge_log.xml", "sponge_log.xml", True),
        ("**/*sponge_log.xml", "lxd/bookworm/unit_sponge_log.xml", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("**/*", "a/b/c", True),
        ("logs/**/*", "logs/a", True),
        ("buster_mesa_debs/*.deb", "buster_mesa_debs/x.deb", True),
        ("buster_mesa_debs/*.deb", "buster_mesa_debs/x/y.deb", False),
        # what means itself, and what is no more than a star
        ("a[bc]", "ab", False),
        ("a[bc]", "a[bc]", True),
        ("{a,b}", "a", False),
        ("A", "a", False),
        ("a**", "a/b", False),
        ("a**b", "axyb", True),
        ("***", "a", True),
        ("***", "a/b", False),
        ("/a", "a", False),
        ("", "a", False),
        ("**/**/**/**/x", "x", True),
    ],
)
def test_documented_examples(pattern: str, path: str, wanted: bool) -> None:
    assert matches(pattern, path) is wanted


def _reference(pattern: list[str], path: list[str]) -> bool:
    """The definition, tried every way."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_reference(pattern[1:], path[cut:]) for cut in range(len(path) + 1))
    return bool(path) and _letters(pattern[0], path[0]) and _reference(pattern[1:], path[1:])


def _letters(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return any(_letters(glob[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and _letters(glob[1:], text[1:])


_SEGMENTS = st.one_of(st.just("**"), st.text("ab*?[]{}.\n", min_size=1, max_size=5))
_NAMES = st.text("ab[]{}.\n", min_size=1, max_size=4)


@given(st.lists(_SEGMENTS, min_size=1, max_size=5), st.lists(_NAMES, min_size=1, max_size=5), st.booleans())
def test_agrees_with_the_definition(pattern: list[str], path: list[str], slash: bool) -> None:
    wanted = _reference([*pattern, "**"] if slash else pattern, path)
    assert matches("/".join(pattern) + "/" * slash, "/".join(path)) is wanted


@given(st.lists(_SEGMENTS, min_size=1, max_size=4), st.sets(st.sampled_from(["a", "b/a", "b/ab", "c/d/e/f", "c/d/g"])))
def test_select_finds_what_matches(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[str], paths: set[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    _fill(root, *paths)
    text = "/".join(pattern)
    assert list(select(root, [text])) == sorted(path for path in paths if matches(text, path))


def _fill(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


@pytest.mark.parametrize("prefix", ["git/src", "git/src/", "/git/src/"])
def test_strip_prefix_with_and_without_slash(tmp_path: Path, prefix: str) -> None:
    _fill(tmp_path, "git/src/lxd/a", "sponge_log.xml", "git/src2/sponge_log.xml")
    found = select(tmp_path, ["git/src/lxd/**", "**/*sponge_log.xml"], prefix)
    assert found == {
        "git/src2/sponge_log.xml": tmp_path / "git/src2/sponge_log.xml",
        "lxd/a": tmp_path / "git/src/lxd/a",
        "sponge_log.xml": tmp_path / "sponge_log.xml",
    }


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    _fill(tmp_path, "a/x.deb", "x.deb")
    with pytest.raises(ArtifactError, match=r"two artifacts would be named 'x.deb': 'a/x.deb' and 'x.deb'"):
        select(tmp_path, ["**/*.deb"], "a")


def test_a_file_named_like_a_directory_is_refused(tmp_path: Path) -> None:
    _fill(tmp_path, "p/a", "a/b")
    with pytest.raises(ArtifactError, match=r"artifact 'a/b' lies in a directory named like artifact 'a'"):
        select(tmp_path, ["**"], "p")


def test_directories_no_pattern_reaches_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, "git/src/x", "lxd/a/b", "lxd/c")
    read: list[str] = []
    real = os.scandir

    def counted(path: Path) -> object:
        read.append(path.relative_to(tmp_path).as_posix())
        return real(path)

    monkeypatch.setattr("kokoro.ant.os.scandir", counted)
    assert list(select(tmp_path, ["lxd/**", "*.xml", "git"])) == ["lxd/a/b", "lxd/c"]
    assert read == [".", "lxd", "lxd/a"]


def test_links_stay_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    _fill(outside, "secret")
    _fill(root, "real/file")
    (root / "out").symlink_to(outside)
    (root / "secret").symlink_to(outside / "secret")
    (root / "in").symlink_to("real")
    (root / "name").symlink_to("real/file")
    (root / "real" / "loop").symlink_to("..")
    (root / "broken").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        assert list(select(root, ["**"])) == ["in/file", "name", "real/file"]
    assert "secret is a link that leads out of" in caplog.text
    assert "out is a link that leads out of" in caplog.text
