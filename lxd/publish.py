"""Publishes images under a simplestreams index: the files first, images.json last, every earlier version kept."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from common.bucket import Bucket
from common.errors import ArtifactError, ConflictError
from common.files import workspace
from common.milestones import object_name
from common.publication import Item as Upload
from common.publication import Published, publish, seen
from lxd.built import MANIFEST, BuiltImage
from lxd.changes import Changes, Sizes, compare, installed_size
from lxd.clients import Client, find
from lxd.contents import Package, read_table
from lxd.delta import Deltas
from lxd.metadata import ImageName
from lxd.pack import SQUASHFS
from lxd.simplestreams import IMAGES, INDEX, Images, Item, Product, serial_of, time_of

log = logging.getLogger(__name__)

_ATTEMPTS = 5
_MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Report:
    """What a publication did.

    Attributes:
        added: the serial of each image that got a new version.
        kept: the images that had theirs.
        changes: what each new version contains against the one before.
        objects: the objects of all these versions, and their sizes in bytes.
        uploads: what was uploaded.
    """

    added: Mapping[str, str]
    kept: tuple[str, ...]
    changes: tuple[Changes, ...]
    objects: Mapping[str, int]
    uploads: Published


def publish_images(
    bucket: Bucket,
    milestone: int,
    images: Sequence[BuiltImage],
    *,
    now: dt.datetime,
    publisher: str,
    delta_bases: int = 0,
) -> Report:
    """Publish images that are not the newest of their product already.

    Of two publishers at once the second begins again on top of the first, so that both end up in the index.

    Args:
        bucket: where to.
        milestone: whose images.
        images: what to publish.
        now: the time new serials are made of.
        publisher: who publishes, for the message of whoever comes second.
        delta_bases: how many of the versions before get a delta to the new one, where that is smaller.

    Raises:
        ConflictError: others were faster, again and again.
        ArtifactError: the index in the bucket is not one this project wrote.
        ToolMissingError, CommandError, DeadlineError, DiskFullError: from xdelta3.
    """
    with workspace("deltas") as place:
        deltas = Deltas(bucket, milestone, place, delta_bases)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _Publication(bucket, milestone, deltas).run(images, now, publisher)
            except ConflictError as err:
                if attempt == _ATTEMPTS:
                    raise
                log.info("%s; beginning again on top of it (attempt %d of %d)", err.what, attempt + 1, _ATTEMPTS)
    raise AssertionError("not reached")


class _Publication:
    """One attempt: the index as it is in the bucket, and what is added to it."""

    def __init__(self, bucket: Bucket, milestone: int, deltas: Deltas) -> None:
        self.bucket, self.milestone, self.deltas = bucket, milestone, deltas
        self.pointer = self._name(IMAGES)
        content, self.generation = seen(bucket, self.pointer)
        self.index = Images.read(content, f"{bucket.url}/{self.pointer}") if content else Images()
        self.uploads: list[Upload] = []
        self.changes: list[Changes] = []
        self.added: dict[str, str] = {}

    def run(self, images: Sequence[BuiltImage], now: dt.datetime, publisher: str) -> Report:
        for image in images:
            product = self.index.products.get(image.name.product, Product.named(image.name))
            newest = product.newest()
            if newest and image.is_version(newest[1]):
                self._keep(image, product, *newest)
            else:
                self._add(image, product, now)
        self._check_visible()
        done = publish(
            self.bucket,
            immutable=self.uploads,
            mutable=[Upload(self._name(INDEX), self.index.index())],
            pointer=Upload(self.pointer, self.index.write()),
            if_generation=self.generation,
            publisher=publisher,
            milestone=self.milestone,
        )
        kept = tuple(sorted({image.name.product for image in images} - self.added.keys()))
        objects = {upload.name: upload.size for upload in self.uploads}
        return Report(self.added, kept, tuple(self.changes), objects, done)

    def _keep(self, image: BuiltImage, product: Product, serial: str, items: Mapping[str, Item]) -> None:
        """The newest version is this image: objects that were lost come back, but for deltas, which are given up."""
        there = set(self.bucket.names(self._name(f"{_folder(image.name, serial)}/")))
        kept = {}
        for file, item in items.items():
            ours = image.items.get(file)
            if ours and ours.sha256 == item.sha256:
                self.uploads.append(Upload(self._name(item.path), image.folder / file, item.sha256))
            elif item.delta_base and self._name(item.path) not in there:
                log.warning("%s is lost; the index does not name it any more", item.path)
                continue
            kept[file] = item
        if kept != items:
            self.index = self.index.with_product(image.name.product, product.with_version(serial, kept))

    def _add(self, image: BuiltImage, product: Product, now: dt.datetime) -> None:
        deltas = self.deltas.of(product, image.folder / SQUASHFS, image.items[SQUASHFS])
        items = {**image.items, **{file: delta.item for file, delta in deltas.items()}}
        places = {file: image.folder / file for file in image.items} | {
            file: delta.path for file, delta in deltas.items()
        }
        serial = self._free_serial(image.name, items, product, now)
        folder = _folder(image.name, serial)
        placed = {file: replace(item, path=f"{folder}/{item.path}") for file, item in items.items()}
        self.uploads += [Upload(self._name(item.path), places[file], item.sha256) for file, item in placed.items()]
        self.changes.append(self._changes(image, product, serial))
        self.index = self.index.with_product(image.name.product, product.with_version(serial, placed))
        self.added[image.name.product] = serial

    def _free_serial(self, name: ImageName, items: Mapping[str, Item], product: Product, now: dt.datetime) -> str:
        """The first minute from now on, after the newest version, that nobody has used.

        A minute whose files are in the bucket but not in the index is somebody's who is still uploading, or was killed.
        If they are the same as ours it is our minute too: that is how a killed publication goes on.
        """
        newest = product.newest()
        when = max(now, time_of(newest[0]) + _MINUTE) if newest else now
        while True:
            serial = serial_of(when)
            folder = self._name(f"{_folder(name, serial)}/")
            found = self.bucket.stats(self.bucket.names(folder))
            files = {each.removeprefix(folder): stat.sha256 for each, stat in found.items()}
            if all(file in items and items[file].sha256 == sha256 for file, sha256 in files.items()):
                return serial
            when += _MINUTE

    def _changes(self, image: BuiltImage, product: Product, serial: str) -> Changes:
        packages = image.packages()
        after = Sizes(rootfs=image.items[SQUASHFS].size, installed=installed_size(packages))
        newest = product.newest()
        if newest is None:
            return Changes(
                product=image.name.product, serial=serial, base="", packages=None, before=None, after=after
            )  # fmt: skip
        base, items = newest
        listed = self._list_of(items)
        size = items[SQUASHFS].size if SQUASHFS in items else 0
        return Changes(
            product=image.name.product,
            serial=serial,
            base=base,
            packages=None if listed is None else compare(listed, packages),
            before=Sizes(rootfs=size, installed=installed_size(listed or ())),
            after=after,
        )

    def _list_of(self, items: Mapping[str, Item]) -> tuple[Package, ...] | None:
        """The packages of a published version; None where it has no list, or lost it."""
        for item in items.values():
            if item.ftype == MANIFEST and (held := self.bucket.read(self._name(item.path))):
                return read_table(held.content.decode(errors="replace"), f"{self.bucket.url}/{self._name(item.path)}")
        return None

    def _name(self, path: str) -> str:
        return object_name(self.milestone, path)

    def _check_visible(self) -> None:
        """Refuse an index in which a client would pass over what was added, silently, as clients do."""
        for client in Client:
            visible = {(found.product, found.serial) for found in find(self.index, client)}
            for product, serial in self.added.items():
                if (product, serial) not in visible:
                    raise ArtifactError(
                        f"a client that reads {client!s} would not find {product!r} {serial!r}",
                        hint="lxd/clients.py has its rules",
                    )


def _folder(name: ImageName, serial: str) -> str:
    return f"images/debian/{name.folder.as_posix()}/{serial}"
