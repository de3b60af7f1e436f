"""`invoke verify`: one changed byte in anything that is recorded, or that it names, is found."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ArtifactError
from common.snapshots import Part
from scripts import verify
from scripts.promote import How
from scripts.promote import run as promote
from tests.scripts.releaseparts import make_green, publish

BUCKETS = {False: ("cros-packages-staging", "cros-containers-staging"), True: ("cros-packages", "cros-containers")}
# apt's note of what it may forget is nobody's evidence.
PASSED_OVER = {"superseded.json"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions were staged and promoted."""
    place = tmp_path_factory.mktemp("desk")
    for version in ("72.1", "72.2"):
        publish(place, version)
        make_green(place)
        for part in Part:
            promote(part, milestone=72, snapshot="", how=How(out=str(place), who="me"))
    return place


def check(desk: Path, *, live: bool) -> None:
    verify.run(milestone=72, live=live, out=str(desk), storage="directory")


def files(desk: Path, *, live: bool) -> list[Path]:
    found = (path for bucket in BUCKETS[live] for path in sorted((desk / "gs" / bucket / "72").rglob("*")))
    return [path for path in found if path.is_file() and path.name not in PASSED_OVER and path.stat().st_size]


@pytest.mark.parametrize("live", [False, True])
def test_what_is_whole_passes(desk: Path, live: bool, capsys: pytest.CaptureFixture[str]) -> None:
    check(desk, live=live)
    assert "2 snapshots" in capsys.readouterr().out


@pytest.mark.parametrize("live", [False, True])
@settings(max_examples=10)
@given(data=st.data())
def test_a_changed_byte_is_found(desk: Path, live: bool, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(desk, live=live)), label="file")
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1), label="byte")
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]), label="becomes")
    beside = path.with_name(f".{path.name}")
    path.rename(beside)
    try:
        path.write_bytes(good[:at] + bytes([other]) + good[at + 1 :])
        with pytest.raises(ArtifactError):
            check(desk, live=live)
    finally:
        beside.replace(path)


@pytest.mark.parametrize("name", ["ledger.jsonl", "dists/bookworm/InRelease", "snapshots/keyring.asc"])
def test_a_lost_object_is_found(desk: Path, name: str) -> None:
    path = desk / "gs/cros-packages/72" / name
    beside = path.with_name(f".{path.name}")
    path.rename(beside)
    try:
        with pytest.raises(ArtifactError):
            check(desk, live=True)
    finally:
        beside.replace(path)
