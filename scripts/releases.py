"""The two halves of a release, the apt repository and the images, as what is done by hand finds them."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from common.aptstate import apt_state
from common.bucket import Bucket
from common.errors import ArtifactError, SigningError, UsageError
from common.ledger import Action, Entry, Ledger
from common.milestones import folder_of, object_name
from common.shown import State
from common.signing import united_keyrings
from common.snapshots import SHORT, Part, Snapshot, Snapshots
from common.store import open_bucket
from common.tast_suites import Suite
from kokoro import publish_apt_staging, publish_lxd_staging
from kokoro.desk import store_of
from lxd.state import container_state, recorded
from scripts.gate import why_not

STAGING = {Part.APT: publish_apt_staging.BUCKET, Part.CONTAINER: publish_lxd_staging.BUCKET}
LIVE = {Part.APT: "cros-packages", Part.CONTAINER: "cros-containers"}
_REPOSITORY = "apt_signed.manifest.json"


@dataclass(frozen=True)
class Half:
    """One half of a milestone's release, in staging and live."""

    part: Part
    milestone: int
    staging: Snapshots
    live: Snapshots

    @classmethod
    def open(cls, part: Part, milestone: int, *, out: str, storage: str) -> "Half":
        """Open its buckets. UsageError: there is no such milestone, or an unknown storage."""
        folder_of(milestone)
        store = store_of(storage, out)
        return cls(
            part, milestone, Snapshots(open_bucket(store, STAGING[part]), milestone),
            Snapshots(open_bucket(store, LIVE[part]), milestone),
        )  # fmt: skip

    @property
    def ledger(self) -> Ledger:
        """What was made live."""
        return Ledger(self.live.bucket, self.milestone)

    def state(self, bucket: Bucket) -> State | None:
        """What a bucket shows of this half; None where nothing is published."""
        found = apt_state if self.part is Part.APT else container_state
        return found(bucket, self.milestone)

    def staged(self) -> Snapshot | None:
        """The snapshot that staging shows now."""
        return self.shown(self.staging)

    def shown_live(self) -> Snapshot | None:
        """The snapshot that is live now."""
        return self.shown(self.live)

    def shown(self, snapshots: Snapshots) -> Snapshot | None:
        """The snapshot that staging, or live, shows now; None where that is nothing, or nothing that was recorded."""
        state = self.state(snapshots.bucket)
        return recorded(snapshots, snapshots.all(), state) if state else None

    def known_live(self) -> Snapshot | None:
        """The snapshot that is live now, for who is about to make one live: what is not whole is mended by that."""
        try:
            return self.shown_live()
        except ArtifactError:
            return None

    def rolled_back(self, snapshot: Snapshot) -> str:
        """Who has put an earlier state back after this snapshot of staging was promoted; "" where nobody has."""
        entries = [line.entry for line in self.ledger.lines()]
        mine = [entry.number for entry in entries if entry.source == snapshot.id and entry.action is Action.PROMOTE]
        after = [entry.who for entry in entries[max(mine, default=len(entries)) :] if entry.action is Action.ROLLBACK]
        return after[-1] if after else ""

    def unfinished(self, last: Entry) -> Action | None:
        """What was begun after the last line of the ledger, and has moved a pointer, but has no line of its own.

        Raises:
            UsageError: the live bucket shows something, and nobody knows who made it live.
        """
        before = self.live.find(last.after)
        names = {object_name(self.milestone, path): path for path in before.state.pointers}
        stats = self.live.bucket.stats(list(names))
        moved = {name for name, stat in stats.items() if stat.sha256 != before.objects[names[name]].sha256}
        if not moved or ((shown := self.known_live()) and shown.id == last.after):  # it was pruned only
            return None
        begun = {stats[name].publisher.partition(" ")[0] for name in moved}
        if len(begun) == 1 and (word := begun.pop()) in tuple(Action):
            return Action(word)
        raise UsageError(
            f"{self.live.url} shows something that is not in its ledger, which ends with {last.after[:SHORT]}",
            hint=f"--to {last.after[:SHORT]} puts that back; ./run invoke history lists the others",
        )

    def sources(self, live: Snapshot | None) -> list[str]:
        """The ids of a live snapshot and of what it was made from: the one of staging, and for one that was signed anew
        the live one before it.

        Old ones may have been pruned since; the ledger, where it can be read, knows what they were made from.
        """
        if live is None:
            return []
        made: dict[str, str] = {}
        with contextlib.suppress(ArtifactError):
            for line in self.ledger.lines():
                made.setdefault(line.entry.after, line.entry.source)  # by its promotion, whatever put it back later
        found, source = [live.id], live.origin.source
        while source and source not in found:
            found.append(source)
            source = made.get(source, "")
        return found


@dataclass(frozen=True)
class Gate:
    """What decides about a half.

    Attributes:
        suites: those of tast.toml.
        images: of staging, which stand for the repository in them.
        own: the public keys of who asks, armoured; b"" where there are none.
    """

    suites: Sequence[Suite]
    images: Snapshots
    own: bytes = b""

    def why_not(self, half: Half, snapshot: Snapshot) -> list[str]:
        """Why a snapshot of staging may not go live; nothing where it may.

        Tast runs on images: for a repository, it is images built from exactly that one which have to be green.
        """
        try:
            return self._why_not(half, snapshot)
        except SigningError as err:  # nothing says whose word counts
            return [err.what]

    def _why_not(self, half: Half, snapshot: Snapshot) -> list[str]:
        if half.part is Part.CONTAINER:
            return why_not(half.staging, snapshot, self.suites, self._believed(half, half.staging))
        built = snapshot.origin.inputs.get(_REPOSITORY, "")
        images = [each for each in self._images if built and built in each.origin.inputs.values()]
        believed = self._believed(half, self.images)
        found = [(why_not(self.images, each, self.suites, believed), each.short) for each in images]
        own = why_not(half.staging, snapshot, (), self._believed(half, half.staging))
        if not found:
            return [*own, "no images of staging were built from this repository"]
        why, short = min(found, key=lambda each: len(each[0]))
        return [*own, *(f"{sentence} (of the images {short})" for sentence in why)]

    @cached_property
    def _images(self) -> list[Snapshot]:
        """All snapshots of images, read once for as many of the repository as are asked about."""
        return self.images.all()

    def _believed(self, half: Half, staging: Snapshots) -> bytes:
        """The keys whose signatures count.

        For who has a key, and so can promote: that one, and those of who promoted before. A key that somebody adds to
        staging lets nothing go live. Who has none only looks, and takes what is published.
        """
        return united_keyrings(half.live.keyring(missing=b""), self.own) if self.own else staging.keyring()
