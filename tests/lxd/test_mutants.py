"""Every damaged image is noticed by the checks that are named for it, for the reason that is named.

`nox -s mutants`: each mutant is booted and gets all checks, about 20 s each on one processor. The image is the one that
the README's first command has made.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common.mirror import native_arch
from lxd import host
from lxd.about import About
from lxd.checks import CHECKS, Run, apt, boot, network, restart, session
from lxd.container import Container, import_image
from lxd.daemon import Lxd, lxd
from lxd.project import remove_containers
from lxd.report import Outcome
from lxd.repository import serving
from lxd.tracks import Plan, run_all
from tests.lxd.mutants import MUTANTS, Mutant
from tests.support import JOBS, Finished

pytestmark = [pytest.mark.mutants, pytest.mark.timeout(3600)]

IMAGE = JOBS / f"lxd_container_{native_arch()}_bookworm/artifacts/lxd/bookworm/{native_arch()}/default"
REPOSITORY = JOBS / "apt_signer/artifacts/apt_signed"
# What is waited for in vain, when it is known that it will not come; seconds.
IN_VAIN = 10.0


@dataclass(frozen=True)
class Place:
    """A daemon with the image, its files, and what is done with each container."""

    daemon: Lxd
    parent: Path
    plan: Plan

    def checked(self, prepare: Callable[[Container], None]) -> list[Outcome]:
        """Take new containers through all checks."""
        run = replace(self.plan.run, machine_ids={}, lock=threading.Lock())
        try:
            return run_all(self.daemon, replace(self.plan, run=run, prepare=prepare))
        finally:
            remove_containers(self.daemon.connect())


@pytest.fixture(scope="module")
def place(continuous: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    assert continuous.code == 0
    parent = tmp_path_factory.mktemp("mutants")
    shared = tmp_path_factory.mktemp("host")
    with lxd(directories=[], parent=parent) as daemon, serving(daemon.listen(), REPOSITORY) as url:
        image = import_image(daemon.connect(), IMAGE / "lxd.tar.xz", IMAGE / "rootfs.squashfs")
        run = Run(about=About.read(IMAGE / "lxd.tar.xz"), repository=True, url=url, gateway=daemon.gateway)
        plan = Plan(image=image, chosen=CHECKS, run=run, devices=host.devices(shared))
        yield Place(daemon, parent, plan)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (apt, "BIND_TIMEOUT"), (boot, "BOOT_LIMIT"), (network, "DHCP_TIMEOUT"), (restart, "STOP_LIMIT"),
        (session, "ANNOUNCE_TIMEOUT"), (session, "CALL_TIMEOUT"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, IN_VAIN)


def test_a_whole_image_passes(place: Place) -> None:
    outcomes = place.checked(lambda _container: None)
    assert not [outcome for outcome in outcomes if outcome.failure or outcome.skipped]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_caught(place: Place, mutant: Mutant) -> None:
    def prepare(container: Container) -> None:
        mutant.damage(container, place.parent, place.daemon.project)

    outcomes = place.checked(prepare)
    assert not list(mutant.unlike(outcomes))


def test_there_are_enough() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40
