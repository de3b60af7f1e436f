"""Publication of the images and their index in staging: a client finds the old newest image or the new one."""

import datetime as dt
import json
import logging
from collections.abc import Sequence

from common.bucket import Bucket
from common.errors import ArtifactError, ConfigError
from common.files import write_atomically
from common.keyring import refuse_throwaway
from common.milestones import object_name, url_of
from common.progress import step
from common.publication import note
from common.snapshots import Part
from common.store import open_bucket
from kokoro import attest
from kokoro.env import KokoroEnv
from lxd.built import BuiltImage, find_images
from lxd.changes import Changes
from lxd.pins import version_of
from lxd.publish import publish_images
from lxd.report import FILE as BOOTED
from lxd.simplestreams import IMAGES
from lxd.state import container_state

log = logging.getLogger(__name__)

BUCKET = "cros-containers-staging"
INPUT = "lxd"
REPORT = "published.json"
CHANGES = "changes"


def build(env: KokoroEnv) -> None:
    """Publish the images of lxd_container to gs://cros-containers-staging/<milestone>; published.json says which.

    changes.txt and changes.json say what each new version contains against the one before.

    Raises:
        ArtifactError: there is no image, one is incomplete, or the branch has no such image.
        SigningError: an image trusts a throwaway key, and is meant for everybody.
        ConflictError: another publisher is faster, again and again.
        ToolMissingError: deltas are wanted and there is no xdelta3.
    """
    if env.store is None:
        raise ConfigError("this build may touch no bucket: CROS_STORE is not set", hint="kokoro/flows.toml, needs")
    with step("Digest the images"):
        images = find_images(env.gfile_dir / INPUT)
    for image in images:
        _check_known(env, image)
    if env.for_everybody:
        with step("Check whom the images trust"):
            for image in images:
                with image.keyring() as keyring:
                    refuse_throwaway(keyring, f"the image {str(image.name)!r} trusts")
    bucket = open_bucket(env.store, BUCKET)
    with step(f"Publish {len(images)} images to {url_of(bucket.url, env.milestone)}"):
        done = publish_images(
            bucket, env.milestone, images, now=dt.datetime.now(dt.UTC), publisher=env.job_name,
            delta_bases=env.delta_bases,
        )  # fmt: skip
    for product, serial in done.added.items():
        log.info("%s: version %s", product, serial)
    for product in done.kept:
        log.info("%s: the newest version is the same, nothing to add", product)
    log.info("%s", done.uploads)
    _write_changes(env, done.changes)
    report = {"added": dict(done.added), "kept": list(done.kept)}
    said = note(bucket, [object_name(env.milestone, IMAGES)], done.objects, report)
    write_atomically(env.artifacts_dir / REPORT, said)
    with step("Record what is staged"):
        _record(env, bucket)


def _record(env: KokoroEnv, bucket: Bucket) -> None:
    """Record what is staged: the newest version of each product, of which some may have been published before."""
    state = container_state(bucket, env.milestone)
    reports: dict[str, bytes | None] = {}
    for path in state.objects if state else ():
        if (version := version_of(path)) is not None:
            reports.setdefault(version.product, None)
            if path.endswith(f"/{BOOTED}") and (held := bucket.read(object_name(env.milestone, path))):
                reports[version.product] = held.content
    attest.record(env, Part.CONTAINER, bucket, state, ours={}, reports=reports)


def _write_changes(env: KokoroEnv, changes: Sequence[Changes]) -> None:
    """Leave what changed for people, in the log too, and for programs."""
    text = "\n\n".join(str(each) for each in changes) or "no image has changed"
    for line in text.splitlines():
        log.info("%s", line)
    write_atomically(env.artifacts_dir / f"{CHANGES}.txt", text + "\n")
    plain = [each.plain() for each in changes]
    write_atomically(env.artifacts_dir / f"{CHANGES}.json", json.dumps(plain, indent=1) + "\n")


def _check_known(env: KokoroEnv, image: BuiltImage) -> None:
    branch, name = env.branch, image.name
    if name.release in branch.releases and name.arch in branch.image_arches and name.type in branch.all_image_types:
        return
    raise ArtifactError(
        f"artifact {str(name.folder)!r} is an image that branch {branch.name!r} does not have",
        hint="see branches.toml, and run lxd_container again",
    )
