"""What LXD and Incus find in an index: their own rules, so that nothing is published that one of them passes over.

The rules are those of shared/simplestreams in both projects; see the comments for what differs.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lxd.metadata import LXD_ARCHES
from lxd.simplestreams import Images, Item, Product

# The root file -> the field of the metadata file that has the fingerprint of both, in the order clients prefer them.
_ROOTS = {"squashfs": "combined_squashfs_sha256", "root.tar.xz": "combined_rootxz_sha256"}


class Client(StrEnum):
    """A client, by the metadata file it reads; it passes over the other's."""

    LXD = "lxd.tar.xz"
    INCUS = "incus.tar.xz"


@dataclass(frozen=True)
class Found:
    """An image as a client finds it.

    Attributes:
        product, serial: where in the index.
        fingerprint: hex.
        aliases: its names.
        root: the ftype of its root file.
        deltas: the fingerprint of an image the client may have -> the path of the delta from there.
    """

    product: str
    serial: str
    fingerprint: str
    aliases: tuple[str, ...]
    root: str
    deltas: dict[str, str]


def find(images: Images, client: Client) -> tuple[Found, ...]:
    """All images a client finds; the first one with an alias is what the alias means."""
    found = [image for name, product in images.products.items() for image in _of_product(name, product, client)]
    # Serials descend as text, which is why they may not change their form on the way.
    found.sort(key=lambda image: list(_ROOTS).index(image.root))
    found.sort(key=lambda image: image.serial, reverse=True)
    return tuple(found)


def _of_product(name: str, product: Product, client: Client) -> Iterator[Found]:
    if product.arch not in LXD_ARCHES:
        return
    for serial, items in product.versions.items():
        if not _is_dated(serial):
            continue
        metadata = [item for item in items.values() if item.ftype == client and item.path]
        for item in metadata:
            for root, combined in _ROOTS.items():
                fingerprint = getattr(item, combined)
                if fingerprint and any(each.ftype == root for each in items.values()):
                    deltas = dict(_deltas(product, list(items.values()), root, client))
                    yield Found(name, serial, fingerprint, product.aliases, root, deltas)


def _is_dated(serial: str) -> bool:
    try:
        dt.datetime.strptime(serial[:8], "%Y%m%d").replace(tzinfo=dt.UTC)
    except ValueError:
        return False
    return len(serial) >= 8


def _deltas(product: Product, items: list[Item], root: str, client: Client) -> Iterator[tuple[str, str]]:
    """The deltas a client can use: only those whose base is still in the index, known by this client's metadata."""
    for item in items:
        if item.ftype == f"{root}.vcdiff" and root == "squashfs":
            for base in product.versions.get(item.delta_base, {}).values():
                if base.ftype == client and base.combined_squashfs_sha256:
                    yield base.combined_squashfs_sha256, item.path
