"""Attaches what a run of Tast says, signed, to the snapshot it was of: what `invoke tast-record` does."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from common.documents import sign_document, verify_document
from common.errors import UsageError
from common.evidence import Evidence, read_note
from common.tast_results import read_results
from common.tast_suites import find_suite
from lxd.tast_data import pins_of
from scripts.keys import attestation_signer
from scripts.snapshots import find_store


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
    if not read.files and note is None:
        raise UsageError(f"{results!r} has nothing that Tast writes", hint="name the directory with results.json in it")
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
    with attestation_signer(keys, out, storage) as signer:
        signature = sign_document(document, signer)
    verify_document(document, signature, store.keyring(), where="the evidence")  # as everybody will
    print(f"attached as {store.attach_evidence(snapshot, made.name, document, signature)}")


def lines(evidence: Evidence) -> Iterator[str]:
    """What a document says, for people."""
    counts = {outcome: 0 for _, outcome, _ in evidence.tests}
    for _, outcome, _ in evidence.tests:
        counts[outcome] += 1
    tests = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no test"
    yield f"{evidence.suite}: {'green' if evidence.green else 'not green'} ({tests})"
    yield from (f"  {sentence}" for sentence in evidence.why)
