"""A signed apt repository published to a bucket: nothing replaced that clients still need, nothing shown half done."""

import datetime as dt
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Release

from common.aptrepo import BY_HASH, KEYRING, codenames, date_of, indices_of, rank
from common.bucket import Bucket
from common.errors import ConflictError, SigningError
from common.files import workspace
from common.manifest import Manifest
from common.milestones import object_name, url_of
from common.publication import Item, Published, publish, seen
from common.signing import verify
from common.sweep import Sweep

log = logging.getLogger(__name__)

KEPT = dt.timedelta(hours=48)
# `apt-get update` refuses a repository that changes one of these; Suite may change.
_FIXED = ("Origin", "Label", "Codename")


@dataclass(frozen=True)
class Target:
    """Where a repository goes: a bucket, and the milestone in it."""

    bucket: Bucket
    milestone: int

    @property
    def url(self) -> str:
        """Of the repository, for messages."""
        return url_of(self.bucket.url, self.milestone)

    def name(self, path: str) -> str:
        """The object of a path below the repository."""
        return object_name(self.milestone, path)

    def text(self, path: str) -> str | None:
        """The content of that object, or None."""
        held = self.bucket.read(self.name(path))
        return held.content.decode() if held else None


def publish_repository(
    root: Path, manifest: Manifest, target: Target, *, publisher: str, now: dt.datetime
) -> dict[str, Published]:
    """Publish the codenames of `root`; others that are published already stay as they are.

    Args:
        root: dists/, pool/ and the keyring.
        manifest: of `root`, checked.
        target: where to.
        publisher: who publishes, for the message of whoever comes second.
        now: when; superseded by-hash copies are kept for 48 hours from the publication that superseded them.

    Returns:
        what was uploaded, for each codename.

    Raises:
        ConflictError: a package exists with other content, or the published repository is newer or not ours.
        SigningError: a signature is not by the keyring, or the new keyring does not fit what stays published.
    """
    ours = codenames(root)
    texts = {codename: verify(root / "dists" / codename / "InRelease", root / KEYRING).decode() for codename in ours}
    generations = {codename: check_published(target, codename, texts[codename]) for codename in ours}
    _check_pool(target, manifest)
    check_others(target, root / KEYRING, ours)
    done: dict[str, Published] = {}
    for codename in ours:
        immutable, mutable, pointer = items_of(root, manifest, codename, target, with_pool=not done)
        done[codename] = publish(
            target.bucket,
            immutable=immutable, mutable=mutable, pointer=pointer,
            if_generation=generations[codename], publisher=publisher, milestone=target.milestone,
        )  # fmt: skip
        prune_by_hash(target, codename, texts[codename], now=now, publisher=publisher)
    return done


def items_of(
    root: Path, manifest: Manifest, codename: str, target: Target, *, with_pool: bool
) -> tuple[list[Item], list[Item], Item]:
    """What one codename's publication uploads, in its order: never replaced, replaced, and InRelease.

    The pool is of all codenames, so that it goes with the first.
    """
    wanted = (f"dists/{codename}/", KEYRING, *(["pool/"] if with_pool else []))
    entries = [entry for entry in manifest.entries if entry.path.startswith(wanted)]
    items = [Item(target.name(each.path), root / each.path, each.sha256, rank(each.path)) for each in entries]
    items.sort(key=lambda item: (item.rank, item.name))
    fixed = sum(item.rank <= 1 for item in items)
    return items[:fixed], items[fixed:-1], items[-1]


def check_published(target: Target, codename: str, text: str) -> int:
    """The generation of the InRelease that is published, after a look whether clients will follow us from it."""
    pointer = target.name(f"dists/{codename}/InRelease")
    content, generation = seen(target.bucket, pointer)
    if not content:
        return generation
    old, new = content.decode(), Release(text)
    before = Release(old)
    for field in _FIXED:
        if before.get(field) != new.get(field):
            raise ConflictError(
                f"{pointer!r} has {field} {before.get(field)!r}, and ours has {new.get(field)!r}",
                hint="clients refuse a repository that changes it; a new one needs a new place",
            )
    if date_of(old) > date_of(text):
        raise ConflictError(
            f"{pointer!r} is of {before['Date']!r}, newer than ours of {new['Date']!r}",
            hint="clients would keep the newer one: sign again (./run invoke apt-signer), then publish",
        )
    return generation


def _check_pool(target: Target, manifest: Manifest) -> None:
    """Refuse a package whose name is taken by other content, before anything is uploaded."""
    pool = [entry for entry in manifest.entries if entry.path.startswith("pool/")]
    there = target.bucket.stats([target.name(entry.path) for entry in pool])
    wrong = [
        f"{entry.path}: there {have.sha256}, ours {entry.sha256}"
        for entry in pool
        if (have := there.get(target.name(entry.path))) and have.sha256 != entry.sha256
    ]
    if wrong:
        raise ConflictError(
            f"{target.url} has {wrong[0].split(':')[0]!r} with other content",
            details="\n".join(wrong), hint="what is published never changes: build the packages with a new version",
        )  # fmt: skip


def check_others(target: Target, keyring: Path, ours: Collection[str]) -> None:
    """The keyring is one for all codenames: it must fit those that we leave as they are."""
    dists = target.name("dists/")
    published = {
        name.removeprefix(dists).split("/")[0] for name in target.bucket.names(dists) if name.endswith("/InRelease")
    }
    for codename in sorted(published - set(ours)):
        content, _generation = seen(target.bucket, target.name(f"dists/{codename}/InRelease"))
        if not content:
            continue
        with workspace("published") as place:
            signed = place / "InRelease"
            signed.write_bytes(content)
            try:
                verify(signed, keyring)
            except SigningError as err:
                raise SigningError(
                    f"{codename!r} stays published, and is not signed by a key of the new keyring",
                    details=str(err), hint="publish all releases in one run when the keys change",
                ) from err  # fmt: skip


def prune_by_hash(target: Target, codename: str, text: str, *, now: dt.datetime, publisher: str) -> list[str]:
    """Delete the by-hash copies that have been superseded for 48 hours, and mark the others.

    Returns:
        the names of what is deleted.
    """
    dist = target.name(f"dists/{codename}/")
    current = {f"{dist}{index.by_hash}" for index in indices_of(text)}
    sweep = Sweep(below=[dist], ours=is_by_hash, needed=current, grace=lambda _name: KEPT, publisher=publisher)
    try:
        return list(sweep.run(target.bucket, target.milestone, now=now).deleted)
    except ConflictError as err:
        log.info("superseded copies of %s stay until the next time: %s", codename, err.what)
        return []


def is_by_hash(name: str) -> bool:
    """Whether an object is an index under the name of its content."""
    return f"/{BY_HASH}/" in name
