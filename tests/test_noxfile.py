"""The sessions of noxfile.py: what nox is told."""

from typing import Any

import nox.registry
import pytest

import noxfile


class Recorder:
    """A nox session that runs nothing."""

    posargs = ("--an-argument",)

    def __init__(self) -> None:
        self.ran: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def install(self, *words: str) -> None:
        """Pass over it."""

    def run(self, *words: str, **more: object) -> None:
        """Note it."""
        self.ran.append((words, more))


@pytest.mark.parametrize(
    "name", ["system_tests", "packages_test", "flow_test", "incus_test", "arm64_test", "lxd_test", "bench"]
)
def test_what_makes_containers_may_remove_them_after_ctrl_c(name: str) -> None:
    session = Recorder()
    nox.registry.get()[name].func(session)
    [(words, more)] = session.ran
    assert words[-1] == "--an-argument"
    assert more == {"interrupt_timeout": noxfile.CLEANUP}
    assert noxfile.CLEANUP >= 30
