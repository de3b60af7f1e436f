"""What a container under test says, where that needs no container."""

import pytest

from common.errors import CheckFailedError
from common.waiting import patient
from lxd import container
from lxd.container import Container
from lxd.programs import Ran


class Stuck(Container):
    """Its systemd never finishes starting."""

    def __init__(self) -> None:
        self.uid = 0

    def systemctl(self, *words: str, timeout: float = 0.0) -> Ran:  # noqa: ARG002, as a Container has it
        """What it says all the time."""
        return Ran(0, "starting", f"{words[0]}\n")


def test_the_deadline_that_is_named_is_the_one_that_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "BOOT_TIMEOUT", 0.01)
    with patient(20), pytest.raises(CheckFailedError, match=r"the system did not start in 0\.2 s") as caught:
        Stuck().wait_settled()
    assert "list-jobs" in caught.value.details
