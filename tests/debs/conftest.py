"""Packages built once for all tests of this folder, and the source package they are built from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.files import ROOT
from debs.build import build_debs
from debs.releases import find_release, read_table
from debs.source import lay_out
from debs.version import version

EPOCH = 1700000000
RELEASES = tuple(read_table())
CACHE = ROOT / "out" / "cache"


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
