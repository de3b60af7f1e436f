"""Release files read and rewritten, by-hash copies, agreement within a repository, and the order of publication."""

import contextlib
import datetime as dt
import hashlib
import random
from pathlib import Path

import pytest
from debian.deb822 import Release
from hypothesis import given
from hypothesis import strategies as st

from common import aptrepo
from common.aptrepo import Index
from common.errors import ArtifactError
from common.manifest import Manifest

DATE = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
DIGEST = "ab" * 32
TEXT = f"""\
Origin: Google
Codename: trixie
Date: Mon, 01 Jan 2024 00:00:00 UTC
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages
SHA256:
 {DIGEST} 12 main/binary-amd64/Packages
Description: a repository
"""


def test_indices() -> None:
    [index] = aptrepo.indices_of(TEXT)
    assert index == Index("main/binary-amd64/Packages", 12, DIGEST)
    assert index.by_hash == f"main/binary-amd64/by-hash/SHA256/{DIGEST}"


@pytest.mark.parametrize("path", ["../Release", "main/../../x", "/etc/passwd", "main//x", "."])
def test_an_index_that_leaves_its_directory(path: str) -> None:
    with pytest.raises(ArtifactError, match="a Release file lists") as caught:
        aptrepo.indices_of(TEXT.replace("main/binary-amd64/Packages\nDesc", f"{path}\nDesc"))
    assert repr(path) in str(caught.value)


def test_a_release_without_indices() -> None:
    with pytest.raises(ArtifactError, match="lists no SHA256"):
        aptrepo.indices_of("Origin: Google\n")


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    for read in (aptrepo.indices_of, aptrepo.date_of):
        with contextlib.suppress(ArtifactError):
            read(text)


@given(st.datetimes(min_value=dt.datetime(1971, 1, 1), max_value=dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001
def test_a_date_survives(date: dt.datetime) -> None:
    assert aptrepo.date_of(aptrepo.redated(TEXT, date)) == date.replace(microsecond=0)


def test_redated_is_otherwise_the_same() -> None:
    before, after = Release(TEXT), Release(aptrepo.redated(TEXT, DATE))
    assert after["Date"] == "Tue, 14 Nov 2023 22:13:20 UTC"
    assert {**before, "Date": ""} == {**after, "Date": ""}


def test_for_clients() -> None:
    text = aptrepo.for_clients(TEXT, DATE)
    fields = Release(text)
    assert fields["Acquire-By-Hash"] == "yes"
    assert "MD5Sum" not in fields
    assert aptrepo.indices_of(text) == aptrepo.indices_of(TEXT)
    assert text.rstrip().endswith("main/binary-amd64/Packages")
    assert aptrepo.for_clients(text, DATE) == text


def repository(root: Path) -> Manifest:
    """A repository of one package."""
    deb = root / "pool/main/a/a_1_all.deb"
    packages = root / "dists/trixie/main/binary-amd64/Packages"
    for path in (deb, packages):
        path.parent.mkdir(parents=True)
    deb.write_bytes(b"package")
    digest = hashlib.sha256(b"package").hexdigest()
    packages.write_text(f"Package: a\nFilename: pool/main/a/a_1_all.deb\nSize: 7\nSHA256: {digest}\n")
    size, index = packages.stat().st_size, hashlib.sha256(packages.read_bytes()).hexdigest()
    (root / "dists/trixie/Release").write_text(
        f"Codename: trixie\nSHA256:\n {index} {size} main/binary-amd64/Packages\n"
    )
    return Manifest.of(root)


def test_it_agrees_with_itself(tmp_path: Path) -> None:
    aptrepo.check_contents(tmp_path, repository(tmp_path))


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("pool/main/a/a_1_all.deb", b"PACKAGE", "pool/main/a/a_1_all.deb: not what dists/trixie"),
        ("pool/main/b/b_1_all.deb", b"more", "pool/main/b/b_1_all.deb: in no index"),
        ("dists/trixie/main/binary-amd64/Packages", b"Package: a\n", "Packages: not what its Release file says"),
    ],
)
def test_it_does_not(tmp_path: Path, path: str, content: bytes, says: str) -> None:
    repository(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(content)
    with pytest.raises(ArtifactError, match="does not agree with itself") as caught:
        aptrepo.check_contents(tmp_path, Manifest.of(tmp_path))
    assert says in caught.value.details


def test_no_codename(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has no dists"):
        aptrepo.codenames(tmp_path)


def test_by_hash(tmp_path: Path) -> None:
    repository(tmp_path)
    dist = tmp_path / "dists/trixie"
    [index] = aptrepo.indices_of((dist / "Release").read_text())
    aptrepo.add_by_hash(dist, [index])
    assert (dist / index.by_hash).read_bytes() == (dist / index.path).read_bytes()


def test_the_order() -> None:
    order = [
        "pool/main/a/a_1_all.deb",
        f"dists/trixie/main/binary-amd64/by-hash/SHA256/{DIGEST}",
        "cros-archive-keyring.asc",
        "dists/trixie/main/binary-amd64/Packages.gz",
        "dists/trixie/Release",
        "dists/trixie/Release.gpg",
        "dists/trixie/InRelease",
    ]
    mixed = random.Random(1).sample(order, len(order))
    assert sorted(mixed, key=aptrepo.rank) == order
    # an index of a component called Release comes with the indices
    assert aptrepo.rank("dists/trixie/main/binary-amd64/Release") == aptrepo.rank(order[3])
