"""What a bucket shows of a repository; the rest is seen where it is used (tests/scripts)."""

from pathlib import Path

import pytest

from common.aptstate import apt_state
from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError


def test_a_damaged_inrelease_is_named(tmp_path: Path) -> None:
    bucket = DirectoryBucket(tmp_path / "b")
    assert apt_state(bucket, 72) is None
    bucket.upload(b"Codename: bookworm\n", "72/dists/bookworm/InRelease", kind=Kind.POINTER)
    with pytest.raises(ArtifactError, match=r"^gs://b/72/dists/bookworm/InRelease: a Release file lists no SHA256"):
        apt_state(bucket, 72)
