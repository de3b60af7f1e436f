"""The index: written and read back the same, strict, with history, and safe between two publishers."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError
from lxd.built import BuiltImage, find_images
from lxd.metadata import ImageName
from lxd.publish import Report, publish_images
from lxd.simplestreams import IMAGES, INDEX, Images, Item, Product, read_index, serial_of, time_of

NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
NAME = ImageName(release="bookworm", arch="amd64", type="default")

words = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=12)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
items = st.builds(
    Item,
    ftype=words,
    path=words,
    size=st.integers(0, 2**40),
    sha256=digests,
    combined_squashfs_sha256=st.just("") | digests,
    combined_rootxz_sha256=st.just("") | digests,
    delta_base=st.just("") | words,
)
products = st.builds(
    Product,
    aliases=st.lists(words, max_size=3).map(tuple),
    arch=words,
    os=words,
    release=words,
    release_title=words,
    variant=words,
    versions=st.dictionaries(words, st.dictionaries(words, items, max_size=3), max_size=3),
)
indices = st.builds(Images, st.dictionaries(words, products, max_size=3))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(indices)
def test_images_are_read_as_they_were_written(images: Images) -> None:
    written = images.write()
    assert Images.read(written, "images.json") == images
    assert Images.read(written, "images.json").write() == written


@given(indices)
def test_the_index_lists_the_products(images: Images) -> None:
    assert read_index(images.index(), "index.json") == tuple(sorted(images.products))


@given(st.binary(max_size=50) | plain.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_index_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^gs://b/images\.json"):
        Images.read(content, "gs://b/images.json")


@given(indices, st.data())
def test_a_changed_key_is_refused(images: Images, data: st.DataObject) -> None:
    """Whatever object of the file gets one key more: the file is refused rather than written again without it."""
    content = json.loads(images.write())
    named = {"products", "versions", "items"}  # their keys are names, and any name may be new
    places = [place for key, place in _objects(content, "") if key not in named]
    place = data.draw(st.sampled_from(places))
    place["supported?"] = True
    with pytest.raises(ArtifactError, match=r"unknown 'supported\?'"):
        Images.read(json.dumps(content).encode(), "images.json")


def _objects(value: dict[str, object], key: str) -> Iterator[tuple[str, dict[str, object]]]:
    yield key, value
    for name, each in value.items():
        if isinstance(each, dict):
            # What is under a name has no key of its own.
            yield from _objects(each, "" if key in {"products", "versions", "items"} else name)


def test_the_json_is_what_clients_read() -> None:
    item = Item(ftype="lxd.tar.xz", path="images/x", size=3, sha256="0" * 64, combined_squashfs_sha256="1" * 64)
    images = Images({NAME.product: Product.named(NAME).with_version("20261124_12:10", {"lxd.tar.xz": item})})
    read = json.loads(images.write())
    assert (read["content_id"], read["datatype"], read["format"]) == ("images", "image-downloads", "products:1.0")
    product = read["products"]["debian:bookworm:amd64:default"]
    assert (
        product["aliases"]
        == "debian/bookworm,debian/bookworm/amd64,debian/bookworm/default,debian/bookworm/default/amd64"
    )
    assert (product["arch"], product["os"], product["release"], product["variant"]) == (
        "amd64",
        "Debian",
        "bookworm",
        "default",
    )
    assert product["versions"]["20261124_12:10"]["items"]["lxd.tar.xz"] == {
        "ftype": "lxd.tar.xz",
        "path": "images/x",
        "size": 3,
        "sha256": "0" * 64,
        "combined_squashfs_sha256": "1" * 64,
    }
    index = json.loads(images.index())
    assert index["format"] == "index:1.0"
    assert index["index"]["images"]["path"] == "streams/v1/images.json"


def test_only_the_default_type_has_the_short_alias() -> None:
    aliases = Product.named(ImageName(release="bookworm", arch="amd64", type="test")).aliases
    assert aliases == ("debian/bookworm/test", "debian/bookworm/test/amd64")


@given(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(9999, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001
def test_serials_keep_the_minute(when: dt.datetime) -> None:
    assert time_of(serial_of(when)) == when.replace(second=0, microsecond=0)


def test_a_serial_that_is_none_is_refused() -> None:
    with pytest.raises(ArtifactError, match="'yesterday' is not like"):
        time_of("yesterday")


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "cros-containers-staging")


def image(folder: Path, content: str, name: ImageName = NAME) -> BuiltImage:
    place = folder / content / name.folder
    place.mkdir(parents=True, exist_ok=True)
    for file in ("lxd.tar.xz", "incus.tar.xz"):
        (place / file).write_text(f"metadata {content}")
    (place / "rootfs.squashfs").write_text(f"root {content}")
    return BuiltImage.read(name, place)


def published(bucket: DirectoryBucket, *images: BuiltImage, minutes: int = 0, who: str = "me") -> Report:
    return publish_images(bucket, 72, images, now=NOW + dt.timedelta(minutes=minutes), publisher=who)


def index_of(bucket: DirectoryBucket) -> Images:
    held = bucket.read(f"72/{IMAGES}")
    assert held is not None
    return Images.read(held.content, "images.json")


def serials(bucket: DirectoryBucket) -> list[str]:
    return sorted(index_of(bucket).products[NAME.product].versions)


def test_every_file_is_where_the_index_says(bucket: DirectoryBucket, tmp_path: Path) -> None:
    report = published(bucket, image(tmp_path, "one"))
    assert report.added == {NAME.product: "20261124_12:10"}
    found = index_of(bucket).products[NAME.product].versions["20261124_12:10"]
    assert {item.ftype for item in found.values()} == {"lxd.tar.xz", "incus.tar.xz", "squashfs"}
    for item in found.values():
        stat = bucket.stat(f"72/{item.path}")
        assert stat is not None
        assert (stat.size, stat.sha256) == (item.size, item.sha256)
    assert found["rootfs.squashfs"].path == "images/debian/bookworm/amd64/default/20261124_12:10/rootfs.squashfs"
    fingerprint = hashlib.sha256(b"metadata oneroot one").hexdigest()
    assert {each.combined_squashfs_sha256 for each in found.values()} == {"", fingerprint}
    assert found["lxd.tar.xz"].combined_squashfs_sha256 == fingerprint
    held = bucket.read(f"72/{INDEX}")
    assert held is not None
    assert read_index(held.content, "index.json") == (NAME.product,)


def test_a_tarball_is_published_with_its_own_fingerprint(bucket: DirectoryBucket, tmp_path: Path) -> None:
    folder = image(tmp_path, "one").folder
    (folder / "rootfs.tar.xz").write_text("tarball")
    published(bucket, BuiltImage.read(NAME, folder))
    items = index_of(bucket).products[NAME.product].versions["20261124_12:10"]
    assert items["rootfs.tar.xz"].ftype == "root.tar.xz"
    fingerprint = hashlib.sha256(b"metadata onetarball").hexdigest()
    assert items["lxd.tar.xz"].combined_rootxz_sha256 == items["incus.tar.xz"].combined_rootxz_sha256 == fingerprint


def test_an_image_no_client_would_find_is_refused(bucket: DirectoryBucket, tmp_path: Path) -> None:
    found = image(tmp_path, "one")
    nameless = {file: replace(item, combined_squashfs_sha256="") for file, item in found.items.items()}
    with pytest.raises(ArtifactError, match=r"a client that reads lxd\.tar\.xz would not find 'debian:bookworm"):
        published(bucket, replace(found, items=nameless))
    assert bucket.names() == []


def test_the_same_content_adds_no_version_and_sends_nothing(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, "one"))
    before = {name: bucket.stat(name) for name in bucket.names()}
    report = published(bucket, image(tmp_path, "one"), minutes=5)
    assert (report.added, report.kept, report.uploads.uploaded) == ({}, (NAME.product,), 0)
    assert {name: bucket.stat(name) for name in bucket.names()} == before


def test_history_is_kept_and_other_products_too(bucket: DirectoryBucket, tmp_path: Path) -> None:
    other = ImageName(release="trixie", arch="arm64", type="default")
    published(bucket, image(tmp_path, "one"), image(tmp_path, "one", other))
    published(bucket, image(tmp_path, "two"), minutes=5)
    assert serials(bucket) == ["20261124_12:10", "20261124_12:15"]
    assert set(index_of(bucket).products) == {NAME.product, other.product}


def test_a_taken_minute_gives_the_next(bucket: DirectoryBucket, tmp_path: Path) -> None:
    for content in ("one", "two", "three"):
        published(bucket, image(tmp_path, content))
    assert serials(bucket) == ["20261124_12:10", "20261124_12:11", "20261124_12:12"]


def test_a_clock_that_goes_back_still_makes_the_newest_version(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, "one"))
    published(bucket, image(tmp_path, "two"), minutes=-90)
    newest = index_of(bucket).products[NAME.product].newest()
    assert newest is not None
    assert newest[0] == "20261124_12:11"


def test_an_unchanged_product_list_leaves_index_json_alone(bucket: DirectoryBucket, tmp_path: Path) -> None:
    published(bucket, image(tmp_path, "one"))
    before = bucket.stat(f"72/{INDEX}")
    published(bucket, image(tmp_path, "two"), minutes=1)
    assert bucket.stat(f"72/{INDEX}") == before


def test_a_killed_publication_goes_on_under_its_own_serial(bucket: DirectoryBucket, tmp_path: Path) -> None:
    ours = image(tmp_path, "one")
    folder = "72/images/debian/bookworm/amd64/default/20261124_12:10"
    bucket.upload(ours.folder / "lxd.tar.xz", f"{folder}/lxd.tar.xz", kind=Kind.IMMUTABLE)
    assert published(bucket, ours).added == {NAME.product: "20261124_12:10"}


def test_a_minute_somebody_else_uploads_in_is_taken(bucket: DirectoryBucket, tmp_path: Path) -> None:
    folder = "72/images/debian/bookworm/amd64/default/20261124_12:10"
    bucket.upload(b"theirs", f"{folder}/lxd.tar.xz", kind=Kind.IMMUTABLE)
    assert published(bucket, image(tmp_path, "one")).added == {NAME.product: "20261124_12:11"}


class Rival(DirectoryBucket):
    """A bucket in which somebody else publishes `contents`, each just before we would move the pointer."""

    def __init__(self, root: Path, folder: Path, contents: list[str]) -> None:
        super().__init__(root)
        self.folder, self.contents = folder, contents

    def upload(self, *args: object, **settings: object) -> object:  # type: ignore[override]
        if args[1] == f"72/{IMAGES}" and self.contents:
            content = self.contents.pop(0)
            published(DirectoryBucket(self.root), image(self.folder, content), who="the rival")
        return super().upload(*args, **settings)  # type: ignore[arg-type]


def test_the_second_of_two_publishers_goes_on_top_of_the_first(tmp_path: Path) -> None:
    bucket = Rival(tmp_path / "b", tmp_path, ["theirs"])
    published(bucket, image(tmp_path, "ours"))
    newest = index_of(bucket).products[NAME.product].newest()
    assert newest is not None
    assert newest[1]["lxd.tar.xz"].sha256 == hashlib.sha256(b"metadata ours").hexdigest()
    contents = {
        item.sha256 for items in index_of(bucket).products[NAME.product].versions.values() for item in items.values()
    }
    assert hashlib.sha256(b"metadata theirs").hexdigest() in contents


def test_a_publisher_that_always_loses_says_to_whom(tmp_path: Path) -> None:
    bucket = Rival(tmp_path / "b", tmp_path, [f"theirs {number}" for number in range(9)])
    with pytest.raises(ConflictError, match="was changed by 'the rival'"):
        published(bucket, image(tmp_path, "ours"))
    assert len(bucket.contents) == 4
    contents = {
        item.sha256 for items in index_of(bucket).products[NAME.product].versions.values() for item in items.values()
    }
    assert hashlib.sha256(b"metadata ours").hexdigest() not in contents


def test_a_broken_index_is_refused_and_stays(bucket: DirectoryBucket, tmp_path: Path) -> None:
    bucket.upload(b"{}", f"72/{IMAGES}", kind=Kind.POINTER)
    with pytest.raises(ArtifactError, match=r"gs://cros-containers-staging/72/streams/v1/images\.json: content_id"):
        published(bucket, image(tmp_path, "one"))
    assert bucket.names() == [f"72/{IMAGES}"]


def test_images_are_found_by_their_folders(tmp_path: Path) -> None:
    made = [
        image(tmp_path / "gfile", "lxd", ImageName(release=release, arch=arch, type="default"))
        for release in ("bookworm", "trixie")
        for arch in ("amd64", "arm64")
    ]
    assert list(find_images(tmp_path / "gfile" / "lxd")) == made


def test_an_incomplete_image_is_named(tmp_path: Path) -> None:
    (image(tmp_path, "lxd").folder / "rootfs.squashfs").unlink()
    with pytest.raises(
        ArtifactError, match=r"artifact 'rootfs\.squashfs' of the image 'bookworm amd64 default' is missing"
    ):
        find_images(tmp_path / "lxd")


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="artifact 'lxd' has no image"):
        find_images(tmp_path / "lxd")


def test_an_architecture_no_client_knows_is_refused(tmp_path: Path) -> None:
    image(tmp_path, "lxd", ImageName(release="bookworm", arch="vax", type="default"))
    with pytest.raises(ArtifactError, match="unknown architecture 'vax'"):
        find_images(tmp_path / "lxd")
