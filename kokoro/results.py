"""What became of a job, and where everything of a run lies under out/."""

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from common.errors import ArtifactError
from common.files import ROOT, write_atomically
from common.manifest import Manifest
from kokoro.flows import Job

PUBLISHED = "published.json"


class State(StrEnum):
    """How a job ended in this run."""

    PASSED = "passed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"

    @property
    def good(self) -> bool:
        """Whether its artifacts may be used."""
        return self in (State.PASSED, State.UNCHANGED)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One job's outcome; result.json.

    Attributes:
        job: the whole name.
        state: how it ended.
        key: the digest of all its inputs.
        started: ISO 8601, UTC; "" when it did not start.
        seconds: how long it took when it last really ran.
        exit_code: of its shell step; 0 for success.
        message: why it did not pass, one line or a few.
        command: what to type to run it again.
        artifacts, size: how many files it handed on, and their bytes.
    """

    job: str
    state: State
    key: str = ""
    started: str = ""
    seconds: float = 0.0
    exit_code: int = 0
    message: str = ""
    command: str = ""
    artifacts: int = 0
    size: int = 0

    @property
    def short_name(self) -> str:
        """The last field of the job's name."""
        return self.job.rsplit("/", 1)[-1]

    def unchanged(self) -> "Result":
        """The same result, taken over by a run that had nothing to do."""
        return replace(self, state=State.UNCHANGED)


@dataclass(frozen=True)
class Said:
    """published.json: the pointers with their SHA-256, and what they point at with its size; names are below gs://."""

    pointers: dict[str, str]
    objects: dict[str, int]


@dataclass(frozen=True)
class Place:
    """A job's directory under out/jobs: artifacts/, manifest.json, log.txt, sponge_log.xml, result.json."""

    path: Path

    @property
    def artifacts(self) -> Path:
        """What it handed on."""
        return self.path / "artifacts"

    @property
    def manifest_file(self) -> Path:
        """Path, size and SHA-256 of each artifact."""
        return self.path / "manifest.json"

    @property
    def log(self) -> Path:
        """Everything its shell step printed."""
        return self.path / "log.txt"

    @property
    def tests(self) -> Path:
        """Its JUnit results, where it has any."""
        return self.path / "sponge_log.xml"

    def read_result(self) -> Result | None:
        """The last result, None where there is none that can be read."""
        try:
            data = json.loads((self.path / "result.json").read_text())
            return Result(**{**data, "state": State(data["state"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_result(self, result: Result) -> None:
        """Write result.json."""
        write_atomically(self.path / "result.json", json.dumps(asdict(result), indent=1) + "\n")

    def manifest(self) -> Manifest:
        """The manifest. ArtifactError: it is missing or none."""
        return Manifest.read(self.manifest_file)

    def published(self) -> "Said":
        """What a publishing job made visible, nothing for other jobs. ArtifactError: its published.json is damaged."""
        said = self.artifacts / PUBLISHED
        if not said.exists():
            return Said({}, {})
        try:
            data = json.loads(said.read_text())
            return Said(dict(data["pointers"]), dict(data.get("objects", {})))
        except (ValueError, KeyError, TypeError) as err:
            raise ArtifactError(f"{said} is damaged: {err}", hint="run the job again with --force") from err

    def complete(self) -> bool:
        """Whether every artifact is there with the size the manifest says; contents are checked when handed on."""
        try:
            return all((self.artifacts / e.path).stat().st_size == e.size for e in self.manifest().entries)
        except (OSError, ArtifactError):
            return False


@dataclass(frozen=True)
class Out:
    """The directory everything of a run is under."""

    root: Path

    @property
    def named(self) -> Path | None:
        """What --out has to name to mean this directory; None for the usual one."""
        return None if self.root == ROOT / "out" else self.root

    def place(self, job: str) -> Place:
        """Where a job's results are."""
        return Place(self.root / "jobs" / job)

    def work(self, job: Job) -> Path:
        """Where a job runs."""
        return self.root / "work" / job.name

    @property
    def store(self) -> Path:
        """The directory that stands for gs://."""
        return self.root / "gs"

    @property
    def keys(self) -> Path:
        """The throwaway signing key."""
        return self.root / "keys"

    @property
    def cache(self) -> Path:
        """What may be deleted at any time."""
        return self.root / "cache"

    @property
    def report(self) -> Path:
        """The page of the last run."""
        return self.root / "report" / "index.html"

    @property
    def releases(self) -> Path:
        """The page of what is staged, tested and live."""
        return self.root / "report" / "releases.html"
