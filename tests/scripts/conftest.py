"""A desk with some history, for the tests of what is done to it."""

from pathlib import Path

import pytest

from tests.scripts.pruneparts import DAY, Desk


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Five versions were staged, a day after each other; the first, third and fourth are or were live."""
    desk = Desk(tmp_path_factory.mktemp("five"))
    for number in range(5):
        made = desk.publish(number)
        if number in (0, 2, 3):
            desk.promote(made)
        desk.clock += DAY
    return desk


@pytest.fixture
def desk(five: Desk, tmp_path: Path) -> Desk:
    """The same, for one test."""
    return five.copy(tmp_path / "out")
