"""Test evidence: what a run of a Tast suite says of one snapshot, as a document that is signed and kept beside it.

`judge` decides whether a run is green. What is not shown to be good is not green.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from common.documents import canonical, parse
from common.errors import ArtifactError
from common.external import Pin, Pins
from common.shown import Object
from common.tast_results import Outcome, Result, Results
from common.tast_suites import Suite

FORMAT = 1
NOTE = "release_run.json"  # what `invoke tast-run` leaves in the result directory
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
AHEAD = dt.timedelta(minutes=5)  # what the clocks of two machines may be apart
_LISTED = 10  # tests that failed, by name; the document has all of them
_HINT = "run the suite again"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What tests need to know of a snapshot.

    Attributes:
        id: the digest it is named by.
        milestone: 72.
        created: when it was published.
        objects: by their paths below the milestone, `images/debian/bookworm/amd64/test/20261126_10:00/lxd.tar.xz`.
    """

    id: str
    milestone: int
    created: dt.datetime
    objects: Mapping[str, Object]


class Snapshots(Protocol):
    """Where snapshots are, and the evidence about them."""

    def get(self, snapshot: str) -> Snapshot:
        """One by its id. UsageError: there is none; ArtifactError: its manifest is not what its id says."""

    def attach_evidence(self, snapshot: str, name: str, content: bytes, signature: bytes) -> str:
        """Keep a signed document beside a snapshot, under a name that is new, and return its URL.

        Raises:
            UsageError: there is no such snapshot.
            ConflictError: there is other evidence of that name.
        """


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a run was of: `invoke tast-run` writes it into the result directory before Tast starts.

    Attributes:
        snapshot: its id.
        suite: the suite's name.
        host: the device.
        pins: the static data that was written for it.
    """

    snapshot: str
    suite: str
    host: str
    pins: Pins

    def write(self) -> bytes:
        """The bytes of the note."""
        pins = {name: pin.plain() for name, pin in self.pins.items()}
        return canonical(
            {"format": FORMAT, "snapshot": self.snapshot, "suite": self.suite, "host": self.host, "pins": pins}
        )

    @classmethod
    def read(cls, content: bytes, where: str) -> "Note":
        """Read one. ArtifactError: it is not, byte for byte, what `write` gave."""
        made = cls._of(parse(content, where), where)
        if made.write() != content:
            raise ArtifactError(f"{where} is not written as a note is", hint=_HINT)
        return made

    @classmethod
    def _of(cls, plain: object, where: str) -> "Note":
        match plain:
            case {
                "format": 1, "snapshot": str(snapshot), "suite": str(suite), "host": str(host), "pins": dict(pins),
            }:  # fmt: skip
                found = {name: Pin.of(pin, f"{where}: {name}") for name, pin in pins.items()}
                return cls(snapshot=snapshot, suite=suite, host=host, pins=found)
            case _:
                raise ArtifactError(f"{where} is no note of a run of format {FORMAT}", hint=_HINT)


def read_note(folder: Path) -> Note | None:
    """The note in a result directory, or None. ArtifactError: see Note.read."""
    path = folder / NOTE
    return Note.read(path.read_bytes(), str(path)) if path.is_file() else None


def later_than_now(when: dt.datetime, now: dt.datetime) -> str:
    """The end of a sentence about something that claims to be of later than now; "" where it is not."""
    if when <= now + AHEAD:
        return ""
    return f"{_said(when)}, which is later than now ({_said(now)}): a clock is wrong, or was"


def judge(
    results: Results, note: Note | None, *, suite: Suite, snapshot: Snapshot, pins: Pins, now: dt.datetime
) -> list[str]:
    """Why a run is not green, a sentence for each reason; nothing where it is.

    Args:
        results: what the result directory says.
        note: what the run was of; None where nothing says that.
        suite: which suite it should have been.
        snapshot: and of which snapshot.
        pins: what the static data of exactly that snapshot has to be.
        now: the time; no test can be of later.
    """
    why = [*results.problems, *_of_tests(results.tests), *_of_required(results.tests, suite)]
    before = [test for test in results.tests if test.start < snapshot.created]
    if before:
        first = min(before, key=lambda test: test.start)
        why.append(
            f"{first.name} began on {_said(first.start)}, before the snapshot was published "
            f"({_said(snapshot.created)}): these results are older than it"
        )
    last = max(((test.end or test.start, test.name) for test in results.tests), default=(now, ""))
    if said := later_than_now(last[0], now):
        why.append(f"{last[1]} is of {said}")
    return [*why, *_of_note(note, suite, snapshot, pins)]


def _of_tests(tests: tuple[Result, ...]) -> Iterator[str]:
    if not tests:
        yield "no test was run"
    elif all(test.outcome is Outcome.SKIPPED for test in tests):
        yield f"all {len(tests)} tests were skipped, {tests[0].name} for: {tests[0].skip_reason}"
    for outcome, did in ((Outcome.UNFINISHED, "did not finish"), (Outcome.FAILED, "failed")):
        bad = [test for test in tests if test.outcome is outcome]
        for test in bad[:_LISTED]:
            yield f"{test.name} {did}" + (f": {test.errors[0]}" if test.errors else "")
        if len(bad) > _LISTED:
            yield f"{len(bad) - _LISTED} more tests {did}"


def _of_required(tests: tuple[Result, ...], suite: Suite) -> Iterator[str]:
    for pattern in suite.required:
        found = [test for test in tests if fnmatchcase(test.name, pattern)]
        if not found:
            yield f"the required test {pattern!r} is missing"
        elif all(test.outcome is Outcome.SKIPPED for test in found):
            yield f"the required test {pattern!r} was skipped: {found[0].skip_reason}"


def _of_note(note: Note | None, suite: Suite, snapshot: Snapshot, pins: Pins) -> Iterator[str]:
    if note is None:
        yield f"{NOTE} is missing: nothing says which snapshot's static data the run used"
        return
    if note.snapshot != snapshot.id:
        yield f"{NOTE}: the run was of snapshot {note.snapshot!r}, not of {snapshot.id!r}"
    if note.suite != suite.name:
        yield f"{NOTE}: the run was of suite {note.suite!r}, not of {suite.name!r}"
    for name in sorted({*note.pins, *pins}):
        used, wanted = note.pins.get(name), pins.get(name)
        if used != wanted:
            did, has = used.url if used else "nothing", wanted.url if wanted else "nothing"
            yield f"{name} pinned {did}, where the snapshot has {has}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One document.

    Attributes:
        snapshot: the id of the snapshot it is about.
        suite, expression: which suite, and what it was then.
        container, vm: where those under test came from.
        recorded: when it was made.
        started, ended: of the first and last test; None where none says.
        host: the device, or "".
        pins: the static data the run used.
        tests: (name, outcome, first error or reason) of each.
        why: why it is not green; nothing where it is.
        files: SHA-256 of each file that was read.
    """

    snapshot: str
    suite: str
    expression: str
    container: str
    vm: str
    recorded: dt.datetime
    started: dt.datetime | None
    ended: dt.datetime | None
    host: str
    pins: Pins
    tests: tuple[tuple[str, str, str], ...]
    why: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def green(self) -> bool:
        """Whether the suite speaks for the snapshot."""
        return not self.why

    @property
    def name(self) -> str:
        """A name for it beside the snapshot: `pfq-20261126T101530Z`."""
        return f"{self.suite}-{self.recorded:%Y%m%dT%H%M%SZ}"

    @classmethod
    def of(
        cls, results: Results, note: Note | None, *, suite: Suite, snapshot: Snapshot, pins: Pins, now: dt.datetime
    ) -> "Evidence":
        """Judge a run and write down what it says; the arguments are those of `judge`, and the time."""
        noted = {NOTE: hashlib.sha256(note.write()).hexdigest()} if note else {}
        ends = [test.end for test in results.tests if test.end is not None]
        return cls(
            snapshot=snapshot.id,
            suite=suite.name,
            expression=suite.expression,
            container=suite.container.value,
            vm=suite.vm.value,
            recorded=now.astimezone(dt.UTC).replace(microsecond=0),
            started=min((test.start for test in results.tests), default=None),
            ended=max(ends, default=None),
            host=note.host if note else "",
            pins=note.pins if note else {},
            tests=tuple((test.name, test.outcome.value, _first_of(test)) for test in results.tests),
            why=tuple(judge(results, note, suite=suite, snapshot=snapshot, pins=pins, now=now)),
            files={**results.files, **noted},
        )

    def write(self) -> bytes:
        """The document: these bytes are signed."""
        return canonical(
            {
                "format": FORMAT,
                "snapshot": self.snapshot,
                "suite": self.suite,
                "expression": self.expression,
                "container": self.container,
                "vm": self.vm,
                "recorded": self.recorded.strftime(_STAMP),
                "started": self.started.isoformat() if self.started else None,
                "ended": self.ended.isoformat() if self.ended else None,
                "host": self.host,
                "pins": {name: pin.plain() for name, pin in self.pins.items()},
                "results": [{"name": name, "outcome": outcome, "error": error} for name, outcome, error in self.tests],
                "green": self.green,
                "why": list(self.why),
                "files": dict(self.files),
            }
        )

    @classmethod
    def read(cls, content: bytes, where: str) -> "Evidence":
        """Read a document, whose signature the caller verifies.

        Raises:
            ArtifactError: it is not, byte for byte, what `write` gave.
        """
        made = cls._of(parse(content, where), where)
        if made.write() != content:
            raise ArtifactError(f"{where} is not written as evidence is", hint=_HINT)
        return made

    @classmethod
    def _of(cls, plain: object, where: str) -> "Evidence":
        match plain:
            case {
                "format": 1, "snapshot": str(snapshot), "suite": str(suite), "expression": str(expression),
                "container": str(container), "vm": str(vm), "recorded": str(recorded), "started": started,
                "ended": ended, "host": str(host), "pins": dict(pins), "results": list(tests), "green": bool(),
                "why": list(why), "files": dict(files),
            }:  # fmt: skip
                return cls(
                    snapshot=snapshot, suite=suite, expression=expression, container=container, vm=vm,
                    recorded=_time(recorded, where), started=_time(started, where) if started else None,
                    ended=_time(ended, where) if ended else None, host=host,
                    pins={name: Pin.of(pin, f"{where}: {name}") for name, pin in pins.items()},
                    tests=tuple(_test(test, where) for test in tests),
                    why=tuple(map(str, why)), files={name: str(sha256) for name, sha256 in files.items()},
                )  # fmt: skip
            case _:
                raise ArtifactError(f"{where} is no evidence of format {FORMAT}", hint=_HINT)


def missing_for(
    suites: Iterable[Suite], evidence: Iterable[Evidence], snapshot: str, *, now: dt.datetime
) -> list[str]:  # fmt: skip
    """Why a snapshot may not go live yet: of each gating suite the newest evidence about it has to be green.

    What claims to be of later than now would be the newest until then, whatever else is recorded: it is not green.

    Args:
        suites: those of tast.toml.
        evidence: documents whose signatures were verified.
        snapshot: the snapshot's id; evidence about others does not count.
        now: the time.
    """
    newest: dict[str, Evidence] = {}
    for each in sorted(evidence, key=lambda each: each.recorded):
        if each.snapshot == snapshot:
            newest[each.suite] = each
    why = []
    for suite in suites:
        if not suite.gates:
            continue
        last = newest.get(suite.name)
        if last is None:
            why.append(f"{suite.name}: there is no evidence")
        elif said := later_than_now(last.recorded, now):
            why.append(f"{suite.name}: the evidence {last.name} is of {said}; remove it, and record the run again")
        elif said := later_than_now(last.ended or last.recorded, now):
            why.append(f"{suite.name}: the tests of {last.name} ended on {said}; run them again")
        elif not last.green:
            why.append(f"{suite.name}: not green on {last.recorded:%Y-%m-%d %H:%M} UTC: {last.why[0]}")
    return why


def _said(when: dt.datetime) -> str:
    """A time as people read it; all that are read or made here are UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _first_of(test: Result) -> str:
    return test.errors[0] if test.errors else test.skip_reason


def _test(plain: object, where: str) -> tuple[str, str, str]:
    match plain:
        case {"name": str(name), "outcome": str(outcome), "error": str(error), **rest} if not rest:
            return name, outcome, error
        case _:
            raise ArtifactError(f"{where}: {plain!r} is no result", hint=_HINT)


def _time(text: object, where: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(str(text))
    except ValueError as err:
        raise ArtifactError(f"{where}: {text!r} is no time", hint=_HINT) from err
    if time.tzinfo is None:
        raise ArtifactError(f"{where}: {text!r} has no time zone", hint=_HINT)
    return time
