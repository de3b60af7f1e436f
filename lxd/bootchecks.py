"""What the boot checks said of the images of a snapshot, as a document that is kept beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

from common.documents import canonical, parse
from common.errors import ArtifactError

NAME = "boot-checks"
FORMAT = 1
_HINT = "restore the document's last good version"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The checks of one image: how many there were, how many failed and were skipped, and its report's SHA-256."""

    tests: int
    failures: int
    skipped: int
    sha256: str

    @classmethod
    def of(cls, report: bytes) -> "Checked":
        """Read a sponge_log.xml of ours; one that cannot be read counts as a failure."""
        digest = sha256(report).hexdigest()
        try:
            root = ElementTree.fromstring(report)
            tests, failures, errors, skipped = (
                int(root.attrib[key]) for key in ("tests", "failures", "errors", "skipped")
            )
            cases = list(root.iter("testcase"))
            bad = sum(1 for case in cases for each in case if each.tag in ("failure", "error"))
        except (ElementTree.ParseError, KeyError, ValueError):
            return cls(tests=0, failures=1, skipped=0, sha256=digest)
        whole = root.tag == "testsuites" and len(cases) == tests and bad == failures + errors
        return cls(tests=tests, failures=bad if whole else bad + 1, skipped=skipped, sha256=digest)


@dataclass(frozen=True, kw_only=True)
class BootChecks:
    """The document.

    Attributes:
        snapshot: the id of the snapshot it is about.
        images: of each product; None for one that was not booted.
    """

    snapshot: str
    images: Mapping[str, Checked | None]

    @property
    def name(self) -> str:
        """The name it has beside the snapshot."""
        return NAME

    def why_not(self) -> Iterator[str]:
        """Why the images may not go live, a sentence for each."""
        if not self.images:
            yield "no image was booted"
        for product, checked in self.images.items():
            if checked is None:
                yield f"{product} was not booted"
            elif checked.failures:
                yield f"{product}: {checked.failures} of {checked.tests} boot checks failed, or their report is damaged"
            elif checked.skipped >= checked.tests:
                yield f"{product}: none of {checked.tests} boot checks was done"

    def write(self) -> bytes:
        """The document: these bytes are signed."""
        images = {
            product: None
            if checked is None
            else {"tests": checked.tests, "failures": checked.failures, "skipped": checked.skipped,
                  "sha256": checked.sha256}
            for product, checked in self.images.items()
        }  # fmt: skip
        return canonical({"format": FORMAT, "kind": NAME, "snapshot": self.snapshot, "images": images})

    @classmethod
    def read(cls, content: bytes, where: str) -> "BootChecks":
        """Read one. ArtifactError: it is not, byte for byte, what `write` gave."""
        match parse(content, where):
            case {"format": 1, "kind": "boot-checks", "snapshot": str(snapshot), "images": dict(images)}:
                found = {product: _checked(each, where) for product, each in images.items()}
            case _:
                raise ArtifactError(f"{where} is no document of boot checks", hint=_HINT)
        made = cls(snapshot=snapshot, images=found)
        if made.write() != content:
            raise ArtifactError(f"{where} is not written as boot checks are", hint=_HINT)
        return made


def _checked(plain: Any, where: str) -> Checked | None:  # noqa: ANN401, as JSON is
    match plain:
        case None:
            return None
        case {"tests": int(tests), "failures": int(failures), "skipped": int(skipped), "sha256": str(digest)}:
            return Checked(tests=tests, failures=failures, skipped=skipped, sha256=digest)
        case _:
            raise ArtifactError(f"{where}: {plain!r} says nothing of an image", hint=_HINT)
