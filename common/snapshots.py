"""Snapshots: what one publication made visible, as a signed in-toto statement that is named by its digest.

The statement (https://in-toto.io/Statement/v1) has every object as a subject and SLSA provenance v1 as its predicate
(https://slsa.dev/spec/v1.0/provenance): which jobs, commit, keys and tools the objects came from. Beside it are copies
of the objects that a later publication replaces, so that a snapshot can be put back, and the evidence about it.
"""

import datetime as dt
import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from common.aptrepo import BY_HASH
from common.bucket import Held, Kind
from common.documents import canonical, parse, sign_document
from common.errors import ArtifactError, ConflictError, SigningError, UsageError
from common.milestones import object_name
from common.parallel import in_parallel
from common.publication import seen
from common.shown import Object, State
from common.signing import Signer, check_public_keys, united_keyrings
from common.snapshot_store import STATEMENT, SnapshotStore
from common.sweep import spare

log = logging.getLogger(__name__)

FOLDER = "snapshots"
KEYRING = f"{FOLDER}/keyring.asc"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "tag:cros-container-guest-tools,2026:snapshot/v1"
SHORT = 12  # digits of an id that people see
_FEWEST = 4  # with which they name one
_ATTEMPTS = 5
_ID = re.compile(r"[0-9a-f]{64}")
_HINT = "restore the object's last good version; ./run invoke verify names all that is wrong"


class Part(StrEnum):
    """Which half of a release: the apt repository, or the container images."""

    APT = "apt"
    CONTAINER = "container"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the objects of a snapshot came from.

    Attributes:
        job: the job that published.
        branch, commit: the Chrome OS branch, and the commit it was built from, or "".
        inputs: SHA-256 by name of what the job was handed: the manifests of its parents' artifacts.
        keys: fingerprints of the keys that clients verify it with.
        tools: the versions of the programs it was made with.
        source: the snapshot of staging that was promoted or put back; "" for a publication.
    """

    job: str
    branch: str = ""
    commit: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One snapshot.

    Attributes:
        part, milestone: of what.
        bucket: the gs:// URL it was in when it was recorded.
        created: when (UTC).
        state: what is in it.
        origin: where that came from.
    """

    part: Part
    milestone: int
    bucket: str
    created: dt.datetime
    state: State
    origin: Origin

    @property
    def objects(self) -> Mapping[str, Object]:
        """Its objects by path below the milestone."""
        return self.state.objects

    @property
    def id(self) -> str:
        """The SHA-256 of its statement, in hex."""
        return hashlib.sha256(self.write()).hexdigest()

    @property
    def short(self) -> str:
        """The id as people see it."""
        return self.id[:SHORT]

    def write(self) -> bytes:
        """The statement."""
        origin = self.origin
        dependencies: list[dict[str, object]] = [
            {"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(origin.inputs.items())
        ]
        if origin.commit:
            dependencies.append(
                {"uri": "git+cros-container-guest-tools", "digest": {"gitCommit": origin.commit}, "name": "source"}
            )
        if origin.source:
            dependencies.append({"name": "snapshot", "digest": {"sha256": origin.source}})
        return canonical(
            {
                "_type": STATEMENT,
                "subject": [
                    {"name": path, "digest": {"sha256": each.sha256}, "annotations": {"size": each.size}}
                    for path, each in sorted(self.objects.items())
                ],
                "predicateType": PROVENANCE,
                "predicate": {
                    "buildDefinition": {
                        "buildType": BUILD_TYPE,
                        "externalParameters": {
                            "part": self.part.value, "milestone": self.milestone, "bucket": self.bucket,
                            "branch": origin.branch,
                        },
                        "internalParameters": {
                            "pointers": list(self.state.pointers), "replaced": list(self.state.replaced),
                            "keys": list(origin.keys),
                        },
                        "resolvedDependencies": dependencies,
                    },
                    "runDetails": {
                        "builder": {"id": origin.job, "version": dict(origin.tools)},
                        "metadata": {"finishedOn": self.created.astimezone(dt.UTC).isoformat()},
                    },
                },
            }
        )  # fmt: skip

    @classmethod
    def read(cls, content: bytes, where: str) -> "Snapshot":
        """Read a statement.

        Raises:
            ArtifactError: it is not, byte for byte, what `write` gave.
        """
        try:
            made = cls._of(parse(content, where))
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise ArtifactError(f"{where} is no snapshot: {type(err).__name__} {err}", hint=_HINT) from err
        if made.write() != content:
            raise ArtifactError(f"{where} is not written as a snapshot is", hint=_HINT)
        return made

    @classmethod
    def _of(cls, top: Any) -> "Snapshot":  # noqa: ANN401, as JSON is
        """Of parsed JSON. KeyError, TypeError, ValueError, AttributeError: it has another form."""
        definition, details = top["predicate"]["buildDefinition"], top["predicate"]["runDetails"]
        outside, inside = definition["externalParameters"], definition["internalParameters"]
        by_name = {each["name"]: each["digest"] for each in definition["resolvedDependencies"]}
        commit = by_name.pop("source", {}).get("gitCommit", "")
        source = by_name.pop("snapshot", {}).get("sha256", "")
        objects = {
            str(each["name"]): Object(size=int(each["annotations"]["size"]), sha256=str(each["digest"]["sha256"]))
            for each in top["subject"]
        }
        state = State(objects=objects, pointers=tuple(inside["pointers"]), replaced=tuple(inside["replaced"]))
        _check_state(state)
        created = dt.datetime.fromisoformat(details["metadata"]["finishedOn"])
        if created.tzinfo is None:
            raise ValueError(f"{created} has no time zone")
        return cls(
            part=Part(outside["part"]), milestone=int(outside["milestone"]), bucket=str(outside["bucket"]),
            created=created, state=state,
            origin=Origin(
                job=str(details["builder"]["id"]), branch=str(outside["branch"]), commit=str(commit),
                inputs={str(name): str(digest["sha256"]) for name, digest in by_name.items()},
                keys=tuple(map(str, inside["keys"])), tools=dict(details["builder"]["version"]), source=str(source),
            ),
        )  # fmt: skip


def _check_state(state: State) -> None:
    missing = [path for path in (*state.pointers, *state.replaced) if path not in state.objects]
    if missing or not state.pointers:
        raise ValueError(f"{missing[0]!r} is no subject" if missing else "it has no pointer")
    for path, each in state.objects.items():
        if not _ID.fullmatch(each.sha256) or each.size < 0:
            raise ValueError(f"{path!r} has the size {each.size} and the SHA-256 {each.sha256!r}")


class Snapshots(SnapshotStore):
    """The snapshots of one milestone in a bucket, with the copies from which they can be put back.

    What is written never changes. The statement comes last, so that a snapshot that is there is whole.
    """

    def ids(self) -> list[str]:
        """The ids of all, sorted."""
        start = self._name("")
        found = [name.removeprefix(start) for name in self.bucket.names(start)]
        return [name.removesuffix(".json") for name in found if _ID.fullmatch(name.removesuffix(".json"))]

    def all(self, damaged: Callable[[ArtifactError], None] = lambda _err: None) -> list[Snapshot]:
        """Those that are what their ids say, and were made for this bucket and milestone; the newest first.

        Args:
            damaged: told what is wrong with each of the others, which hold nothing up: a rollback least of all.
        """

        def look(snapshot: str) -> Snapshot | ArtifactError:
            try:
                return self._whole(snapshot)
            except ArtifactError as err:
                return err

        found: list[Snapshot] = []
        for each in in_parallel(look, self.ids(), threads=self.bucket.threads):
            if isinstance(each, ArtifactError):
                damaged(each)
            else:
                found.append(each)
        return sorted(found, key=lambda each: (each.created, each.id), reverse=True)

    def find(self, snapshot: str) -> Snapshot:
        """One by its id, or by the beginning of it, four digits at least.

        Raises:
            UsageError: there is none, or several begin so.
            ArtifactError: it is not what its id says, or was made for another place.
        """
        if len(snapshot) < _FEWEST:
            raise UsageError(f"{snapshot!r} names no snapshot", hint=f"{_FEWEST} digits of its id at least")
        found = [each for each in self.ids() if each.startswith(snapshot)]
        if len(found) != 1:
            said = "no snapshot" if not found else f"{len(found)} snapshots"
            raise UsageError(
                f"{self.url} has {said} {snapshot!r}",
                hint=f"./run invoke staged --milestone {self.milestone}, or history; old ones are pruned",
            )
        return self._whole(found[0])

    def add(self, snapshot: Snapshot, signer: Signer, *, publisher: str) -> str:
        """Keep a snapshot of this bucket, with copies of what will be replaced; returns its id.

        One that is there already stays, also where it was about to be deleted.

        Raises:
            ConflictError: an object was replaced meanwhile, or is gone.
        """
        replaced = {snapshot.objects[path].sha256: path for path in snapshot.state.replaced}

        def keep(sha256: str) -> None:
            if self.bucket.stat(self.kept(sha256)):
                return
            name = object_name(self.milestone, replaced[sha256])
            held = self.bucket.read(name)
            if held is None or held.stat.sha256 != sha256:
                raise ConflictError(f"{self.bucket.url}/{name} was replaced while it was recorded", hint="run it again")
            self.bucket.upload(held.content, self.kept(sha256), kind=Kind.IMMUTABLE, publisher=publisher)

        in_parallel(keep, replaced, threads=self.bucket.threads)
        content = snapshot.write()
        self.put_signed(f"{snapshot.id}.json", content, sign_document(content, signer), publisher=publisher)
        shown = {object_name(self.milestone, path) for path in snapshot.objects}
        needed = self.needed_by(snapshot)
        if gone := spare(self.bucket, self.milestone, needed - shown, publisher=publisher, written=needed & shown):
            raise ConflictError(f"{self.bucket.url}/{gone[0]} was deleted while it was recorded", hint="run it again")
        return snapshot.id

    def needed_by(self, snapshot: Snapshot) -> set[str]:
        """The names of the objects without which a snapshot cannot be put back, and of the records of it.

        By-hash copies are put back from the copies of the indices.
        """
        copied = set(snapshot.state.replaced)
        own = {
            object_name(self.milestone, path)
            for path in snapshot.objects
            if path not in copied and f"/{BY_HASH}/" not in path
        }
        copies = {self.kept(snapshot.objects[path].sha256) for path in copied}
        statement = self._name(f"{snapshot.id}.json")
        return own | copies | {statement, f"{statement}.sig", *self.bucket.names(self._name(f"{snapshot.id}/"))}

    def signature(self, snapshot: str) -> bytes:
        """The signature of a snapshot's statement; b"" where it is missing."""
        held = self.bucket.read(self._name(f"{snapshot}.json.sig"))
        return held.content if held else b""

    def kept(self, sha256: str) -> str:
        """The name of the copy of an object that is replaced later."""
        return self._name(f"objects/{sha256}")

    def read_kept(self, sha256: str) -> Held:
        """That copy. ArtifactError: it is missing, or is something else."""
        held = self.bucket.read(self.kept(sha256))
        if held is None or held.stat.sha256 != sha256:
            raise ArtifactError(f"{self.bucket.url}/{self.kept(sha256)} is missing or damaged", hint=_HINT)
        return held

    def publish_keyring(self, signer: Signer, *, publisher: str) -> None:
        """Add the signer's public keys to those that are published, which stay: what they signed is still verified.

        A damaged keyring is left to who can restore it; it holds nothing up, and `verify` names it.

        Raises:
            ConflictError: others are faster, again and again.
        """
        name = object_name(self.milestone, KEYRING)
        for attempt in range(1, _ATTEMPTS + 1):
            old, generation = seen(self.bucket, name)
            try:
                if old:
                    check_public_keys(old, f"{self.bucket.url}/{name}")
            except SigningError as err:
                log.warning("%s; restore its last good version, or remove it and publish again", err.what)
                return
            content = united_keyrings(old, signer.public_keys().encode())
            try:
                self.bucket.upload(
                    content, name, kind=Kind.POINTER, if_generation=generation, publisher=publisher
                )  # fmt: skip
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            return

    def keyring(self, *, missing: bytes | None = None) -> bytes:
        """The public keys that what is below snapshots/ is signed with.

        Args:
            missing: what to give where none are published.

        Raises:
            SigningError: none are published, and nothing stands for them.
        """
        name = object_name(self.milestone, KEYRING)
        content = seen(self.bucket, name)[0] or missing
        if content is None:
            raise SigningError(f"{self.bucket.url}/{name} is missing: nobody can verify a snapshot",
                               hint="publish to staging: that writes it")  # fmt: skip
        return content

    def _whole(self, snapshot: str) -> Snapshot:
        name = self._name(f"{snapshot}.json")
        held = self.bucket.read(name)
        if held is None or hashlib.sha256(held.content).hexdigest() != snapshot:
            raise ArtifactError(f"{self.bucket.url}/{name} is missing, or not what its name says", hint=_HINT)
        found = Snapshot.read(held.content, f"{self.bucket.url}/{name}")
        if (found.bucket, found.milestone) != (self.bucket.url, self.milestone):
            raise ArtifactError(
                f"{self.bucket.url}/{name} was made for milestone {found.milestone} of {found.bucket}: "
                "its signature says nothing here",
                hint="somebody has copied it: delete it, and publish to this milestone",
            )
        return found


def current(snapshots: Sequence[Snapshot], state: State) -> Snapshot | None:
    """The newest of some snapshots that is what a bucket shows now."""
    return next((each for each in snapshots if each.state.shows(state)), None)
