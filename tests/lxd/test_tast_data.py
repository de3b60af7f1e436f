"""The static data of Tast for a published state: names, newest versions, and what a checkout needs of it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, UsageError
from common.external import Pin, read_pins
from common.shown import Object
from lxd.metadata import ImageName
from lxd.pins import protected
from lxd.simplestreams import Images, Item, Product
from lxd.tast_data import folders_of, name_of, objects_of, pins_of, used_in

URL = "gs://cros-containers-staging/72"
OLD, NEW = "20261124_12:10", "20261126_10:00"
FILES = ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs", "image.manifest")


def published(name: str, serial: str, files: tuple[str, ...] = FILES) -> dict[str, Object]:
    return {
        f"images/debian/{name}/{serial}/{file}": Object(size=index + 1, sha256=f"{index}" * 64)
        for index, file in enumerate(files)
    }


def test_the_pins_of_an_image() -> None:
    pins = pins_of(published("bookworm/arm64/test", NEW), URL)
    folder = f"{URL}/images/debian/bookworm/arm64/test/{NEW}"
    assert pins == {
        "crostini_test_container_metadata_bookworm_arm.tar.xz.external": Pin(
            url=f"{folder}/lxd.tar.xz", size=1, sha256="0" * 64
        ),
        "crostini_test_container_rootfs_bookworm_arm.squashfs.external": Pin(
            url=f"{folder}/rootfs.squashfs", size=3, sha256="2" * 64
        ),
    }


def test_the_newest_version_of_each_image_counts() -> None:
    objects = {
        **published("bookworm/amd64/test", NEW), **published("bookworm/amd64/test", OLD),
        **published("bookworm/amd64/app_test", OLD), **published("bullseye/amd64/test", OLD),
    }  # fmt: skip
    serials = {name: pin.url.split("/")[-2] for name, pin in pins_of(objects, URL).items()}
    assert serials == {
        "crostini_app_test_container_metadata_bookworm_amd64.tar.xz.external": OLD,
        "crostini_app_test_container_rootfs_bookworm_amd64.squashfs.external": OLD,
        "crostini_test_container_metadata_bookworm_amd64.tar.xz.external": NEW,
        "crostini_test_container_rootfs_bookworm_amd64.squashfs.external": NEW,
        "crostini_test_container_metadata_bullseye_amd64.tar.xz.external": OLD,
        "crostini_test_container_rootfs_bullseye_amd64.squashfs.external": OLD,
    }


@pytest.mark.parametrize("name", ["bookworm/amd64/default", "bookworm/armhf/test", "book worm/amd64/test"])
def test_images_without_tests_have_no_pins(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"{URL} has no image that Tast could use: none of type test or app_test"):
        pins_of(published(name, NEW) | {"pool/main/x.deb": Object(size=1, sha256="0" * 64)}, URL)


@pytest.mark.parametrize("files", [("lxd.tar.xz",), ("rootfs.squashfs",), ("rootfs.squashfs", "rootfs.tar.xz")])
def test_half_an_image_is_refused(files: tuple[str, ...]) -> None:
    objects = published("bookworm/amd64/test", OLD) | published("bookworm/amd64/test", NEW, files)
    with pytest.raises(ArtifactError, match=f"version {NEW} of debian:bookworm:amd64:test lacks its"):
        pins_of(objects, URL)


def test_an_index_says_the_same_as_its_objects() -> None:
    name = ImageName(release="bookworm", arch="amd64", type="test")
    objects = published("bookworm/amd64/test", OLD) | published("bookworm/amd64/test", NEW)
    product = Product.named(name)
    for serial in (OLD, NEW):
        items = {
            path.rsplit("/", 1)[-1]: Item(ftype="x", path=path, size=each.size, sha256=each.sha256)
            for path, each in objects.items()
            if f"/{serial}/" in path
        }
        product = product.with_version(serial, items)
    assert objects_of(Images({name.product: product})) == objects


SERIALS = st.datetimes().filter(lambda time: time.year > 1000).map(lambda time: f"{time:%Y%m%d_%H:%M}")
IMAGES = st.tuples(st.sampled_from(["bullseye", "bookworm", "trixie"]), st.sampled_from(["amd64", "arm64", "armhf"]),
                   st.sampled_from(["default", "test", "app_test"]), SERIALS)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(IMAGES, min_size=1, max_size=6), st.integers(0, 2**40), st.booleans())
def test_what_is_written_is_read_by_tast_and_by_pruning(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, str, str, str]], size: int, tarball: bool
) -> None:
    folder = tmp_path_factory.mktemp("data")
    files = ("lxd.tar.xz", "rootfs.squashfs", *(["rootfs.tar.xz"] if tarball else []))
    objects = {
        f"images/debian/{release}/{arch}/{kind}/{serial}/{file}": Object(size=size, sha256="a" * 64)
        for release, arch, kind, serial in images
        for file in files
    }
    wanted = {image[:3] for image in images if image[1] != "armhf" and image[2] != "default"}
    if not wanted:
        with pytest.raises(ArtifactError):
            pins_of(objects, URL)
        return
    pins = pins_of(objects, URL)
    for name, pin in pins.items():
        (folder / name).write_bytes(pin.write())
    assert read_pins(folder, list(pins)) == pins
    assert len(pins) == len(wanted) * len(files)
    bucket = DirectoryBucket(folder / "cros-containers-staging")
    relied_on = protected(bucket, 72, tast=folder)
    newest = {image: max(each[3] for each in images if each[:3] == image) for image in wanted}
    assert {(version.product, version.serial) for version in relied_on} == {
        (":".join(("debian", *image)), serial) for image, serial in newest.items()
    }


def test_a_checkout_keeps_the_kind_of_root_file_system_it_has(tmp_path: Path) -> None:
    product = "debian:bookworm:amd64:test"
    metadata, squashfs, tarball = (
        name_of(product, file) for file in ("lxd.tar.xz", "rootfs.squashfs", "rootfs.tar.xz")
    )
    pins = pins_of(published("bookworm/amd64/test", NEW, (*FILES, "rootfs.tar.xz")), URL)
    assert set(pins) == {metadata, squashfs, tarball}
    assert set(used_in(tmp_path, pins)) == {metadata, squashfs}
    (tmp_path / tarball).touch()
    assert set(used_in(tmp_path, pins)) == {metadata, tarball}
    (tmp_path / squashfs).touch()
    assert set(used_in(tmp_path, pins)) == {metadata, squashfs, tarball}
    for published_only, kept in ((tarball, squashfs), (squashfs, tarball)):
        fewer = {name: pins[name] for name in (metadata, published_only)}
        with pytest.raises(ArtifactError, match=f"{kept}' pins a kind of root file system that was not published"):
            used_in(tmp_path, fewer)
        (tmp_path / kept).unlink()
        assert set(used_in(tmp_path, fewer)) == {metadata, published_only}
        (tmp_path / kept).touch()


@pytest.mark.parametrize(
    "folder",
    [
        "src/go.chromium.org/tast-tests/cros/local/crostini/data",
        "src/go.chromium.org/tast-tests-private/crosint/local/crostini/data",
        "src/chromiumos/tast/local/crostini/data",
    ],
)
def test_where_a_checkout_keeps_its_data(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="is no checkout of tast-tests"):
        folders_of(tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    assert folders_of(tmp_path) == [tmp_path / folder]
