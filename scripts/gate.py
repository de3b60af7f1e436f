"""Whether a snapshot may go live: what its evidence says, all of it verified."""

import datetime as dt
from collections.abc import Iterator, Sequence

from common.documents import parse, verify_document
from common.errors import ArtifactError, SigningError
from common.evidence import Evidence, later_than_now, missing_for
from common.snapshot_store import Signed, SnapshotStore
from common.snapshots import Snapshot, Snapshots
from common.tast_suites import Suite
from lxd.bootchecks import NAME, BootChecks


def why_not(snapshots: Snapshots, snapshot: Snapshot, suites: Sequence[Suite], keyring: bytes) -> list[str]:
    """Why a snapshot may not go live, a sentence for each reason; nothing where it may.

    Args:
        snapshots: where it is.
        snapshot: which.
        suites: of tast.toml; those that gate have to be green.
        keyring: the keys that are believed, armoured.
    """
    why: list[str] = []
    now = dt.datetime.now(dt.UTC)
    if said := later_than_now(snapshot.created, now):
        why.append(f"it was published on {said}; no test of it can be newer: publish something new")
    try:
        verify_document(snapshot.write(), snapshots.signature(snapshot.id), keyring, where=f"{snapshot.id}.json")
    except SigningError as err:
        why.append(err.what)
    documents: list[BootChecks | Evidence] = []
    try:
        documents = evidence_of(snapshots, snapshot.id, keyring)
    except (SigningError, ArtifactError) as err:
        why.append(err.what)
    booted = [each for each in documents if isinstance(each, BootChecks)]
    tests = [each for each in documents if isinstance(each, Evidence)]
    return [*why, *_of_boots(booted, snapshot), *missing_for(suites, tests, snapshot.id, now=now)]


def evidence_of(snapshots: SnapshotStore, snapshot: str, keyring: bytes) -> list[BootChecks | Evidence]:
    """The evidence beside a snapshot.

    Raises:
        SigningError: a document is signed by no key of the keyring.
        ArtifactError: a document has no signature, is not written as evidence is, or is about another snapshot.
    """
    return [read_evidence(url, signed, snapshot, keyring) for url, signed in snapshots.evidence(snapshot).items()]


def read_evidence(url: str, signed: Signed, snapshot: str, keyring: bytes) -> BootChecks | Evidence:
    """One document beside a snapshot. SigningError, ArtifactError: see `evidence_of`."""
    verify_document(signed.content, signed.signature, keyring, where=url)
    match parse(signed.content, url):
        case {"kind": kind} if kind == NAME:
            made: BootChecks | Evidence = BootChecks.read(signed.content, url)
        case _:
            made = Evidence.read(signed.content, url)
    if made.snapshot != snapshot or not url.endswith(f"/{made.name}.json"):
        raise ArtifactError(f"{url} is {made.name!r} of snapshot {made.snapshot!r}", hint="remove it")
    return made


def _of_boots(documents: Sequence[BootChecks], snapshot: Snapshot) -> Iterator[str]:
    ours = [each for each in documents if each.snapshot == snapshot.id]
    if not ours:
        yield "nothing says that the images were booted"
    for each in ours:
        yield from each.why_not()
