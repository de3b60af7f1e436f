"""What a bucket shows of the images: the newest version of each product, found from images.json on."""

from common.bucket import Bucket
from common.milestones import object_name, url_of
from common.shown import Object, State, read_pointers, settled, whole
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


def _state(bucket: Bucket, milestone: int, content: bytes) -> State:
    where = f"{bucket.url}/{object_name(milestone, IMAGES)}"
    wanted = newest_objects(Images.read(content, where))
    return State(
        objects=whole(bucket, milestone, wanted, (INDEX, IMAGES)), pointers=(IMAGES,), replaced=(INDEX, IMAGES)
    )
