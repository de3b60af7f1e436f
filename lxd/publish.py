"""Publishes images under a simplestreams index: the files first, images.json last, every earlier version kept."""

import datetime as dt
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.bucket import ABSENT, Bucket
from common.errors import ArtifactError, ConflictError
from common.publication import Item as Upload
from common.publication import Published, publish
from lxd.image import SQUASHFS
from lxd.metadata import LXD_ARCHES, ImageName
from lxd.simplestreams import IMAGES, INDEX, Images, Item, Product, serial_of, time_of

log = logging.getLogger(__name__)

_ATTEMPTS = 5
_MINUTE = dt.timedelta(minutes=1)
_BLOCK = 1 << 20
# The file -> what it is to a client. LXD reads the first, Incus only the second, both the third.
_FTYPES = {"lxd.tar.xz": "lxd.tar.xz", "incus.tar.xz": "incus.tar.xz", SQUASHFS: "squashfs"}


@dataclass(frozen=True)
class BuiltImage:
    """An image as lxd_container leaves it.

    Attributes:
        name: which.
        folder: where its files are.
        items: the file's name -> its entry in the index; paths are below the version's folder.
    """

    name: ImageName
    folder: Path
    items: Mapping[str, Item]

    @classmethod
    def read(cls, name: ImageName, folder: Path) -> "BuiltImage":
        """Digest an image's files, each read once. ArtifactError: one is missing."""
        prefixes = {}
        for file in _FTYPES:
            if not (folder / file).is_file():
                raise ArtifactError(
                    f"artifact {file!r} of the image {str(name)!r} is missing",
                    hint=f"./run invoke lxd-container --release {name.release} --arch {name.arch}",
                )
            if file != SQUASHFS:
                prefixes[file] = (folder / file).read_bytes()
        size, sha256, combined = _digests(folder / SQUASHFS, prefixes)
        items = {SQUASHFS: Item(ftype=_FTYPES[SQUASHFS], path=SQUASHFS, size=size, sha256=sha256)}
        for file, content in prefixes.items():
            items[file] = Item(
                ftype=_FTYPES[file],
                path=file,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                combined_squashfs_sha256=combined[file],
            )
        return cls(name, folder, items)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {file: item.sha256 for file, item in self.items.items()}


@dataclass(frozen=True)
class Report:
    """What a publication did.

    Attributes:
        added: the serial of each image that got a new version.
        kept: the images that had theirs.
        objects: the objects of all these versions, and their sizes in bytes.
        uploads: what was uploaded.
    """

    added: Mapping[str, str]
    kept: tuple[str, ...]
    objects: Mapping[str, int]
    uploads: Published


def find_images(root: Path) -> tuple[BuiltImage, ...]:
    """The images below `<release>/<arch>/<type>` of the folder `root`, sorted.

    Raises:
        ArtifactError: there are none, one lacks a file, or has an architecture no client knows.
    """
    folders = sorted(path for path in root.glob("*/*/*") if path.is_dir())
    if not folders:
        raise ArtifactError(f"artifact {root.name!r} has no image", hint="./run invoke lxd-container")
    images = []
    for folder in folders:
        release, arch, kind = folder.relative_to(root).parts
        if arch not in LXD_ARCHES:
            raise ArtifactError(
                f"{folder.relative_to(root).as_posix()!r} has the unknown architecture {arch!r}",
                hint=f"known: {', '.join(LXD_ARCHES)}",
            )
        images.append(BuiltImage.read(ImageName(release=release, arch=arch, type=kind), folder))
    return tuple(images)


def publish_images(
    bucket: Bucket, prefix: str, images: Sequence[BuiltImage], *, now: dt.datetime, publisher: str
) -> Report:
    """Publish images that are not the newest of their product already.

    Of two publishers at once the second begins again on top of the first, so that both end up in the index.

    Args:
        bucket: where to.
        prefix: the folder in it (the milestone).
        images: what to publish.
        now: the time new serials are made of.
        publisher: who publishes, for the message of whoever comes second.

    Raises:
        ConflictError: others were faster, again and again.
        ArtifactError: the index in the bucket is not one this project wrote.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _publish_once(bucket, prefix, images, now, publisher)
        except ConflictError as err:
            if attempt == _ATTEMPTS:
                raise
            log.info("%s; beginning again on top of it (attempt %d of %d)", err.what, attempt + 1, _ATTEMPTS)
    raise AssertionError("not reached")


def _publish_once(
    bucket: Bucket, prefix: str, images: Sequence[BuiltImage], now: dt.datetime, publisher: str
) -> Report:
    pointer = f"{prefix}/{IMAGES}"
    held = bucket.read(pointer)
    index = Images.read(held.content, f"{bucket.url}/{pointer}") if held else Images()
    uploads: list[Upload] = []
    added: dict[str, str] = {}
    for image in images:
        name = image.name.product
        product = index.products.get(name, Product.named(image.name))
        newest = product.newest()
        known = newest is not None and _is_newest(image, product)
        serial = newest[0] if newest and known else _free_serial(bucket, prefix, image, product, now)
        items = {file: _placed(item, image.name, serial) for file, item in image.items.items()}
        # Of a version the index has already too: an object that was lost comes back, the others are there.
        uploads += [Upload(f"{prefix}/{item.path}", image.folder / file) for file, item in items.items()]
        if known:
            continue
        index = index.with_product(name, product.with_version(serial, items))
        added[name] = serial
    done = publish(
        bucket,
        immutable=uploads,
        mutable=[Upload(f"{prefix}/{INDEX}", index.index())],
        pointer=Upload(pointer, index.write()),
        if_generation=held.stat.generation if held else ABSENT,
        publisher=publisher,
    )
    kept = tuple(sorted({image.name.product for image in images} - added.keys()))
    objects = {upload.name: upload.size for upload in uploads}
    return Report(added, kept, objects, done)


def _is_newest(image: BuiltImage, product: Product) -> bool:
    newest = product.newest()
    return newest is not None and {key: item.sha256 for key, item in newest[1].items()} == image.digests()


def _free_serial(bucket: Bucket, prefix: str, image: BuiltImage, product: Product, now: dt.datetime) -> str:
    """The first minute from now on, after the newest version, that nobody has used.

    A minute whose files are in the bucket but not in the index is somebody's who is still uploading, or was killed. If
    they are the same as ours it is our minute too: that is how a killed publication goes on.
    """
    newest = product.newest()
    when = max(now, time_of(newest[0]) + _MINUTE) if newest else now
    while True:
        serial = serial_of(when)
        folder = f"{prefix}/{_folder(image.name, serial)}/"
        ours = image.digests()
        stats = ((name.removeprefix(folder), bucket.stat(name)) for name in bucket.names(folder))
        if all(stat is not None and ours.get(file) == stat.sha256 for file, stat in stats):
            return serial
        when += _MINUTE


def _folder(name: ImageName, serial: str) -> str:
    return f"images/debian/{name.folder.as_posix()}/{serial}"


def _placed(item: Item, name: ImageName, serial: str) -> Item:
    return Item(
        ftype=item.ftype,
        path=f"{_folder(name, serial)}/{item.path}",
        size=item.size,
        sha256=item.sha256,
        combined_squashfs_sha256=item.combined_squashfs_sha256,
    )


def _digests(path: Path, prefixes: Mapping[str, bytes]) -> tuple[int, str, dict[str, str]]:
    """A file's size and SHA-256, and the SHA-256 of each prefix followed by it, in one reading."""
    plain, combined = hashlib.sha256(), {name: hashlib.sha256(prefix) for name, prefix in prefixes.items()}
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            for digest in (plain, *combined.values()):
                digest.update(block)
    return size, plain.hexdigest(), {name: digest.hexdigest() for name, digest in combined.items()}
