"""The ledger of a live bucket: who made what live, when, from what, and why; each line signed, and chained to the last.

An object of lines, each {"entry": {...}, "signature": "..."} in the one form of common/documents.py. An entry has the
SHA-256 of the line before it, so that no line can be changed or taken out of the middle; the last one has to name what
is live, which `invoke verify` compares.
"""

import base64
import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum

from common.bucket import Bucket, Kind
from common.documents import canonical, parse, sign_document, verify_document
from common.errors import ArtifactError, ConflictError, SigningError
from common.milestones import object_name
from common.publication import seen
from common.signing import Signer

LEDGER = "ledger.jsonl"
_ATTEMPTS = 5
_HINT = "restore the object's last good version"


class Action(StrEnum):
    """What was done to a live bucket."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line.

    Attributes:
        action: what was done.
        who: by whom.
        source: the snapshot of staging (of live, for a rollback) that was made live.
        before, after: the live snapshots before ("" for none; the ledger fills it in) and after.
        why: the reason given, or "".
        forced: whether a gate was passed by, and what that said.
        when: UTC, ISO 8601.
        number: counts from 1.
        previous: the SHA-256 of the line before, in hex; "" for the first.
    """

    action: Action
    who: str
    source: str
    before: str = ""
    after: str = ""
    why: str = ""
    forced: str = ""
    when: str = ""
    number: int = 0
    previous: str = ""

    def write(self) -> bytes:
        """The bytes that are signed."""
        return canonical({**asdict(self), "action": self.action.value})


@dataclass(frozen=True)
class Line:
    """An entry as it is kept: its signature, and the SHA-256 of the whole line."""

    entry: Entry
    signature: bytes
    sha256: str


class Ledger:
    """The ledger of one milestone in a live bucket."""

    def __init__(self, bucket: Bucket, milestone: int) -> None:
        self.bucket, self.name = bucket, object_name(milestone, LEDGER)

    def lines(self) -> list[Line]:
        """All lines, the oldest first; nothing where nothing was ever made live.

        Raises:
            ArtifactError: a line cannot be read, or does not follow from the one before it.
        """
        return self._parsed(seen(self.bucket, self.name)[0])

    def append(
        self, entry: Entry, signer: Signer, *, now: dt.datetime, check: Callable[[], None] = lambda: None
    ) -> Entry:
        """Add a line, after whatever others add meanwhile; returns the entry as it was written.

        Args:
            entry: what was done; that the line before says what was live before, is seen to here.
            signer: signs the line.
            now: the time of the line.
            check: called when the end of the ledger is known, and raises where the line is not true any more: the last
                line is about what was made live last.

        Raises:
            ConflictError: others are faster, again and again.
            ArtifactError: see `lines`.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            content, generation = seen(self.bucket, self.name)
            lines = self._parsed(content)
            check()
            whole = replace(
                entry, number=len(lines) + 1, previous=lines[-1].sha256 if lines else "",
                before=lines[-1].entry.after if lines else "",
                when=now.astimezone(dt.UTC).isoformat(timespec="seconds"),
            )  # fmt: skip
            signature = base64.b64encode(sign_document(whole.write(), signer)).decode()
            line = canonical({"entry": {**asdict(whole), "action": whole.action.value}, "signature": signature})
            try:
                self.bucket.upload(
                    content + line + b"\n", self.name, kind=Kind.POINTER, if_generation=generation, publisher=entry.who
                )
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            return whole
        raise AssertionError("not reached")

    def _parsed(self, content: bytes) -> list[Line]:
        if content and not content.endswith(b"\n"):
            raise ArtifactError(f"{self._url} ends in the middle of a line", hint=_HINT)
        lines: list[Line] = []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            where = f"{self._url}, line {number}"
            found = _line(line, where)
            previous = lines[-1].sha256 if lines else ""
            if (found.entry.number, found.entry.previous) != (number, previous):
                raise ArtifactError(f"{where} does not follow from the line before it", hint=_HINT)
            lines.append(found)
        return lines

    @property
    def _url(self) -> str:
        return f"{self.bucket.url}/{self.name}"


def _line(content: bytes, where: str) -> Line:
    match parse(content, where):
        case {"entry": dict(entry), "signature": str(signature), **rest} if not rest:
            kinds = {each.name: int if each.name == "number" else str for each in fields(Entry)}
            if entry.keys() != kinds.keys() or any(type(entry[name]) is not kind for name, kind in kinds.items()):
                raise ArtifactError(f"{where} is no entry of a ledger", hint=_HINT)
            try:
                made = Entry(**{**entry, "action": Action(entry["action"])})
                signed = base64.b64decode(signature, validate=True)
            except ValueError as err:
                raise ArtifactError(f"{where}: {err}", hint=_HINT) from err
            encoded = base64.b64encode(signed).decode()
            if canonical({"entry": entry, "signature": encoded}) != content:
                raise ArtifactError(f"{where} is not written as a ledger is", hint=_HINT)
            return Line(made, signed, hashlib.sha256(content).hexdigest())
        case _:
            raise ArtifactError(f"{where} is no line of a ledger", hint=_HINT)


def check_signatures(lines: list[Line], keyring: bytes, where: str) -> list[str]:
    """What is wrong with the signatures of a ledger, a sentence for each line."""
    wrong = []
    for line in lines:
        try:
            verify_document(line.entry.write(), line.signature, keyring, where=f"{where}, line {line.entry.number}")
        except SigningError as err:
            wrong.append(err.what)
    return wrong
