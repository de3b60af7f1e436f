"""Which packages differ between two snapshots, and what is said where that cannot be known."""

from pathlib import Path

import pytest

from common.errors import ArtifactError
from common.snapshots import Part
from lxd.changes import Change, Kind
from scripts.differences import Difference, Kept, differences
from tests.scripts.releaseparts import half, publish, staged


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("desk")
    for version in ("72.1", "72.2"):
        publish(place, version)
    return place


def pair(desk: Path, part: Part) -> tuple[Kept, Kept]:
    store = half(desk, part).staging
    new, old = store.all()
    assert new == staged(desk, part)
    return Kept(store, old), Kept(store, new)


def lists(desk: Path, part: Part) -> set[Path]:
    """The files with the lists of packages of the older snapshot."""
    kept, _ = pair(desk, part)
    names = {
        kept.store.kept(each.sha256) if part is Part.APT else f"72/{path}"
        for path, each in kept.snapshot.objects.items()
        if path.endswith(("/Packages", "/packages.tsv"))
    }
    return {desk / "gs" / kept.store.bucket.url.removeprefix("gs://") / name for name in names}


def test_each_release_and_each_image(desk: Path) -> None:
    old, new = pair(desk, Part.APT)
    assert [(each.title, [str(change) for change in each.changes or ()]) for each in differences(old, new)] == [
        (release, [f"{name} 72.1+deb{n} -> 72.2+deb{n}" for name in ("cros-garcon", "cros-guest-tools")])
        for release, n in (("bookworm", 12), ("trixie", 13))
    ]
    assert differences(new, new) == []
    old, new = pair(desk, Part.CONTAINER)
    [image] = differences(old, new)
    assert [(kind, len(changes)) for kind, changes in image.by_kind()] == [
        (Kind.ADDED, 1), (Kind.REMOVED, 1), (Kind.UPGRADED, 1),
    ]  # fmt: skip
    assert image.title.startswith("debian:bookworm:amd64:default: 2")


@pytest.mark.parametrize("part", Part)
def test_a_list_that_is_damaged_or_lost(desk: Path, part: Part) -> None:
    files = lists(desk, part)
    good = {path: path.read_bytes() for path in files}
    try:
        for path in files:
            path.write_bytes(b"Package: x\n\n" if part is Part.APT else b"name\tversion\n")
        with pytest.raises(ArtifactError):
            differences(*pair(desk, part))
        for path in files:
            path.unlink()
        if part is Part.CONTAINER:
            [image] = differences(*pair(desk, part))
            assert list(image.lines())[1:] == ["  the list of packages of one of them is lost"]
    finally:
        for path, content in good.items():
            path.write_bytes(content)


def test_an_image_that_is_new_or_gone() -> None:
    change = Change(kind=Kind.UPGRADED, package="a", before="1", after="2")
    assert list(Difference(name="p", after="s", changes=()).lines()) == ["p: nothing -> s"]
    assert list(Difference(name="p", before="s", changes=()).lines()) == ["p: s -> nothing"]
    assert list(Difference(name="trixie", changes=(change,)).lines()) == ["trixie", "  upgraded: a 1 -> 2"]
