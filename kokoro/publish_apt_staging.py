"""Publication of the signed apt repository in staging: whatever a client reads, at any moment, fits together."""

import datetime as dt
import logging
from dataclasses import asdict

from common.aptpublish import Target, publish_repository
from common.aptrepo import KEYRING, check_contents, check_exact
from common.aptstate import apt_state
from common.errors import ConfigError
from common.files import sha256_of, write_atomically
from common.keyring import fingerprints, refuse_throwaway
from common.progress import step
from common.publication import note
from common.snapshots import Part
from common.store import open_bucket
from kokoro import attest
from kokoro.env import KokoroEnv

log = logging.getLogger(__name__)

BUCKET = "cros-packages-staging"
INPUT, IMAGES = "apt_signed", "lxd"
REPORT = "published.json"


def build(env: KokoroEnv) -> None:
    """Publish apt_signed to gs://cros-packages-staging/<milestone>, record it, and leave published.json about it.

    Raises:
        ArtifactError: apt_signed is not what its manifest says.
        SigningError: it is not signed by a key of its keyring, or by a throwaway one and meant for everybody.
        ConflictError: a package is published with other content, or a newer repository is.
    """
    if env.store is None:
        raise ConfigError("this build may touch no bucket: CROS_STORE is not set", hint="kokoro/flows.toml, needs")
    root = env.gfile_dir / INPUT
    with step(f"Check {INPUT}"):
        manifest = check_exact(root, env.gfile_dir / f"{INPUT}.manifest.json")
        check_contents(root, manifest)
        if env.for_everybody:
            refuse_throwaway(root / KEYRING, f"{INPUT!r} is signed with")
    target = Target(open_bucket(env.store, BUCKET), env.milestone)
    with step(f"Publish to {target.url}"):
        done = publish_repository(root, manifest, target, publisher=env.job_name, now=dt.datetime.now(dt.UTC))
    for codename, what in done.items():
        log.info("%s: %s", codename, what)
    report = {codename: asdict(what) for codename, what in done.items()}
    # Superseded by-hash copies go by themselves; the rest stays as long as this is what is published.
    objects = {target.name(entry.path): entry.size for entry in manifest.entries}
    pointers = [target.name(f"dists/{codename}/InRelease") for codename in done]
    write_atomically(env.artifacts_dir / REPORT, note(target.bucket, pointers, objects, report))
    with step("Record what is staged"):
        ours = {f"dists/{codename}/InRelease": sha256_of(root / "dists" / codename / "InRelease") for codename in done}
        attest.record(
            env, Part.APT, target.bucket, apt_state(target.bucket, env.milestone), ours=ours,
            keys=fingerprints(root / KEYRING), reports=attest.reports_below(env.gfile_dir / IMAGES),
        )  # fmt: skip
