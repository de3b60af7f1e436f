"""Packages built once for all tests of this folder, and the source package they are built from."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import tools
from common.files import ROOT, secret_parent, workspace
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
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An armoured file with the public half of a fresh key; its secret half is beside it, in `secret/`."""
    place = tmp_path_factory.mktemp("keyring")
    with workspace("gpg", parent=secret_parent()) as home:
        gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        tools.run([*gpg, "--quick-gen-key", "Guest packages (test)", "ed25519", "sign", "never"], quiet=True)
        armoured = place / "cros-archive-keyring.asc"
        armoured.write_text(tools.capture([*gpg, "--armor", "--export"]))
        yield armoured
        tools.run(["gpgconf", "--homedir", home, "--kill", "all"], quiet=True)


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
