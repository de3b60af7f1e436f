"""Where milestones are in a bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from common.milestones import folder_of, object_name, url_of


@pytest.mark.parametrize(("milestone", "folder"), [(69, ""), (70, "70"), (72, "72"), (120, "120")])
def test_69_is_at_the_top_and_70_has_a_folder(milestone: int, folder: str) -> None:
    assert folder_of(milestone) == folder


@pytest.mark.parametrize("milestone", [68, 1, -72])
def test_earlier_milestones_are_refused(milestone: int) -> None:
    with pytest.raises(UsageError, match=f"milestone {milestone} has no containers"):
        folder_of(milestone)
    with pytest.raises(UsageError, match=f"milestone {milestone} has no containers"):
        object_name(milestone, "pool")


def test_none_is_named() -> None:
    with pytest.raises(UsageError, match="no milestone is named"):
        folder_of(0)


@given(st.integers(70, 10000), st.integers(70, 10000))
def test_no_two_milestones_share_an_object(one: int, other: int) -> None:
    assert (object_name(one, "streams/v1/images.json") == object_name(other, "streams/v1/images.json")) == (
        one == other
    )


def test_the_object_of_a_path() -> None:
    assert object_name(69, "streams/v1/images.json") == "streams/v1/images.json"
    assert object_name(72, "streams/v1/images.json") == "72/streams/v1/images.json"
    assert url_of("gs://cros-packages", 69) == "gs://cros-packages"
    assert url_of("gs://cros-packages", 72) == "gs://cros-packages/72"
