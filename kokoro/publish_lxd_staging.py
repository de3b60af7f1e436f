"""Publication of the images and their index in staging: a client finds the old newest image or the new one."""

import datetime as dt
import logging

from common.bucket import DirectoryBucket
from common.errors import ArtifactError, ConfigError
from common.files import write_atomically
from common.progress import step
from common.publication import note
from kokoro.env import KokoroEnv
from lxd.publish import BuiltImage, find_images, publish_images
from lxd.simplestreams import IMAGES

log = logging.getLogger(__name__)

BUCKET = "cros-containers-staging"
INPUT = "lxd"
REPORT = "published.json"


def build(env: KokoroEnv) -> None:
    """Publish the images of lxd_container to gs://cros-containers-staging/<milestone>; published.json says which.

    Raises:
        ArtifactError: there is no image, one is incomplete, or the branch has no such image.
        ConflictError: another publisher is faster, again and again.
    """
    if env.store is None:
        raise ConfigError("this build may touch no bucket: CROS_STORE is not set", hint="kokoro/flows.toml, needs")
    with step("Digest the images"):
        images = find_images(env.gfile_dir / INPUT)
    for image in images:
        _check_known(env, image)
    bucket = DirectoryBucket(env.store / BUCKET)
    with step(f"Publish {len(images)} images to {bucket.url}/{env.milestone}"):
        done = publish_images(bucket, str(env.milestone), images, now=dt.datetime.now(dt.UTC), publisher=env.job_name)
    for product, serial in done.added.items():
        log.info("%s: version %s", product, serial)
    for product in done.kept:
        log.info("%s: the newest version is the same, nothing to add", product)
    log.info("%s", done.uploads)
    report = {"added": dict(done.added), "kept": list(done.kept)}
    write_atomically(env.artifacts_dir / REPORT, note(bucket, [f"{env.milestone}/{IMAGES}"], done.objects, report))


def _check_known(env: KokoroEnv, image: BuiltImage) -> None:
    branch, name = env.branch, image.name
    if name.release in branch.releases and name.arch in branch.image_arches and name.type in branch.image_types:
        return
    raise ArtifactError(
        f"artifact {str(name.folder)!r} is an image that branch {branch.name!r} does not have",
        hint="see branches.toml, and run lxd_container again",
    )
