"""Images made live from a snapshot: copied inside the store by digest, under an index with exactly what was tested."""

from collections.abc import Mapping
from dataclasses import replace

from common.bucket import Bucket, Stat
from common.errors import ArtifactError
from common.milestones import object_name
from common.publication import Copied, Item, Published, publish, seen
from common.snapshots import Snapshot, Snapshots
from lxd.simplestreams import IMAGES, INDEX, Images, Product
from lxd.state import newest_objects


def index_with(live: Images, tested: Images) -> Images:
    """The index in which a client finds the newest version of each tested product, and no newer one.

    Earlier live versions stay, for clients that have their names; deltas stay only where the version they start from is
    there too. Products that were not tested stay as they are.
    """
    products: dict[str, Product] = dict(live.products)
    for name, product in tested.products.items():
        newest = product.newest()
        if newest is None:
            continue
        serial, items = newest
        before = live.products[name].versions if name in live.products else {}
        versions = {each: found for each, found in before.items() if each < serial}
        kept = {file: item for file, item in items.items() if not item.delta_base or item.delta_base in versions}
        products[name] = replace(product, versions={**versions, serial: kept})
    return Images(products)


def make_live(
    source: Snapshots, snapshot: Snapshot, target: Bucket, *, publisher: str
) -> tuple[Published, dict[str, str]]:
    """Copy the images of a snapshot, and move the index of a bucket to them; what was done, and the index's SHA-256.

    Args:
        source: where the snapshot is. Where that is the target itself, its index comes back but for older versions that
            are shown no more.
        snapshot: which.
        target: where its images go.
        publisher: who does it.

    Raises:
        ArtifactError: an image of the snapshot is gone, or an index cannot be read.
        ConflictError: somebody else is faster.
    """
    immutable, mutable, pointer, generation = items(source, snapshot, target)
    done = publish(
        target, immutable=immutable, mutable=mutable, pointer=pointer, if_generation=generation, publisher=publisher,
        milestone=source.milestone,
    )  # fmt: skip
    return done, {IMAGES: pointer.digest()}


def items(source: Snapshots, snapshot: Snapshot, target: Bucket) -> tuple[list[Item], list[Item], Item, int]:
    """What is copied, what is replaced, the pointer, and the generation it replaces."""
    milestone = source.milestone
    where = f"{source.url}/snapshots/objects"
    tested = Images.read(source.read_kept(snapshot.objects[IMAGES].sha256).content, where)
    content, generation = seen(target, object_name(milestone, IMAGES))
    live = Images.read(content, f"{target.url}/{object_name(milestone, IMAGES)}") if content else Images()
    index = _put_back(live, tested) if target is source.bucket else index_with(live, tested)
    paths = [path for path in newest_objects(index) if path in snapshot.objects]
    have = _stats(source, snapshot, paths)
    copied = [Item(object_name(milestone, path), Copied(source.bucket, have[path])) for path in paths]
    return (
        copied,
        [Item(object_name(milestone, INDEX), index.index())],
        Item(object_name(milestone, IMAGES), index.write()),
        generation,
    )


def _put_back(live: Images, index: Images) -> Images:
    """An index that was recorded; of older versions those that live shows still, as others were, or may be, pruned."""
    gone = {}
    for name, product in index.products.items():
        shown = live.products[name].versions.keys() if name in live.products else set[str]()
        gone[name] = product.versions.keys() - shown - {max(product.versions, default="")}
    return index.without_versions(gone)


def _stats(source: Snapshots, snapshot: Snapshot, paths: list[str]) -> Mapping[str, Stat]:
    there = source.bucket.stats([object_name(source.milestone, path) for path in paths])
    found = {path: there[name] for path in paths if (name := object_name(source.milestone, path)) in there}
    wrong = [path for path in paths if path not in found or found[path].sha256 != snapshot.objects[path].sha256]
    if wrong:
        raise ArtifactError(
            f"snapshot {snapshot.short} is not whole any more: {wrong[0]} is missing or something else",
            details="\n".join(wrong), hint="promote another one: ./run invoke staged lists them",
        )  # fmt: skip
    return found
