"""`invoke verify`: one changed byte in anything that is recorded, or that it names, is found."""

import re
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
# The marks of what may go are nobody's evidence.
PASSED_OVER = {"unreferenced.json"}
KINDS = {
    "package": r"pool/.*\.deb", "by-hash copy": r"dists/.*/by-hash/SHA256/.*", "index": r"dists/.*/Packages(\.[gx]z)?",
    "Release of an architecture": r"dists/[^/]+/main/binary-[^/]+/Release", "Release": r"dists/[^/]+/Release",
    "Release.gpg": r"dists/[^/]+/Release\.gpg", "InRelease": r"dists/[^/]+/InRelease",
    "key of the repository": r"cros-archive-keyring\.asc", "file of an image": r"images/.*",
    "images.json": r"streams/v1/images\.json", "index.json": r"streams/v1/index\.json",
    "key of the records": r"snapshots/keyring\.asc", "manifest": r"snapshots/[0-9a-f]{64}\.json",
    "signature of a manifest": r"snapshots/[0-9a-f]{64}\.json\.sig", "copy": r"snapshots/objects/[0-9a-f]{64}",
    "evidence": r"snapshots/[^/]+/evidence/[^/]+\.json", "its signature": r"snapshots/[^/]+/evidence/[^/]+\.json\.sig",
    "ledger": r"ledger\.jsonl",
}  # fmt: skip
ABSENT = {False: {"ledger"}, True: {"evidence", "its signature"}}  # by whether it is the live buckets


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


def files(desk: Path, *, live: bool) -> dict[str, Path]:
    """The files of both halves by their paths below the milestone."""
    found: dict[str, Path] = {}
    for bucket in BUCKETS[live]:
        place = desk / "gs" / bucket / "72"
        found |= {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if path.name not in PASSED_OVER and path.stat().st_size}


@pytest.mark.parametrize("live", [False, True])
def test_what_is_whole_passes(desk: Path, live: bool, capsys: pytest.CaptureFixture[str]) -> None:
    check(desk, live=live)
    assert "2 snapshots" in capsys.readouterr().out


def kind_of(path: str) -> str:
    """What a path below a milestone is."""
    return next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, path))


@pytest.mark.parametrize("live", [False, True])
def test_every_kind_of_object_is_there_to_be_changed(desk: Path, live: bool) -> None:
    assert {kind_of(name) for name in files(desk, live=live)} == set(KINDS) - ABSENT[live]


@pytest.mark.parametrize(
    ("live", "kind"), [(live, kind) for live in (False, True) for kind in KINDS if kind not in ABSENT[live]]
)
@settings(max_examples=2)
@given(data=st.data())
def test_a_changed_byte_is_found(desk: Path, live: bool, kind: str, data: st.DataObject) -> None:
    found = [path for name, path in files(desk, live=live).items() if kind_of(name) == kind]
    path = data.draw(st.sampled_from(found), label="file")
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
