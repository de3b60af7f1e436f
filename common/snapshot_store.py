"""Snapshots as they are in a bucket, and the signed evidence beside them.

`<milestone>/snapshots/<id>.json` is an in-toto statement whose subjects are the published objects, by their paths below
the milestone, with their sizes as annotations; <id> is the SHA-256 of these bytes. Evidence about it is in
`<milestone>/snapshots/<id>/evidence/<name>.json`, with its signature in `<name>.json.sig`.
"""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass

from common.bucket import Bucket, Kind
from common.documents import parse
from common.errors import ArtifactError, UsageError
from common.evidence import Snapshot
from common.milestones import object_name, url_of
from common.shown import Object

STATEMENT = "https://in-toto.io/Statement/v1"
_ID = re.compile(r"[0-9a-f]{64}")
_HINT = "./run invoke verify says what else is wrong"


@dataclass(frozen=True)
class Signed:
    """A document and its detached signature."""

    content: bytes
    signature: bytes


class SnapshotStore:
    """The snapshots of one milestone of a bucket: implements common.evidence.Snapshots."""

    def __init__(self, bucket: Bucket, milestone: int) -> None:
        self.bucket, self.milestone = bucket, milestone

    @property
    def url(self) -> str:
        """Of the milestone: `gs://cros-containers-staging/72`."""
        return url_of(self.bucket.url, self.milestone)

    def has(self, snapshot: str) -> bool:
        """Whether there is one of that id."""
        return _ID.fullmatch(snapshot) is not None and self.bucket.stat(self._name(f"{snapshot}.json")) is not None

    def get(self, snapshot: str) -> Snapshot:
        """See Snapshots."""
        if _ID.fullmatch(snapshot) is None:
            raise UsageError(f"{snapshot!r} is no id of a snapshot: 64 hexadecimal digits", hint="give the whole id")
        name = self._name(f"{snapshot}.json")
        held = self.bucket.read(name)
        if held is None:
            raise UsageError(
                f"{self.url} has no snapshot {snapshot!r}", hint="another milestone or bucket may: --milestone"
            )
        where = f"{self.bucket.url}/{name}"
        if hashlib.sha256(held.content).hexdigest() != snapshot:
            raise ArtifactError(f"{where} is not what its name says", hint=_HINT)
        return self._read(snapshot, parse(held.content, where), where)

    def attach_evidence(self, snapshot: str, name: str, content: bytes, signature: bytes) -> str:
        """See Snapshots."""
        if not self.has(snapshot):
            raise UsageError(f"{self.url} has no snapshot {snapshot!r}", hint="give the whole id")
        return self.put_signed(f"{snapshot}/evidence/{name}.json", content, signature)

    def put_signed(self, path: str, content: bytes, signature: bytes, *, publisher: str = "") -> str:
        """Keep a document below snapshots/ and its signature, which goes first; returns its URL.

        Raises:
            ConflictError: there is another document of that name.
        """
        name = self._name(path)
        have = self.bucket.stat(name)
        if have is None or have.sha256 != hashlib.sha256(content).hexdigest():
            # A signature has its time in it: that of a run that was killed before the document gives way.
            if have is None:
                self.bucket.upload(signature, f"{name}.sig", kind=Kind.POINTER, publisher=publisher)
            self.bucket.upload(content, name, kind=Kind.IMMUTABLE, publisher=publisher)
        return f"{self.bucket.url}/{name}"

    def evidence(self, snapshot: str) -> dict[str, Signed]:
        """The evidence about a snapshot by URL, whose signatures the caller verifies.

        Raises:
            ArtifactError: a document has no signature.
        """
        found = {}
        for name in self.bucket.names(self._name(f"{snapshot}/evidence/")):
            if not name.endswith(".json"):
                continue
            content, signature = self.bucket.read(name), self.bucket.read(f"{name}.sig")
            if content is None or signature is None:
                raise ArtifactError(f"{self.bucket.url}/{name} has no signature", hint=_HINT)
            found[f"{self.bucket.url}/{name}"] = Signed(content.content, signature.content)
        return found

    def _name(self, path: str) -> str:
        return object_name(self.milestone, f"snapshots/{path}")

    def _read(self, snapshot: str, statement: object, where: str) -> Snapshot:
        match statement:
            case {
                "_type": str(kind),
                "subject": list(subjects),
                "predicate": {"runDetails": {"metadata": {"finishedOn": str(finished)}}},
            } if kind == STATEMENT:
                objects = dict(_subject(subject, where) for subject in subjects)
                return Snapshot(
                    id=snapshot, milestone=self.milestone, created=_time(finished, where), objects=objects
                )  # fmt: skip
            case _:
                raise ArtifactError(f"{where} is no manifest of a snapshot", hint=_HINT)


def _subject(subject: object, where: str) -> tuple[str, Object]:
    match subject:
        case {"name": str(name), "digest": {"sha256": str(sha256)}, "annotations": {"size": int(size)}}:
            return name, Object(size=size, sha256=sha256)
        case _:
            raise ArtifactError(f"{where}: {subject!r} is no object with size and SHA-256", hint=_HINT)


def _time(text: str, where: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError) as err:
        raise ArtifactError(f"{where}: {text!r} is no time", hint=_HINT) from err
