"""Who relies on which version: live's index, pins in the bucket, Tast's data files."""

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError, UsageError
from common.sweep import GRACE, Sweep
from lxd.pins import Version, protected, version_of
from lxd.pins import pin as leave

NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
SERIAL = "20261124_12:10"
OURS = Version("debian:bookworm:amd64:test", SERIAL)
URL = f"gs://cros-containers-staging/72/images/debian/bookworm/amd64/test/{SERIAL}/lxd.tar.xz"


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "cros-containers-staging")


def pin(bucket: DirectoryBucket, content: object, name: str = "72/pins/rollback.json") -> None:
    bucket.upload(json.dumps(content).encode(), name, kind=Kind.POINTER)


def external(folder: Path, content: object) -> Path:
    place = folder / "data"
    place.mkdir(exist_ok=True)
    path = place / "crostini_test_container_metadata_bookworm_amd64.tar.xz.external"
    path.write_text(json.dumps(content))
    return folder


def test_nobody_relies_on_anything_in_an_empty_bucket(bucket: DirectoryBucket) -> None:
    assert protected(bucket, 72, tast=None) == {}


def test_a_pin_is_left_and_found(bucket: DirectoryBucket) -> None:
    name = URL.removeprefix(f"{bucket.url}/")
    bucket.upload(b"x", name, kind=Kind.IMMUTABLE)
    leave(bucket, 72, "uprev", why="tast-tests main", urls=[URL, "gs://elsewhere/72/images/x"], publisher="me")
    assert protected(bucket, 72, tast=None) == {OURS: f"{bucket.url}/72/pins/uprev.json (tast-tests main)"}
    assert protected(bucket, 73, tast=None) == {}


def test_a_pin_keeps_what_is_about_to_be_deleted(bucket: DirectoryBucket) -> None:
    """It was marked long ago; whoever is about to delete it has not seen the pin."""
    name = URL.removeprefix(f"{bucket.url}/")
    bucket.upload(b"x", name, kind=Kind.IMMUTABLE)
    sweep = Sweep(below=["72/"], ours=lambda _name: True, needed=(), grace=lambda _name: GRACE, publisher="prune by me")
    sweep.run(bucket, 72, now=NOW)
    with pytest.raises(ConflictError, match="was taken into use by 'uprev'"):
        sweep.run(
            bucket, 72, now=NOW + GRACE,
            still=lambda: leave(bucket, 72, "uprev", why="", urls=[URL], publisher="uprev"),
        )  # fmt: skip
    assert bucket.stat(name) is not None
    bucket.delete(name)
    with pytest.raises(ArtifactError, match="was pruned"):
        leave(bucket, 72, "uprev", why="again", urls=[URL], publisher="uprev")


@pytest.mark.parametrize("url", [URL, URL.replace("gs://", "https://storage.googleapis.com/")])
def test_a_pin_in_the_bucket_is_relied_on(bucket: DirectoryBucket, url: str) -> None:
    pin(bucket, {"format": 1, "why": "roll back to it", "urls": [url]})
    found = protected(bucket, 72, tast=None)
    assert found == {OURS: "gs://cros-containers-staging/72/pins/rollback.json (roll back to it)"}


def test_what_tast_pins_is_relied_on(bucket: DirectoryBucket, tmp_path: Path) -> None:
    folder = external(tmp_path, {"url": URL, "size": 1, "sha256sum": "0" * 64})
    (tmp_path / "other.external").write_text('{"type": "artifact", "name": "x"}')
    (tmp_path / "another.external").write_text('{"url": "gs://elsewhere/x"}')
    assert protected(bucket, 72, tast=folder) == {
        OURS: "crostini_test_container_metadata_bookworm_amd64.tar.xz.external"
    }


@pytest.mark.parametrize("url", [URL.replace("staging/72", "staging/73"), URL.replace("-staging", ""), "gs://x", ""])
def test_other_buckets_and_milestones_are_no_concern(bucket: DirectoryBucket, url: str) -> None:
    pin(bucket, {"format": 1, "why": "", "urls": [url]})
    assert protected(bucket, 72, tast=None) == {}


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"format": 2, "why": "", "urls": []}, {"format": 1, "why": "", "urls": [1]}, {"format": 1, "urls": []},
        {"format": 1, "why": "", "urls": [URL.replace(SERIAL, "x")]},
    ],
)  # fmt: skip
def test_a_pin_that_cannot_be_read_stops_all(bucket: DirectoryBucket, content: object) -> None:
    pin(bucket, content)
    with pytest.raises(ArtifactError, match=r"^gs://cros-containers-staging/72/pins/rollback\.json"):
        protected(bucket, 72, tast=None)


@pytest.mark.parametrize("text", ["x", "[]", "", "\xff"])
def test_a_data_file_that_cannot_be_read_stops_all(bucket: DirectoryBucket, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.external").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"a\.external is no"):
        protected(bucket, 72, tast=tmp_path)


def test_a_folder_that_is_none_is_named(bucket: DirectoryBucket) -> None:
    with pytest.raises(UsageError, match="'/nowhere' is no folder"):
        protected(bucket, 72, tast=Path("/nowhere"))


@given(st.text(st.sampled_from("images/debian:0129_x")) | st.just(URL.split("/72/")[1]))
def test_a_version_is_read_from_a_path_or_not_at_all(path: str) -> None:
    version = version_of(path)
    assert version is None or path.split("/")[-2] == version.serial
