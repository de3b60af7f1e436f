"""Attaches what a run of Tast says, signed, to the snapshot it was of: what `invoke tast-record` does."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from common.aptrepo import KEYRING
from common.documents import sign_document, verify_document
from common.errors import SigningError, UsageError
from common.evidence import Evidence, read_note
from common.keyring import throwaway_key
from common.milestones import object_name
from common.signing import Signer, homedir, import_secret_keys
from common.store import Storage, open_bucket, parse_storage
from common.tast_results import read_results
from common.tast_suites import Source, find_suite
from kokoro.apt_signer import KEYS
from kokoro.desk import out_directory, store_of
from kokoro.publish_apt_staging import BUCKET as PACKAGES_STAGING
from lxd.tast_data import pins_of
from scripts.snapshots import find_store

PACKAGES = {Source.LIVE: "cros-packages", Source.STAGING: PACKAGES_STAGING}


def run(
    *, suite: str, snapshot: str, results: str, keys: str, milestone: int, plan: bool, out: str, storage: str
) -> None:
    """Read a result directory, judge it, and attach the signed document.

    Args:
        suite: of tast.toml; "" for the one that `invoke tast-run` noted in the results.
        snapshot: the id of a snapshot of containers.
        results: a result directory of Tast.
        keys: a directory with key files as the keystore has them; "" at a desk, for its throwaway key.
        milestone: which one has the snapshot; 0: one of the active ones.
        plan: say what the results are, and attach nothing.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: an argument makes no sense.
        ArtifactError: the snapshot or the note in the results cannot be read.
        SigningError: there is no key, or none that the published keyring has.
    """
    folder = Path(results)
    read = read_results(folder)
    note = read_note(folder)
    if not suite and note is None:
        raise UsageError("no suite is named, and the results do not say which it was", hint="--suite pfq")
    wanted = find_suite(suite or (note.suite if note else ""))
    store = find_store(snapshot, wanted.container, milestone=milestone, out=out, storage=storage)
    found = store.get(snapshot)
    pins = pins_of(found.objects, store.url)
    made = Evidence.of(read, note, suite=wanted, snapshot=found, pins=pins, now=dt.datetime.now(dt.UTC))
    for line in lines(made):
        print(line)
    if plan:
        return
    document = made.write()
    with _signer(keys, out, storage) as signer:
        signature = sign_document(document, signer)
    _check(document, signature, wanted.container, store.milestone, out, storage)
    print(f"attached as {store.attach_evidence(snapshot, made.name, document, signature)}")


def lines(evidence: Evidence) -> Iterator[str]:
    """What a document says, for people."""
    counts = {outcome: 0 for _, outcome, _ in evidence.tests}
    for _, outcome, _ in evidence.tests:
        counts[outcome] += 1
    tests = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no test"
    yield f"{evidence.suite}: {'green' if evidence.green else 'not green'} ({tests})"
    yield from (f"  {sentence}" for sentence in evidence.why)


@contextlib.contextmanager
def _signer(keys: str, out: str, storage: str) -> Iterator[Signer]:
    """Whoever signs. SigningError: there is no key file, or only a throwaway one, and the store is Google's."""
    if keys:
        files = sorted(Path(keys).glob(KEYS))
    elif parse_storage(storage) is Storage.GCS:
        raise SigningError("no key is named, and a throwaway key stays off gs://", hint=f"--keys DIR with {KEYS}")
    else:
        files = [throwaway_key(out_directory(out) / "keys").secret]
    if not files:
        raise SigningError(f"no signing key {KEYS!r} in {keys!r}", hint="--keys DIR names a directory that has one")
    with homedir() as home:
        yield Signer(home, import_secret_keys(home, files))


def _check(document: bytes, signature: bytes, source: Source, milestone: int, out: str, storage: str) -> None:
    """See that everybody can verify it. SigningError: not with the keyring that is published."""
    bucket, name = open_bucket(store_of(storage, out), PACKAGES[source]), object_name(milestone, KEYRING)
    held = bucket.read(name)
    if held is None:
        raise SigningError(
            f"{bucket.url}/{name} is missing: nobody could verify the evidence", hint="publish the repository first"
        )
    verify_document(document, signature, held.content, where="the evidence")
