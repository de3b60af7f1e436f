"""A mirror that fails once is asked again; one that always does is told of, and nothing half made is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import NetworkError
from common.mirror import native_arch
from common.rootfs import Recipe, make_tar
from tests.mirror import ALWAYS, Fault, FaultyMirror, faulty_mirror

pytestmark = [pytest.mark.root, pytest.mark.mirror, pytest.mark.timeout(600)]
# Only unpacked: what is of interest happens before anything is installed.
SMALL = Recipe(release="bookworm", arch=native_arch(), variant="extract", include=("hostname",))
QUICK = ['--aptopt=Acquire::http::Timeout "3"', '--aptopt=Acquire::Retries "1"']


@pytest.fixture
def faulty() -> Iterator[FaultyMirror]:
    with faulty_mirror() as faulty:
        yield faulty


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("name", ["hostname_*.deb", "InRelease"])
def test_what_goes_wrong_once_is_asked_for_again(faulty: FaultyMirror, tmp_path: Path, fault: Fault, name: str) -> None:
    faulty.faults[name] = fault, 1
    make_tar(SMALL, tmp_path / "root.tar", mirror=faulty.mirror, options=QUICK)
    assert len(faulty.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["root.tar"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [(Fault.STALLS, "Connection (failed|timed out)"), (Fault.MISSING, "404"), (Fault.OTHER, "Hash Sum")],
)
def test_what_always_goes_wrong_is_named(faulty: FaultyMirror, tmp_path: Path, fault: Fault, why: str) -> None:
    faulty.faults["hostname_*.deb"] = fault, ALWAYS
    with pytest.raises(NetworkError, match=rf"package 'hostname' \(debian/pool/\S+/hostname_\S+\.deb\): .*{why}"):
        make_tar(SMALL, tmp_path / "root.tar", mirror=faulty.mirror, options=QUICK)
    assert list(tmp_path.iterdir()) == []
