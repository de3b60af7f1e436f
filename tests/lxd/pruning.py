"""A bucket in memory that dies where it is told to, and images in it, for the tests of pruning."""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from common.bucket import ABSENT, Bucket, Held, Kind, Source, Stat, Uploaded, ignore
from common.errors import ConflictError
from lxd.metadata import ImageName
from lxd.simplestreams import IMAGES, Images, Item, Product, serial_of

NAMES = [ImageName(release=release, arch="amd64", type="default") for release in ("bookworm", "trixie")]
NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
FILES = ("lxd.tar.xz", "rootfs.squashfs")


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing after it runs."""


@dataclass
class Memory:
    """A bucket in memory; it is killed at its write number `dies_at`, before or after it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    url: str = "gs://cros-containers-staging"
    dies_at: int = -1
    writes: int = 0
    rivals: list[bytes] = field(default_factory=list)
    threads: int = 1

    def stats(self, names: Collection[str]) -> dict[str, Stat]:
        return {name: stat for name in names if (stat := self.stat(name))}

    def claim(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        raise NotImplementedError

    def copy_from(
        self, other: Bucket, source: Stat, name: str, *, kind: Kind, if_generation: int | None = None,
        publisher: str = "",
    ) -> Uploaded:  # fmt: skip
        raise NotImplementedError

    def stat(self, name: str) -> Stat | None:
        content = self.objects.get(name)
        if content is None:
            return None
        return Stat(name, len(content), hashlib.sha256(content).hexdigest(), self.generations.get(name, 1))

    def read(self, name: str) -> Held | None:
        stat = self.stat(name)
        return Held(self.objects[name], stat) if stat else None

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))

    def upload(
        self,
        source: Source,
        name: str,
        *,
        kind: Kind,  # noqa: ARG002, as a Bucket has it
        if_generation: int | None = None,
        publisher: str = "",  # noqa: ARG002
        sha256: str = "",  # noqa: ARG002
        on_bytes: Callable[[int], None] = ignore,  # noqa: ARG002
    ) -> Uploaded:
        assert isinstance(source, bytes)
        if self.rivals and name.endswith(IMAGES):
            self._put(name, self.rivals.pop(0))
        have = self.stat(name)
        if if_generation is not None and if_generation != (have.generation if have else ABSENT):
            raise ConflictError(f"{name} was changed")
        self._dies()
        self._put(name, source)
        self._dies()
        stat = self.stat(name)
        assert stat is not None
        return Uploaded(stat, changed=True)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:  # noqa: ARG002
        self._dies()
        self.objects.pop(name, None)

    def _put(self, name: str, content: bytes) -> None:
        self.objects[name] = content
        self.generations[name] = self.generations.get(name, 1) + 1

    def _dies(self) -> None:
        self.writes += 1
        if self.writes == self.dies_at:
            raise Killed


def folder(name: ImageName, serial: str) -> str:
    return f"images/debian/{name.folder.as_posix()}/{serial}"


def add(bucket: Memory, name: ImageName, when: dt.datetime, *, whole: bool = True, base: str = "") -> str:
    """Publish one version."""
    serial = serial_of(when)
    index = index_of(bucket) if f"72/{IMAGES}" in bucket.objects else Images()
    files = [*FILES, f"rootfs.{base}.vcdiff"] if base else list(FILES)
    items = {
        file: Item(
            ftype="squashfs.vcdiff" if file.endswith("vcdiff") else file,
            path=f"{folder(name, serial)}/{file}", size=10, sha256="0" * 64,
            delta_base=base if file.endswith("vcdiff") else "",
        )
        for file in files
    }  # fmt: skip
    for item in items.values():
        bucket.objects[f"72/{item.path}"] = b"0123456789"
    if not whole:
        del bucket.objects[f"72/{folder(name, serial)}/rootfs.squashfs"]
    product = index.products.get(name.product, Product.named(name))
    bucket.objects[f"72/{IMAGES}"] = index.with_product(name.product, product.with_version(serial, items)).write()
    return serial


def index_of(bucket: Memory) -> Images:
    return Images.read(bucket.objects[f"72/{IMAGES}"], "images.json")
