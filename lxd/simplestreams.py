"""The simplestreams index LXD and Incus find images in: its two JSON files, read strictly and written the same way.

Only the fields this project writes are known; the formats are those of `index:1.0` and `products:1.0`.
"""

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from common.errors import ArtifactError
from lxd.metadata import ImageName

INDEX = "streams/v1/index.json"
IMAGES = "streams/v1/images.json"
DATATYPE = "image-downloads"
_SERIAL = "%Y%m%d_%H:%M"
_OPTIONAL = ("combined_squashfs_sha256", "combined_rootxz_sha256", "delta_base")  # of an Item
_HINT = "restore the object's last good version; nothing was changed"


class _Reader:
    """One JSON object, read key by key; ArtifactError for what is missing, has another type, or nobody knows."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ArtifactError(f"{where} is {value!r}, not an object", hint=_HINT)
        self.where = where
        self._left: dict[str, object] = dict(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._left.pop(key, default)
        if not isinstance(value, str):
            raise ArtifactError(f"{self.where}: {key} is {value!r}, not a text", hint=_HINT)
        return value

    def fixed(self, key: str, wanted: str) -> None:
        if (value := self.text(key)) != wanted:
            raise ArtifactError(f"{self.where}: {key} is {value!r}, not {wanted!r}", hint=_HINT)

    def number(self, key: str) -> int:
        value = self._left.pop(key, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ArtifactError(f"{self.where}: {key} is {value!r}, not a number", hint=_HINT)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._left.pop(key, None)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ArtifactError(f"{self.where}: {key} is {value!r}, not a list of texts", hint=_HINT)
        return tuple(value)

    def members(self, key: str) -> "dict[str, _Reader]":
        """The objects in the object `key`."""
        value = self._left.pop(key, None)
        if not isinstance(value, dict):
            raise ArtifactError(f"{self.where}: {key} is {value!r}, not an object", hint=_HINT)
        return {name: _Reader(f"{self.where}: {name}", each) for name, each in value.items()}

    def end(self) -> None:
        """Refuse what is left: writing the file again would lose it."""
        if self._left:
            raise ArtifactError(
                f"{self.where}: unknown {min(self._left)!r}", hint="a newer version of this project wrote it"
            )


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file of a version.

    Attributes:
        ftype: what the client takes it for: lxd.tar.xz, incus.tar.xz, squashfs, root.tar.xz, squashfs.vcdiff; whatever
            else it is (a list of packages), clients pass it over.
        path: below the directory that `streams/` is in.
        size: bytes.
        sha256: hex.
        combined_squashfs_sha256, combined_rootxz_sha256: of a metadata file only: the image's fingerprint, SHA-256 over
            it and the squashfs, or the root.tar.xz.
        delta_base: of a .vcdiff only: the serial it makes this version's file from.
    """

    ftype: str
    path: str
    size: int
    sha256: str
    combined_squashfs_sha256: str = ""
    combined_rootxz_sha256: str = ""
    delta_base: str = ""

    @classmethod
    def of(cls, reader: _Reader) -> Self:
        item = cls(
            ftype=reader.text("ftype"),
            path=reader.text("path"),
            size=reader.number("size"),
            sha256=reader.text("sha256"),
            **{key: reader.text(key, "") for key in _OPTIONAL},
        )
        reader.end()
        return item

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        plain: dict[str, object] = {"ftype": self.ftype, "path": self.path, "size": self.size, "sha256": self.sha256}
        return plain | {key: value for key in _OPTIONAL if (value := getattr(self, key))}


@dataclass(frozen=True, kw_only=True)
class Product:
    """An image's name and all its versions, by serial."""

    aliases: tuple[str, ...]
    arch: str
    os: str
    release: str
    release_title: str
    variant: str
    versions: Mapping[str, Mapping[str, Item]] = field(default_factory=dict)

    @classmethod
    def named(cls, name: ImageName) -> Self:
        """The product of an image, without versions. The default type also has the aliases without a type."""
        short = f"debian/{name.release}"
        aliases = [f"{short}/{name.type}", f"{short}/{name.type}/{name.arch}"]
        if name.type == "default":
            aliases += [short, f"{short}/{name.arch}"]
        return cls(
            aliases=tuple(sorted(aliases)),
            arch=name.arch,
            os="Debian",
            release=name.release,
            release_title=name.release,
            variant=name.type,
        )

    @classmethod
    def of(cls, reader: _Reader) -> Self:
        versions = {}
        for serial, version in reader.members("versions").items():
            versions[serial] = {key: Item.of(item) for key, item in version.members("items").items()}
            version.end()
        product = cls(
            aliases=tuple(filter(None, reader.text("aliases").split(","))),
            arch=reader.text("arch"),
            os=reader.text("os"),
            release=reader.text("release"),
            release_title=reader.text("release_title"),
            variant=reader.text("variant"),
            versions=versions,
        )
        reader.end()
        return product

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        versions = {
            serial: {"items": {key: item.plain() for key, item in items.items()}}
            for serial, items in self.versions.items()
        }
        return {
            "aliases": ",".join(self.aliases),
            "arch": self.arch,
            "os": self.os,
            "release": self.release,
            "release_title": self.release_title,
            "variant": self.variant,
            "versions": versions,
        }

    def newest(self) -> tuple[str, Mapping[str, Item]] | None:
        """The newest version, as clients choose it: the greatest serial, as text."""
        return max(self.versions.items(), key=lambda version: version[0], default=None)

    def without_versions(self, serials: Collection[str]) -> "Product":
        """The same without some versions, and without the deltas that start from one of them."""
        kept = {
            serial: {key: item for key, item in items.items() if item.delta_base not in serials}
            for serial, items in self.versions.items()
            if serial not in serials
        }
        return replace(self, versions=kept)

    def with_version(self, serial: str, items: Mapping[str, Item]) -> "Product":
        """The same with one more version."""
        return replace(self, versions={**self.versions, serial: items})


@dataclass(frozen=True)
class Images:
    """images.json: the products by name (`debian:bookworm:amd64:default`)."""

    products: Mapping[str, Product] = field(default_factory=dict)

    @classmethod
    def read(cls, content: bytes, where: str) -> Self:
        """Read images.json. ArtifactError: it is not what this project wrote; `where` is its URL, for the message."""
        reader = _Reader(where, _parsed(content, where))
        reader.fixed("content_id", "images")
        reader.fixed("datatype", DATATYPE)
        reader.fixed("format", "products:1.0")
        images = cls({name: Product.of(product) for name, product in reader.members("products").items()})
        reader.end()
        return images

    def write(self) -> bytes:
        """The bytes of images.json: the same products give the same bytes."""
        return _written(
            {
                "content_id": "images",
                "datatype": DATATYPE,
                "format": "products:1.0",
                "products": {name: product.plain() for name, product in self.products.items()},
            }
        )

    def with_product(self, name: str, product: Product) -> "Images":
        """The same with a product added or replaced."""
        return Images({**self.products, name: product})

    def without_versions(self, gone: Mapping[str, Collection[str]]) -> "Images":
        """The same without some versions, serials by product, and without the deltas that start from one of them."""
        products = {name: product.without_versions(gone.get(name, ())) for name, product in self.products.items()}
        return Images(products)

    def index(self) -> bytes:
        """The bytes of the index.json that goes with it: it changes with the names of the products only."""
        entry = {
            "datatype": DATATYPE,
            "format": "products:1.0",
            "path": IMAGES,
            "products": sorted(self.products),
        }
        return _written({"format": "index:1.0", "index": {"images": entry}})


def read_index(content: bytes, where: str) -> tuple[str, ...]:
    """The names of the products that an index.json lists. ArtifactError: it is not what this project wrote."""
    reader = _Reader(where, _parsed(content, where))
    reader.fixed("format", "index:1.0")
    names: list[str] = []
    for entry in reader.members("index").values():
        entry.fixed("datatype", DATATYPE)
        entry.fixed("format", "products:1.0")
        entry.fixed("path", IMAGES)
        names += entry.texts("products")
        entry.end()
    reader.end()
    return tuple(names)


def serial_of(when: dt.datetime) -> str:
    """The serial of a minute: `YYYYMMDD_HH:MM`, in UTC."""
    return when.astimezone(dt.UTC).strftime(_SERIAL)


def time_of(serial: str) -> dt.datetime:
    """The minute of a serial. ArtifactError: it is none."""
    try:
        return dt.datetime.strptime(serial, _SERIAL).replace(tzinfo=dt.UTC)
    except ValueError as err:
        raise ArtifactError(f"the serial {serial!r} is not like YYYYMMDD_HH:MM", hint=_HINT) from err


def _parsed(content: bytes, where: str) -> object:
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise ArtifactError(f"{where} is not JSON: {err}", hint=_HINT) from err
    return parsed


def _written(content: object) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
