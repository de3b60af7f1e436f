"""What a bucket shows of the images: the newest version of each product, found from images.json on."""

from collections.abc import Sequence

from common.bucket import Bucket
from common.milestones import object_name, url_of
from common.shown import Object, State, read_pointers, settled, whole
from common.snapshots import Snapshot, Snapshots, current
from lxd.simplestreams import IMAGES, INDEX, Images


def container_state(bucket: Bucket, milestone: int) -> State | None:
    """What a bucket shows; None where nothing is published.

    Older versions, which the index names too, were the newest of snapshots before.

    Raises:
        ConflictError: publications move it on all the time.
        ArtifactError: the index cannot be read, or an object that it names is missing or something else.
    """
    return settled(
        lambda: read_pointers(bucket, milestone, [IMAGES]),
        lambda pointers: _state(bucket, milestone, pointers[IMAGES].content),
        url_of(bucket.url, milestone),
    )


def newest_objects(index: Images) -> dict[str, Object]:
    """The objects of the newest version of each product, by path below the milestone."""
    newest = [found[1] for product in index.products.values() if (found := product.newest())]
    return {item.path: Object(size=item.size, sha256=item.sha256) for items in newest for item in items.values()}


def recorded(snapshots: Snapshots, among: Sequence[Snapshot], state: State) -> Snapshot | None:
    """The newest of some snapshots that a bucket shows.

    Pruning takes older versions out of the index of images. It shows the same snapshot as before then, which has the
    newest versions; the index has to be, byte for byte, the recorded one without some of the others.
    """
    if (found := current(among, state)) or state.pointers != (IMAGES,):
        return found
    held = snapshots.bucket.read(object_name(snapshots.milestone, IMAGES))
    if held is None or held.stat.sha256 != state.objects[IMAGES].sha256:
        return None  # it has moved on
    shown = Images.read(held.content, f"{snapshots.bucket.url}/{held.stat.name}")
    newest = {path: each for path, each in state.objects.items() if path not in state.replaced}
    for each in among:
        if newest.items() <= each.objects.items():
            index = Images.read(snapshots.read_kept(each.objects[IMAGES].sha256).content, each.short)
            gone = {
                name: product.versions.keys() - shown.products[name].versions.keys()
                for name, product in index.products.items()
                if name in shown.products
            }
            if index.without_versions(gone).write() == held.content:
                return each
    return None


def _state(bucket: Bucket, milestone: int, content: bytes) -> State:
    where = f"{bucket.url}/{object_name(milestone, IMAGES)}"
    wanted = newest_objects(Images.read(content, where))
    return State(
        objects=whole(bucket, milestone, wanted, (INDEX, IMAGES)), pointers=(IMAGES,), replaced=(INDEX, IMAGES)
    )
