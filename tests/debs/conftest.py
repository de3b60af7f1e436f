"""Packages built once for all tests of this folder, and the source package they are built from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from debs.build import build_debs
from debs.releases import find_release, read_table
from debs.source import lay_out
from debs.version import version
from lxd.daemon import Lxd, lxd
from tests.debs.guests import CACHE as CACHE
from tests.debs.guests import EPOCH as EPOCH
from tests.debs.guests import Base, Guest, Kind, prepare

RELEASES = tuple(read_table())


def releases(*default: str) -> list[object]:
    """Parameters of tests that need a root of each release: these in the default run, the others in packages_test."""
    return [pytest.param(name, marks=() if name in default else (pytest.mark.packages,)) for name in RELEASES]


def kinds(*default: str) -> list[object]:
    """Parameters for `base`: all kinds, of which the default run has these releases with everything recommended."""
    found = [Kind(release, full=full) for full in (True, False) for release in reversed(RELEASES)]
    return [
        pytest.param(kind, id=str(kind), marks=() if kind.full and kind.release in default else (pytest.mark.packages,))
        for kind in found
    ]


class R72:
    """The numbers of release-R72-11316.B."""

    milestone = 72
    build = 11316


@pytest.fixture(scope="session")
def keyring() -> Path:
    """The public half of a key whose secret half is gone; always the same, so that the cache has unchanged packages."""
    return Path(__file__).with_name("keyring.asc")


Laid = Callable[[str], Path]


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """The source package of a release, laid out once."""
    place = tmp_path_factory.mktemp("source")

    def lay(release: str) -> Path:
        tree = place / release
        if not tree.exists():
            lay_out(find_release(release), tree, version=version(R72(), EPOCH, release), epoch=EPOCH, keys=b"keys")
        return tree

    return lay


Built = Callable[[str], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, keyring: Path) -> Built:
    """The directory of a release's packages, built once; needs root and the mirror."""
    place = tmp_path_factory.mktemp("debs")

    def build(release: str) -> Path:
        out = place / f"{release}-debs"
        if not out.exists():
            build_debs(
                release, version=version(R72(), EPOCH, release), epoch=EPOCH, keyring=keyring, out=out, cache=CACHE
            )  # fmt: skip
        return out

    return build


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lxd]:
    """One LXD for all containers of this folder."""
    with lxd(parent=tmp_path_factory.mktemp("lxd")) as running:
        yield running


@pytest.fixture(scope="session", params=kinds("bookworm"))
def base(request: pytest.FixtureRequest, daemon: Lxd, built: Built, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A container without our packages, to clone."""
    kind: Kind = request.param
    return prepare(daemon, kind, built(kind.release), tmp_path_factory.mktemp(str(kind)))


@dataclass(frozen=True)
class Installed:
    """A guest in which our packages are installed, running.

    Attributes:
        before: what was there before they were.
        failures: what the managers and dpkg complained about after each step.
    """

    base: Base
    guest: Guest
    before: set[str]
    failures: dict[str, list[str]]


@pytest.fixture(scope="session")
def installed(base: Base) -> Installed:
    """Install with recommendations, then what nobody recommends, and restart."""
    guest = base.clone("installed")
    guest.use("ours")
    before = guest.snapshot()
    failures = {}
    guest.apt("install", "--install-recommends", "cros-guest-tools")
    failures["with recommendations"] = guest.failures()
    guest.apt("install", "--no-install-recommends", *guest.more())
    failures["with the others"] = guest.failures()
    guest.restart()
    failures["restarted"] = guest.failures(but=())
    return Installed(base, guest, before, failures)


@pytest.fixture
def guest(installed: Installed) -> Guest:
    """The guest, whose user manager has started everything."""
    installed.guest.user.wait_running()
    return installed.guest
