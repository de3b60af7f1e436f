"""The results of a run of checks, and the JUnit file (sponge_log.xml) that CI shows them from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from common.errors import CheckFailedError, ReleaseError
from common.files import write_atomically

FILE = "sponge_log.xml"
# What XML 1.0 cannot carry, escaped or not; journals are full of terminal escapes.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Outcome:
    """One check in one situation: how long it took, in seconds, why it failed or was skipped, what it noted."""

    situation: str
    name: str
    seconds: float = 0.0
    failure: ReleaseError | None = None
    skipped: str = ""
    note: str = ""

    def __str__(self) -> str:
        """The check as a person reads it."""
        return f"{self.name} ({self.situation})"


@dataclass(frozen=True)
class Report:
    """All outcomes of one run."""

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def failures(self) -> Sequence[Outcome]:
        """Those that failed."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    def summary(self) -> str:
        """What passed, and what was not checked and why, as a person reads it."""
        skipped = [outcome for outcome in self.outcomes if outcome.skipped]
        lines = [f"{len(self.outcomes) - len(skipped)} boot checks passed in {self.seconds:.1f} s"]
        lines += [f"{outcome} was not checked: {outcome.skipped}" for outcome in skipped]
        return "\n".join(lines)

    def write(self, directory: Path) -> Path:
        """Write sponge_log.xml: testsuites > testsuite (a situation) > testcase > failure or skipped."""
        root = ElementTree.Element("testsuites", _counts(self.outcomes, self.seconds))
        for situation in dict.fromkeys(outcome.situation for outcome in self.outcomes):
            cases = [outcome for outcome in self.outcomes if outcome.situation == situation]
            seconds = sum(outcome.seconds for outcome in cases)
            suite = ElementTree.SubElement(root, "testsuite", {"name": situation, **_counts(cases, seconds)})
            for case in cases:
                _add_case(suite, case)
        ElementTree.indent(root)
        path = directory / FILE
        write_atomically(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
        return path

    def raise_failures(self) -> None:
        """Raise what failed, all of it, as one CheckFailedError."""
        if self.failures:
            names = ", ".join(str(outcome) for outcome in self.failures)
            raise CheckFailedError(
                f"{len(self.failures)} of {len(self.outcomes)} boot checks failed: {names}",
                details="\n".join(f"{outcome}: {outcome.failure}" for outcome in self.failures),
                hint="run one again with: ./run python lxd/test.py RESULT_DIR METADATA ROOTFS --only NAME",
            )


def _counts(outcomes: Sequence[Outcome], seconds: float) -> dict[str, str]:
    return {
        "tests": str(len(outcomes)),
        "failures": str(sum(1 for outcome in outcomes if outcome.failure)),
        "errors": "0",
        "skipped": str(sum(1 for outcome in outcomes if outcome.skipped)),
        "time": f"{seconds:.3f}",
    }


def _add_case(suite: ElementTree.Element, case: Outcome) -> None:
    attributes = {"classname": f"boot.{case.situation}", "name": case.name, "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    if case.failure:
        what = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", case.failure.what)
        failure = ElementTree.SubElement(element, "failure", {"message": what, "type": type(case.failure).__name__})
        failure.text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(case.failure))
    elif case.skipped:
        ElementTree.SubElement(element, "skipped", {"message": case.skipped})
    if case.note:
        ElementTree.SubElement(element, "system-out").text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", case.note)
