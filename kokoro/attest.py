"""The record of what a job has published: a signed snapshot in the bucket, with the boot checks as its evidence."""

import datetime as dt
import logging
from collections.abc import Mapping
from pathlib import Path

from common import tools
from common.bucket import Bucket
from common.documents import sign_document
from common.errors import ArtifactError
from common.files import sha256_of
from common.shown import State
from common.snapshots import Origin, Part, Snapshot, Snapshots
from kokoro import keystore
from kokoro.env import KokoroEnv
from lxd.bootchecks import NAME, BootChecks, Checked
from lxd.state import recorded

log = logging.getLogger(__name__)

KEY = "cros-attestation-key"
# Debian packages of the programs that make what is published.
_TOOLS = (
    "apt",
    "debhelper",
    "dpkg-dev",
    "gnupg",
    "lxd",
    "mmdebstrap",
    "python3",
    "reprepro",
    "squashfs-tools",
    "xdelta3",
)


def record(
    env: KokoroEnv,
    part: Part,
    bucket: Bucket,
    state: State | None,
    *,
    ours: Mapping[str, str],
    reports: Mapping[str, bytes | None],
    keys: tuple[str, ...] = (),
) -> Snapshot | None:
    """Record what a bucket shows now that this job has published to it.

    Args:
        env: the job's.
        part: what it publishes.
        bucket: where to.
        state: what that shows.
        ours: SHA-256 of the pointers as this job has left them; where somebody else has moved one meanwhile, the record
            is theirs to make.
        keys: fingerprints of what clients verify it with; images have none of their own.
        reports: the sponge_log.xml of each product; None for an image that was not booted.

    Returns:
        the snapshot; one from before where that is what the bucket shows. None where the record is somebody else's.

    Raises:
        SigningError: there is no attestation key.
        ConflictError: the bucket is published to at this moment.
    """
    if state is None:
        raise ArtifactError(f"{bucket.url} shows nothing of what was published", hint="run the job again with --force")
    moved = [path for path, digest in ours.items() if path not in state.objects or state.objects[path].sha256 != digest]
    if moved:
        log.info("%s was published by somebody else since; they record it", moved[0])
        return None
    with keystore.signer(env.keystore_dir, KEY) as signer:
        snapshots = Snapshots(bucket, env.milestone)
        snapshots.publish_keyring(signer, publisher=env.job_name)
        snapshot = recorded(snapshots, snapshots.all(), state) or Snapshot(
            part=part, milestone=env.milestone, bucket=bucket.url, created=now(), state=state, origin=_origin(env, keys)
        )
        snapshots.add(snapshot, signer, publisher=env.job_name)
        if not any(url.endswith(f"/{NAME}.json") for url in snapshots.evidence(snapshot.id)):
            checked = {product: None if report is None else Checked.of(report) for product, report in reports.items()}
            said = BootChecks(snapshot=snapshot.id, images=checked).write()
            snapshots.attach_evidence(snapshot.id, NAME, said, sign_document(said, signer))
    log.info("snapshot %s: %d objects", snapshot.short, len(snapshot.objects))
    return snapshot


def now() -> dt.datetime:
    """The time of a record, UTC: what was recorded later is later, also within a second."""
    return dt.datetime.now(dt.UTC)


def _origin(env: KokoroEnv, keys: tuple[str, ...]) -> Origin:
    # Of what was published, and of the repository that each image was built from.
    patterns = ("*.manifest.json", "lxd/*/*/*/*.manifest.json")
    manifests = sorted(path for pattern in patterns for path in env.gfile_dir.glob(pattern))
    return Origin(
        job=env.job_name, branch=env.branch.name, commit=env.commit,
        inputs={path.relative_to(env.gfile_dir).as_posix(): sha256_of(path) for path in manifests}, keys=keys,
        tools=_versions(),
    )  # fmt: skip


def _versions() -> dict[str, str]:
    said = tools.capture(["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *_TOOLS], ok=(0, 1))
    return dict(line.split(" ", 1) for line in said.splitlines() if not line.endswith(" "))


def reports_below(images: Path) -> dict[str, bytes | None]:
    """The sponge_log.xml of each image below `<release>/<arch>/<type>` by its product; None: it was not booted."""
    found: dict[str, bytes | None] = {}
    for folder in sorted(path for path in images.glob("*/*/*") if path.is_dir()):
        report = folder / "sponge_log.xml"
        product = ":".join(("debian", *folder.relative_to(images).parts))
        found[product] = report.read_bytes() if report.is_file() else None
    return found
