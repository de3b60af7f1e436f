"""Manifests: a round trip of any names, and every kind of difference found."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError
from common.files import sha256_of
from common.manifest import Entry, Manifest

_SEGMENTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=3).map("/".join)
_ENTRIES = st.builds(
    Entry, path=_PATHS, size=st.integers(0, 2**50), sha256=st.text(string.hexdigits[:16], min_size=64, max_size=64)
)


@given(st.lists(_ENTRIES, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    manifest = Manifest(tuple(sorted(entries)))
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    manifest.write(path)
    again = Manifest.read(path)
    assert again == manifest
    assert again.digest() == manifest.digest()
    assert again.size == sum(entry.size for entry in entries)


@given(st.lists(_ENTRIES, max_size=3), st.lists(_ENTRIES, max_size=3))
def test_other_entries_have_another_digest(some: list[Entry], others: list[Entry]) -> None:
    assert (Manifest(tuple(some)).digest() == Manifest(tuple(others)).digest()) is (some == others)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "b").write_text("bb")
    (root / "a b").write_text("a")
    return root


def test_of_a_directory(tree: Path) -> None:
    manifest = Manifest.of(tree)
    assert [(entry.path, entry.size) for entry in manifest.entries] == [("a b", 1), ("deep/er/b", 2)]
    assert manifest.entries[0].sha256 == sha256_of(tree / "a b")
    manifest.check(tree)


def test_one_artifact_a_line(tree: Path, tmp_path: Path) -> None:
    Manifest.of(tree).write(tmp_path / "m.json")
    assert len((tmp_path / "m.json").read_text().splitlines()) == 4


def test_a_symlink_is_no_artifact(tree: Path) -> None:
    (tree / "link").symlink_to("a b")
    with pytest.raises(ArtifactError, match="artifact 'link' is a symlink"):
        Manifest.of(tree)


def test_every_difference_is_named(tree: Path) -> None:
    (tree / "c").write_text("c")
    manifest = Manifest.of(tree)
    (tree / "a b").write_text("x")
    (tree / "c").unlink()
    (tree / "deep" / "er" / "b").write_text("bbb")
    with pytest.raises(ArtifactError, match="is not what its manifest says") as caught:
        manifest.check(tree)
    assert caught.value.details.splitlines() == [
        "a b: its content has changed",
        "c: No such file or directory",
        "deep/er/b: 3 bytes instead of 2",
    ]


_GOOD = {"path": "a", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not a manifest"),
        ("{", "is not a manifest"),
        ("[]", "is not a manifest"),
        ("{}", "is not a manifest: 'format'"),
        (json.dumps({"format": 2, "artifacts": []}), "format 2 is not 1"),
        (json.dumps({"format": 1, "artifacts": 3}), "is not a manifest"),
        (json.dumps({"format": 1, "artifacts": [{"path": "a"}]}), "is not a manifest"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "mode": 1}]}), "is not a manifest"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "path": "../a"}]}), "'../a' is not a path below a directory"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "path": "/a"}]}), "'/a' is not a path below a directory"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "path": ""}]}), "'' is not a path below a directory"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "path": 3}]}), "is not a manifest"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "size": "1"}]}), "'a' has no size and SHA-256"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "size": True}]}), "'a' has no size and SHA-256"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "sha256": "00"}]}), "'a' has no size and SHA-256"),
        (json.dumps({"format": 1, "artifacts": [{**_GOOD, "sha256": None}]}), "is not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(ArtifactError) as caught:
        Manifest.read(path)
    assert says in caught.value.what
    assert caught.value.hint


def test_a_missing_manifest_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        Manifest.read(tmp_path / "none.json")
