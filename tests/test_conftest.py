"""What conftest.py arranges."""

import pytest


def test_tests_that_share_something_stay_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist sees a group by the end of a test's name; it has failed to put it there without a word."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process runs everything")
    assert request.node.nodeid.endswith(f"@{request.path}")
