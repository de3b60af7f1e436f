"""Prunes the images of one milestone in staging: what `invoke prune-images` does, and what it says of it."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

from common.branches import find_branch
from common.errors import UsageError
from common.store import open_bucket
from kokoro.desk import store_of
from kokoro.publish_lxd_staging import BUCKET
from lxd.pins import protected
from lxd.prune import Outcome, Rules, prune

LIVE = "cros-containers"
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def run(
    *, branch: str, milestone: int, keep: int, min_age: str, tast: str, dry_run: bool, out: str, storage: str
) -> None:
    """Prune, and print what went.

    Args:
        branch, milestone: one of the two; a branch has to be active.
        keep, min_age: see `lxd.prune.Rules`; the age as parse_age has it.
        tast: a folder with Tast data files, or "".
        dry_run: change nothing.
        out: the runner's directory, "" for the usual one.
        storage: where the buckets are, as --storage has it.

    Raises:
        UsageError: an argument makes no sense.
        ArtifactError, ConflictError: see `lxd.prune.prune` and `lxd.pins.protected`.
    """
    if bool(branch) == bool(milestone):
        raise UsageError("name either a branch or a milestone", hint="--branch release-R72-11316.B, or --milestone 72")
    rules = Rules(keep=keep, min_age=parse_age(min_age))
    milestone = milestone or find_branch(branch).milestone
    store = store_of(storage, out)
    bucket, live = open_bucket(store, BUCKET), open_bucket(store, LIVE)
    relied_on = protected(bucket, milestone, live=live, tast=Path(tast) if tast else None)
    now = dt.datetime.now(dt.UTC)
    outcome = prune(bucket, milestone, relied_on=relied_on, rules=rules, now=now, dry_run=dry_run)
    for line in lines(outcome, dry_run=dry_run):
        print(line)


def parse_age(text: str) -> dt.timedelta:
    """Read `7d`, `12h` or `30m`. UsageError: it is none of these."""
    match = re.fullmatch(r"(\d{1,5})([dhm])", text)
    if match is None:
        raise UsageError(f"--min-age {text!r} is no age", hint="7d, 12h or 30m")
    return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


def lines(outcome: Outcome, *, dry_run: bool) -> Iterator[str]:
    """What a run did, for people."""
    would = "would be " if dry_run else ""
    for version, size in outcome.removed.items():
        yield f"{version}: {would}removed from the index ({_megabytes(size)})"
    for version, who in outcome.spared.items():
        yield f"{version}: stays, {who}"
    for path in outcome.unknown:
        yield f"{path}: no file of an image; left alone"
    deleted, waiting = outcome.deleted, outcome.waiting
    if deleted:
        yield f"{len(deleted)} objects {would}deleted, {_megabytes(sum(deleted.values()))} freed"
    if waiting:
        sizes = (size for size, _ in waiting.values())
        when = max(due for _, due in waiting.values())
        wait = "would wait" if dry_run else "wait"
        yield (
            f"{len(waiting)} objects ({_megabytes(sum(sizes))}) {wait} until clients forget the index that named them: "
            f"run this again after {when:%Y-%m-%d %H:%M} UTC"
        )
    if not (outcome.removed or deleted or waiting):
        yield "nothing to prune"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
