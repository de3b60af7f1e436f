"""Where the snapshot is that somebody names by its id: which bucket a suite tests, and which milestone has it."""

from common.branches import active_branches
from common.errors import UsageError
from common.snapshots import Snapshots
from common.store import open_bucket
from common.tast_suites import Source
from kokoro.desk import store_of
from kokoro.publish_lxd_staging import BUCKET as STAGING

LIVE = "cros-containers"
CONTAINERS = {Source.LIVE: LIVE, Source.STAGING: STAGING}


def find_store(snapshot: str, source: Source, *, milestone: int, out: str, storage: str) -> Snapshots:
    """The store that has a snapshot of containers.

    Args:
        snapshot: its id.
        source: whether it is live or in staging.
        milestone: which one has it; 0: one of the active ones.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: no active milestone has it, or there is no such milestone.
    """
    bucket = open_bucket(store_of(storage, out), CONTAINERS[source])
    if milestone:
        return Snapshots(bucket, milestone)
    stores = [Snapshots(bucket, branch.milestone) for branch in active_branches()]
    for store in stores:
        if store.has(snapshot):
            return store
    raise UsageError(
        f"no active milestone of {bucket.url} has a snapshot {snapshot!r}",
        hint="give the whole id, and --milestone for one that is no longer active",
    )
