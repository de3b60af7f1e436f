"""What a result directory of Tast says: results.json, or what an interrupted run left, and what is wrong with it.

The formats are those of Tast's resultsjson package. A test passed if it finished without errors and was not skipped.
A test is skipped where the device lacks what it needs, which is neither a pass nor a failure: every broad expression
finds such tests on every device.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.documents import parse
from common.errors import ArtifactError, UsageError

RESULTS = "results.json"
STREAMED = "streamed_results.jsonl"
RUN_ERROR = "run_error.txt"  # Tast of Chrome OS 71 to 75 has it
_NAME = re.compile(r"[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*(?:\.[a-z0-9_]+)?")
_SHOWN = 300  # characters of an error
_NEVER = 1  # the year of Go's zero time


class Outcome(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One test.

    Attributes:
        name: `crostini.Basic.bookworm_stable`.
        start: when it began.
        end: when it ended; None where it did not finish.
        errors: the first line of each of its errors.
        skip_reason: why it was skipped, or "".
    """

    name: str
    start: dt.datetime
    end: dt.datetime | None
    errors: tuple[str, ...]
    skip_reason: str

    @property
    def outcome(self) -> Outcome:
        """Of a test that was skipped nothing ended, so that a missing end means nothing."""
        if self.end is None and not self.skip_reason:
            return Outcome.UNFINISHED
        if self.errors:
            return Outcome.FAILED
        return Outcome.SKIPPED if self.skip_reason else Outcome.PASSED


@dataclass(frozen=True, kw_only=True)
class Results:
    """A result directory.

    Attributes:
        tests: in the order of the file.
        complete: whether results.json was written, which Tast does at the end of a run.
        problems: a sentence for each thing that is wrong with the files; none of them is a test's failure.
        files: the SHA-256, in hex, of each file that was read.
    """

    tests: tuple[Result, ...]
    complete: bool
    problems: tuple[str, ...]
    files: Mapping[str, str]


def read_results(folder: Path) -> Results:
    """Read a result directory; what is wrong with its files is in `problems`.

    Raises:
        UsageError: it is no directory.
        ArtifactError: a file cannot be read at all.
    """
    if not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is no result directory of Tast", hint="tast run -resultsdir=DIR makes one")
    reader = _Reader(folder)
    tests = reader.results()
    streamed = reader.streamed(wanted=tests is None)
    if tests is not None:
        reader.compare(tests, streamed)
    reader.run_error()
    return Results(
        tests=streamed if tests is None else tests,
        complete=tests is not None,
        problems=tuple(reader.problems),
        files=reader.files,
    )


class _Reader:
    """The files of one directory, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.files: dict[str, str] = {}

    def results(self) -> tuple[Result, ...] | None:
        """The tests of results.json; None where it does not show a whole run."""
        content = self._read(RESULTS)
        if content is None:
            self.problems.append(f"{RESULTS} is missing: the run was interrupted")
            return None
        if not content.strip():
            self.problems.append(f"{RESULTS} is empty")
            return None
        try:
            return _results(parse(content, RESULTS))
        except ArtifactError as err:
            self.problems.append(f"{err.what} (cut off, or not written by Tast)")
            return None

    def streamed(self, *, wanted: bool) -> tuple[Result, ...]:
        """The tests of streamed_results.jsonl, as far as it can be read."""
        content = self._read(STREAMED)
        if not content:
            if wanted:
                self.problems.append(f"{STREAMED} is {'missing' if content is None else 'empty'}, too")
            return ()
        tests: list[Result] = []
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                try:
                    tests.append(_result(parse(line, f"{STREAMED}, line {number},"), f"{STREAMED}, line {number}"))
                except ArtifactError as err:
                    self.problems.append(f"{err.what} (cut off, or not written by Tast)")
        return tuple(tests)

    def compare(self, tests: tuple[Result, ...], streamed: tuple[Result, ...]) -> None:
        """An interrupted second run into a directory leaves what it streamed beside the results of the first."""
        known = {(test.name, test.start) for test in tests}
        for test in streamed:
            if (test.name, test.start) not in known:
                self.problems.append(
                    f"{STREAMED} has {test.name} of {test.start.isoformat()}, {RESULTS} has not: they are of two runs"
                )
                return

    def run_error(self) -> None:
        """The error that ended a whole run."""
        if content := self._read(RUN_ERROR):
            self.problems.append(f"{RUN_ERROR} says: {_first_line(content.decode(errors='replace'))}")

    def _read(self, name: str) -> bytes | None:
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as err:
            raise ArtifactError(
                f"{str(self.folder / name)!r} cannot be read: {err.strerror}", hint="check its owner and mode"
            ) from err
        self.files[name] = hashlib.sha256(content).hexdigest()
        return content


def _results(parsed: object) -> tuple[Result, ...]:
    """All tests of results.json. ArtifactError: it is not a list of tests."""
    if not isinstance(parsed, list):
        raise ArtifactError(f"{RESULTS} is no list of tests")
    return tuple(_result(record, f"{RESULTS}, test {number}") for number, record in enumerate(parsed, 1))


def _result(record: object, where: str) -> Result:
    """One test as Tast writes it. ArtifactError: it is not like that."""
    match record:
        case {"name": str(name), "start": str(start), "end": str(end), "skipReason": str(reason), "errors": errors}:
            if not _NAME.fullmatch(name):
                raise ArtifactError(f"{where}: {name!r} is no name of a test")
            if errors is not None and not isinstance(errors, list):
                raise ArtifactError(f"{where}: errors is {errors!r}, not a list")
            began, ended = _time(start, where), _time(end, where)
            return Result(
                name=name,
                start=began,
                end=None if ended.year == _NEVER else ended,
                errors=tuple(_reasons(errors or [])),
                skip_reason=_first_line(reason) or ("it says no reason" if reason else ""),
            )
        case _:
            raise ArtifactError(f"{where} is no result of a test")


def _reasons(errors: list[object]) -> Iterator[str]:
    for error in errors:
        match error:
            case {"reason": str(reason)} if reason.strip():
                yield _first_line(reason)
            case _:
                yield "an error without a reason"


def _time(text: str, where: str) -> dt.datetime:
    """RFC 3339, as Go writes it; finer than microseconds is cut off."""
    try:
        time = dt.datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ArtifactError(f"{where}: {text!r} has no time zone")
        return time if time.year == _NEVER else time.astimezone(dt.UTC)
    except (ValueError, OverflowError) as err:
        raise ArtifactError(f"{where}: {text!r} is no time") from err


def _first_line(text: str) -> str:
    """As it may be shown on a terminal: what a test printed can have anything in it."""
    lines = text.strip().splitlines()
    return "".join(each if each.isprintable() else "?" for each in lines[0][:_SHOWN]) if lines else ""
