"""An apt repository made live from a snapshot: copied inside the store by digest, in the order of every publication."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.aptpublish import Target, check_others, check_published, prune_by_hash
from common.aptrepo import KEYRING, date_of, rank
from common.bucket import Bucket, Stat
from common.errors import ArtifactError
from common.files import workspace
from common.milestones import object_name
from common.publication import Copied, Item, Published, publish, seen
from common.snapshots import Snapshot, Snapshots

_SIGNED = ("Release", "Release.gpg", "InRelease")


def codenames_of(snapshot: Snapshot) -> list[str]:
    """The codenames in it."""
    return [pointer.split("/")[1] for pointer in snapshot.state.pointers]


@dataclass(frozen=True)
class Release:
    """What makes a snapshot live.

    Attributes:
        source: where the snapshot is.
        snapshot: which.
        target: where it goes.
        signed: by codename, Release, Release.gpg and InRelease where they are signed anew; see `stale`.
    """

    source: Snapshots
    snapshot: Snapshot
    target: Target
    signed: Mapping[str, Mapping[str, bytes]]

    def run(self, *, publisher: str, now: dt.datetime) -> dict[str, Published]:
        """Publish each codename; returns what was copied.

        Raises:
            ArtifactError: an object of the snapshot is gone, or is something else.
            ConflictError: somebody else is faster, or the repository there is not ours.
            SigningError: what stays live is not signed by a key of the new keyring.
        """
        generations = {
            codename: check_published(self.target, codename, self.text_of(codename))
            for codename in codenames_of(self.snapshot)
        }
        with workspace("keyring") as place:
            keyring = place / KEYRING
            keyring.write_bytes(self.source.read_kept(self.snapshot.objects[KEYRING].sha256).content)
            check_others(self.target, keyring, codenames_of(self.snapshot))
        done: dict[str, Published] = {}
        for codename, generation in generations.items():
            immutable, mutable, pointer = self.items(codename, with_pool=not done)
            done[codename] = publish(
                self.target.bucket, immutable=immutable, mutable=mutable, pointer=pointer, if_generation=generation,
                publisher=publisher, milestone=self.target.milestone,
            )  # fmt: skip
            prune_by_hash(self.target, codename, self.text_of(codename), now=now, publisher=publisher)
        return done

    def pointers(self) -> dict[str, str]:
        """The SHA-256 of what each InRelease is going to be, by path."""
        return {
            f"dists/{codename}/InRelease": hashlib.sha256(self.text_of(codename).encode()).hexdigest()
            for codename in codenames_of(self.snapshot)
        }

    def text_of(self, codename: str) -> str:
        """The InRelease that is going to be live."""
        if codename in self.signed:
            return self.signed[codename]["InRelease"].decode()
        return text_of(self.source, self.snapshot, codename)

    def items(self, codename: str, *, with_pool: bool) -> tuple[list[Item], list[Item], Item]:
        """What one codename's publication copies: never replaced, replaced, and InRelease; the pool is of all."""
        wanted = (f"dists/{codename}/", KEYRING, *(["pool/"] if with_pool else []))
        paths = [path for path in self.snapshot.objects if path.startswith(wanted)]
        have = self._stats(paths)
        items = [Item(self.target.name(path), self._source(codename, path, have), rank=rank(path)) for path in paths]
        items.sort(key=lambda item: (item.rank, item.name))
        fixed = sum(item.rank <= 1 for item in items)
        return items[:fixed], items[fixed:-1], items[-1]

    def _stats(self, paths: Sequence[str]) -> dict[str, Stat]:
        """The object that each path is copied from: packages from their names, everything else from its copy."""
        names = {path: self._copied_from(path) for path in paths}
        there = self.source.bucket.stats(list(set(names.values())))
        found = {path: there[name] for path, name in names.items() if name in there}
        wrong = [path for path in paths
                 if path not in found or found[path].sha256 != self.snapshot.objects[path].sha256]  # fmt: skip
        if wrong:
            raise ArtifactError(
                f"snapshot {self.snapshot.short} is not whole any more: {wrong[0]} is missing or something else",
                details="\n".join(wrong), hint="promote another one: ./run invoke staged lists them",
            )  # fmt: skip
        return found

    def _copied_from(self, path: str) -> str:
        if path.startswith("pool/"):
            return object_name(self.source.milestone, path)
        return self.source.kept(self.snapshot.objects[path].sha256)

    def _source(self, codename: str, path: str, have: Mapping[str, Stat]) -> Copied | bytes:
        name = path.removeprefix(f"dists/{codename}/")
        if codename in self.signed and name in _SIGNED:
            return self.signed[codename][name]
        return Copied(self.source.bucket, have[path])


def text_of(source: Snapshots, snapshot: Snapshot, codename: str) -> str:
    """A codename's InRelease in a snapshot."""
    return source.read_kept(snapshot.objects[f"dists/{codename}/InRelease"].sha256).content.decode()


def stale(source: Snapshots, snapshot: Snapshot, bucket: Bucket) -> dict[str, dt.datetime]:
    """The codenames of a snapshot that clients would pass over in a bucket, and the newer Date they have seen there.

    These have to be signed anew, with the time of now.
    """
    found = {}
    for codename in codenames_of(snapshot):
        pointer = object_name(source.milestone, f"dists/{codename}/InRelease")
        live, text = seen(bucket, pointer)[0].decode(), text_of(source, snapshot, codename)
        if live and live != text and date_of(live) >= date_of(text):
            found[codename] = date_of(live)
    return found
