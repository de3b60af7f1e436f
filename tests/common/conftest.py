"""The storages a bucket can be in, each started once for a module of tests."""

from collections.abc import Iterator

import pytest

from common.bucket import Bucket
from tests.common.buckets import PLACES, Place


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each kind of storage."""
    with PLACES[request.param](tmp_path_factory.mktemp("gs")) as place:
        yield place


@pytest.fixture
def bucket(place: Place) -> Iterator[Bucket]:
    """An empty bucket of each kind."""
    with place.bucket() as bucket:
        yield bucket
