"""Deltas with the real xdelta3: what they make, when they are worth it, and what a publication does with them."""

import datetime as dt
import hashlib
import random
from pathlib import Path

import pytest

from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, CommandError
from common.files import sha256_of
from lxd.built import BuiltImage
from lxd.clients import Client, find
from lxd.delta import FTYPE, decode, encode
from lxd.metadata import ImageName
from lxd.publish import Report, publish_images
from lxd.simplestreams import IMAGES, Images, Item
from tests.conftest import FakeTool

NAME = ImageName(release="bookworm", arch="amd64", type="default")
NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
BASE = random.Random(1).randbytes(300_000)


def image(folder: Path, root: bytes, name: ImageName = NAME) -> BuiltImage:
    place = folder / hashlib.sha256(root).hexdigest()[:8] / name.folder
    place.mkdir(parents=True, exist_ok=True)
    for file in ("lxd.tar.xz", "incus.tar.xz"):
        (place / file).write_text(f"metadata of {len(root)}")
    (place / "rootfs.squashfs").write_bytes(root)
    return BuiltImage.read(name, place)


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "cros-containers-staging")


def published(bucket: DirectoryBucket, *images: BuiltImage, minutes: int = 0, bases: int = 2) -> Report:
    now = NOW + dt.timedelta(minutes=minutes)
    return publish_images(bucket, 72, images, now=now, publisher="me", delta_bases=bases)


def index_of(bucket: DirectoryBucket) -> Images:
    held = bucket.read(f"72/{IMAGES}")
    assert held is not None
    return Images.read(held.content, "images.json")


def deltas(bucket: DirectoryBucket, serial: str) -> dict[str, Item]:
    items = index_of(bucket).products[NAME.product].versions[serial]
    return {item.delta_base: item for item in items.values() if item.ftype == FTYPE}


def test_a_delta_makes_the_new_file_of_the_old_one(tmp_path: Path) -> None:
    old, new, delta, again = (tmp_path / name for name in ("old", "new", "delta", "again"))
    old.write_bytes(BASE)
    new.write_bytes(BASE[:100_000] + b"something new" + BASE[120_000:])
    encode(old, new, delta)
    decode(old, delta, again)
    assert again.read_bytes() == new.read_bytes()
    assert delta.stat().st_size < 1000
    with pytest.raises(CommandError):
        decode(new, delta, again)


def test_the_same_files_give_the_same_delta_wherever_they_are(tmp_path: Path) -> None:
    made = []
    for name in ("one", "another place"):
        place = tmp_path / name
        place.mkdir()
        (place / f"old {name}").write_bytes(BASE)
        (place / "new").write_bytes(BASE + b"x")
        encode(place / f"old {name}", place / "new", place / "delta")
        made.append((place / "delta").read_bytes())
    assert made[0] == made[1]


def test_a_new_version_has_deltas_from_the_two_before(bucket: DirectoryBucket, tmp_path: Path) -> None:
    roots = [BASE + bytes([number]) * 100 for number in range(4)]
    for number, root in enumerate(roots):
        published(bucket, image(tmp_path, root), minutes=number)
    found = deltas(bucket, "20261124_12:13")
    assert sorted(found) == ["20261124_12:11", "20261124_12:12"]
    base = bucket.root / "72/images/debian/bookworm/amd64/default/20261124_12:11/rootfs.squashfs"
    item = found["20261124_12:11"]
    path = bucket.root / "72" / item.path
    assert (path.stat().st_size, sha256_of(path)) == (item.size, item.sha256)
    decode(base, path, tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == roots[3]


@pytest.mark.parametrize("client", Client)
def test_both_clients_find_the_delta(bucket: DirectoryBucket, tmp_path: Path, client: Client) -> None:
    published(bucket, image(tmp_path, BASE))
    published(bucket, image(tmp_path, BASE + b"x"), minutes=1)
    newest, oldest = find(index_of(bucket), client)
    assert list(newest.deltas) == [oldest.fingerprint]


def test_a_delta_that_saves_little_is_left_out(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, BASE))
    published(bucket, image(tmp_path, random.Random(2).randbytes(300_000)), minutes=1)
    assert deltas(bucket, "20261124_12:11") == {}


def test_without_bases_there_are_none_and_no_program_is_needed(
    bucket: DirectoryBucket, tmp_path: Path, fake_tool: FakeTool
) -> None:
    calls = fake_tool("xdelta3", exit_code=1)
    published(bucket, image(tmp_path, BASE), bases=0)
    published(bucket, image(tmp_path, BASE + b"x"), minutes=1, bases=0)
    assert deltas(bucket, "20261124_12:11") == {}
    assert not calls.exists()


def test_an_xdelta3_that_makes_something_else_stops_the_publication(
    bucket: DirectoryBucket, tmp_path: Path, fake_tool: FakeTool
) -> None:
    published(bucket, image(tmp_path, BASE))
    program = fake_tool("xdelta3").parent / "fake-bin" / "xdelta3"
    program.write_text('#!/bin/sh\nfor last; do :; done\necho short >"$last"\n')
    before = bucket.names()
    with pytest.raises(ArtifactError, match="xdelta3 makes another file of its own delta"):
        published(bucket, image(tmp_path, BASE + b"x"), minutes=1)
    assert bucket.names() == before


def test_a_base_that_is_lost_or_damaged_is_passed_over(bucket: DirectoryBucket, tmp_path: Path) -> None:
    for number in range(2):
        published(bucket, image(tmp_path, BASE + bytes([number])), minutes=number, bases=0)
    folder = bucket.root / "72/images/debian/bookworm/amd64/default"
    (folder / "20261124_12:10/rootfs.squashfs").unlink()
    (folder / "20261124_12:11/rootfs.squashfs").write_bytes(b"damaged")
    published(bucket, image(tmp_path, BASE + b"x"), minutes=2)
    assert deltas(bucket, "20261124_12:12") == {}


def test_a_killed_publication_goes_on_with_its_deltas(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, BASE))
    published(bucket, image(tmp_path, BASE + b"x"), minutes=1)
    before = {name: bucket.stat(name) for name in bucket.names("72/images/")}
    held = bucket.read(f"72/{IMAGES}")
    assert held is not None
    images = Images.read(held.content, "x")
    product = images.products[NAME.product].without_versions({"20261124_12:11"})
    (bucket.root / "72" / IMAGES).write_bytes(images.with_product(NAME.product, product).write())
    report = published(bucket, image(tmp_path, BASE + b"x"), minutes=1)
    assert report.added == {NAME.product: "20261124_12:11"}
    assert {name: bucket.stat(name) for name in bucket.names("72/images/")} == before


def test_a_delta_that_was_lost_is_no_longer_named(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, BASE))
    published(bucket, image(tmp_path, BASE + b"x"), minutes=1)
    [item] = deltas(bucket, "20261124_12:11").values()
    (bucket.root / "72" / item.path).unlink()
    report = published(bucket, image(tmp_path, BASE + b"x"), minutes=2)
    assert report.kept == (NAME.product,)
    assert deltas(bucket, "20261124_12:11") == {}
