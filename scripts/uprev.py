"""Moves the images that Tast's tests use to the newest published ones: what `invoke uprev` does."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.errors import CommandError, UsageError
from common.external import Pin, Pins, read_pins
from common.files import write_atomically
from common.milestones import folder_of, object_name
from common.shown import Object
from common.snapshot_store import SnapshotStore
from common.store import open_bucket
from kokoro.desk import store_of
from kokoro.publish_lxd_staging import BUCKET
from lxd.pins import pin
from lxd.simplestreams import IMAGES, Images
from lxd.tast_data import folders_of, objects_of, pins_of, used_in

_GIT_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class Change:
    """One .external file: what it pinned (None: it did not exist, or named an artifact), and what it will."""

    path: Path
    before: Pin | None
    after: Pin

    def __str__(self) -> str:
        """`crostini_..._amd64.tar.xz.external: 72 20261124_12:10 -> 72 20261126_10:00`."""
        return f"{self.path.name}: {_version(self.before)} -> {_version(self.after)}"


def run(*, milestone: int, tast_tests: str, snapshot: str, plan: bool, out: str, storage: str) -> None:
    """Write the pins, commit them, and print what changed.

    Args:
        milestone: whose images.
        tast_tests: a checkout of tast-tests or tast-tests-private, without changes of its own.
        snapshot: the id of a snapshot, or "" for what is in the index now.
        plan: change nothing.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: an argument makes no sense, or the checkout has changes.
        ArtifactError: there are no such images, or what says so cannot be read.
        CommandError: git refused the commit; the checkout is as it was.
    """
    folder_of(milestone)
    checkout = checkout_of(tast_tests)
    store = SnapshotStore(open_bucket(store_of(storage, out), BUCKET), milestone)
    objects, source = newest_objects(store, snapshot)
    pins = pins_of(objects, store.url)
    changes = planned(checkout, pins)
    for line in lines(changes, plan=plan):
        print(line)
    if not plan:
        keep(store, checkout, pins, changes)
    if changes and not plan:
        print(f"committed as {commit(checkout, changes, message(changes, milestone, source))}")


def keep(store: SnapshotStore, checkout: Path, pins: Pins, changes: Sequence[Change]) -> None:
    """Leave a pin in the bucket, so that nothing that the checkout pins is pruned, now or before the commit has landed.

    Raises:
        ArtifactError: an image is gone.
    """
    urls = {each.url for folder in folders_of(checkout) for each in used_in(folder, pins).values()}
    urls |= {change.before.url for change in changes if change.before}
    branch = git(checkout, "rev-parse", "--abbrev-ref", "HEAD").strip()
    name = re.sub(r"[^\w.-]+", "-", f"uprev-{checkout.name}-{branch}")
    pin(store.bucket, store.milestone, name, why=f"{checkout.name} {branch}", urls=urls, publisher="uprev")


def newest_objects(store: SnapshotStore, snapshot: str) -> tuple[Mapping[str, Object], str]:
    """The objects of a snapshot, or without one of the index as it is now; and where that is from.

    Raises:
        UsageError: there is no such snapshot, or no index.
        ArtifactError: it cannot be read.
    """
    if snapshot:
        return store.get(snapshot).objects, f"snapshot {snapshot}"
    name = object_name(store.milestone, IMAGES)
    held = store.bucket.read(name)
    if held is None:
        raise UsageError(
            f"{store.bucket.url}/{name} is missing: nothing is published there", hint="./run invoke publish-lxd-staging"
        )
    return objects_of(Images.read(held.content, f"{store.bucket.url}/{name}")), f"{store.bucket.url}/{name}"


def checkout_of(text: str) -> Path:
    """A git checkout without changes. UsageError: it is none, or it has some, and which."""
    if not text:
        raise UsageError("no checkout of tast-tests is named", hint="--tast-tests DIR")
    path = Path(text).absolute()
    try:
        said = git(path, "status", "--porcelain") if path.is_dir() else None
    except CommandError:
        said = None
    if said is None:
        raise UsageError(f"{text!r} is no git checkout", hint="--tast-tests is a checkout of tast-tests")
    if said.strip():
        raise UsageError(
            f"the checkout {text!r} has changes that are not committed", details=said.rstrip(),
            hint="commit or stash them first",
        )  # fmt: skip
    return path


def planned(checkout: Path, pins: Pins) -> list[Change]:
    """What has to change in a checkout. UsageError, ArtifactError: it is no tast-tests, or a file cannot be read."""
    changes = []
    for folder in folders_of(checkout):
        wanted = used_in(folder, pins)
        have = read_pins(folder, list(wanted))
        changes += [Change(folder / name, have.get(name), pin) for name, pin in wanted.items() if have.get(name) != pin]
    return sorted(changes, key=lambda change: change.path)


def lines(changes: Sequence[Change], *, plan: bool) -> Iterator[str]:
    """What a run does, for people."""
    for change in changes:
        yield f"{'would pin ' if plan else ''}{change}"
    if not changes:
        yield "nothing to change: the checkout pins these images already"


def message(changes: Sequence[Change], milestone: int, source: str) -> str:
    """The commit's message."""
    serials = sorted({_version(change.after).split()[-1] for change in changes})
    listed = "\n".join(str(change) for change in changes)
    subject = f"crostini: Uprev container images of milestone {milestone} to {serials[-1]}"
    return f"{subject}\n\nFrom {source}.\n\n{listed}\n\nBUG=none\nTEST=CQ\n"


def commit(checkout: Path, changes: Sequence[Change], text: str) -> str:
    """Write the files and commit them; the commit's short name.

    Raises:
        CommandError: git refused; the files are as they were.
    """
    names = [change.path.relative_to(checkout).as_posix() for change in changes]
    try:
        for change in changes:
            write_atomically(change.path, change.after.write())
        git(checkout, "add", "--", *names)
        git(checkout, "commit", "--quiet", "--message", text)
    except BaseException:
        git(checkout, "reset", "--quiet", "--hard", "HEAD")  # it had no changes of its own
        raise
    return git(checkout, "rev-parse", "--short", "HEAD").strip()


def git(checkout: Path, *words: str) -> str:
    """What git says in a checkout. CommandError: it refused."""
    return tools.capture(["git", "-C", checkout, *words], timeout=_GIT_TIMEOUT)


def _version(pin: Pin | None) -> str:
    """Milestone and serial of a pin: `72 20261126_10:00`; its URL, if it is not like ours."""
    if pin is None:
        return "nothing"
    before, images, behind = pin.url.partition("/images/")
    parts = behind.split("/")
    return f"{before.rsplit('/', 1)[-1]} {parts[-2]}" if images and len(parts) > 1 else pin.url
