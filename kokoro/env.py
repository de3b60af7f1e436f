"""The environment a Kokoro build runs in, read once into a frozen dataclass: the only place that looks.

The variables are those of Kokoro (KOKORO_*), plus what narrows the matrix and comes from a job's env_vars or from the
local runner: RELEASES, ARCHES, IMAGE_TYPES (words separated by spaces), BRANCH and SOURCE_DATE_EPOCH. DELTA_BASES is a
number that the .cfg of publish_lxd_staging may set; TARBALL=1 makes images' rootfs.tar.xz, too.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.branches import Branch, branch_of_milestone, find_branch
from common.errors import ConfigError, UsageError
from common.store import Store

SCM = "cros-container-guest-tools"
STORE_VARIABLE = "CROS_STORE"


@dataclass(frozen=True, kw_only=True)
class KokoroEnv:
    """Where a build finds things and leaves them, and what it builds for.

    Attributes:
        job_name: the whole slash path, `cros-containers/crostini-guest/72/apt_repo`.
        artifacts_dir: KOKORO_ARTIFACTS_DIR; what the .cfg's globs match below it is handed on.
        gfile_dir: KOKORO_GFILE_DIR, with the parents' artifacts and the gfile_resources. Read-only.
        keystore_dir: KOKORO_KEYSTORE_DIR, or None where the build may see no key.
        store: where the buckets are, or None where the build may touch none (CROS_STORE: `gs://`, or a directory).
        emulated: whether an emulator stands for Google Cloud Storage (STORAGE_EMULATOR_HOST).
        cache_dir: kept from one run to the next where there is a local runner (CROS_CACHE_DIR); may be deleted.
        commit: the commit it is built from, or "".
        source_date_epoch: seconds; the newest time anything built may carry.
        branch: the Chrome OS branch, from branches.toml.
        releases, arches, image_types: the part of the branch's matrix to build, in the order of branches.toml.
        tarball: whether images get a rootfs.tar.xz besides (TARBALL).
        delta_bases: how many published versions a new image gets a delta from (DELTA_BASES).
    """

    job_name: str
    artifacts_dir: Path
    gfile_dir: Path
    keystore_dir: Path | None
    store: Store | None
    cache_dir: Path
    commit: str
    source_date_epoch: int
    branch: Branch
    releases: tuple[str, ...]
    arches: tuple[str, ...]
    image_types: tuple[str, ...]
    tarball: bool = False
    delta_bases: int = 2
    emulated: bool = False

    @property
    def source(self) -> Path:
        """The checkout, under the artifacts directory as Kokoro lays it."""
        return self.artifacts_dir / "git" / SCM

    @property
    def for_everybody(self) -> bool:
        """Whether what is published can be read by anybody: the store is Google's, and no emulator of it."""
        return self.store is not None and self.store.root is None and not self.emulated

    @property
    def build(self) -> str:
        """The last word of the job's name: `apt_repo`, `lxd_container_amd64_bookworm`."""
        return self.job_name.rsplit("/", 1)[-1]

    @property
    def milestone(self) -> int:
        """The milestone, the sub-directory of every bucket."""
        return self.branch.milestone

    @staticmethod
    def source_of(environ: Mapping[str, str]) -> Path:
        """The checkout of a Kokoro build. ConfigError: KOKORO_ARTIFACTS_DIR is not set."""
        return Path(_wanted(environ, "KOKORO_ARTIFACTS_DIR")) / "git" / SCM

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "KokoroEnv":
        """Read the environment.

        Raises:
            ConfigError: a variable is missing or makes no sense.
            UsageError: a release, architecture or image type the branch does not have.
        """
        job_name = _wanted(environ, "KOKORO_JOB_NAME")
        branch = _branch(environ, job_name)
        words = job_name.rsplit("/", 1)[-1].split("_")
        artifacts = Path(_wanted(environ, "KOKORO_ARTIFACTS_DIR"))
        keystore, store = environ.get("KOKORO_KEYSTORE_DIR"), environ.get(STORE_VARIABLE)
        epoch = _wanted(environ, "SOURCE_DATE_EPOCH")
        if not epoch.isdecimal():
            raise ConfigError(
                f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds", hint="git log -1 --format=%ct"
            )
        return cls(
            job_name=job_name,
            artifacts_dir=artifacts,
            gfile_dir=Path(_wanted(environ, "KOKORO_GFILE_DIR")),
            keystore_dir=Path(keystore) if keystore else None,
            store=Store.parse(store) if store else None,
            emulated=bool(environ.get("STORAGE_EMULATOR_HOST")),
            cache_dir=Path(environ.get("CROS_CACHE_DIR") or artifacts / ".cache"),
            commit=environ.get("KOKORO_GIT_COMMIT", ""),
            source_date_epoch=int(epoch),
            branch=branch,
            releases=branch.narrowed("release", _words(environ, "RELEASES", words, branch.releases)),
            arches=branch.narrowed("arch", _words(environ, "ARCHES", words, branch.arches)),
            image_types=branch.narrowed("image type", environ.get("IMAGE_TYPES", "").split()),
            tarball=_number(environ, "TARBALL", 0) > 0,
            delta_bases=_number(environ, "DELTA_BASES", 2),
        )


def environment() -> Mapping[str, str]:
    """The variables of this process."""
    return os.environ


def is_kokoro(environ: Mapping[str, str]) -> bool:
    """Whether we run inside a Kokoro build (or the local runner's), and not at a desk."""
    return bool(environ.get("KOKORO_ARTIFACTS_DIR"))


def _words(environ: Mapping[str, str], name: str, of_job: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """What a variable narrows an axis to; else what the job's name says: `lxd_container_amd64_bookworm`."""
    return environ.get(name, "").split() or [word for word in of_job if word in known]


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name) or str(default)
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}, not a number", hint=f"leave it out for {default}")
    return int(value)


def _wanted(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise ConfigError(f"{name} is not set", hint="Kokoro and the local runner set it")
    return value


def _branch(environ: Mapping[str, str], job_name: str) -> Branch:
    """The branch of a job: field 3 of its name is the milestone; BRANCH, where given, has to agree."""
    fields = job_name.split("/")
    if len(fields) != 4 or not fields[2].isdecimal():
        raise ConfigError(
            f"KOKORO_JOB_NAME {job_name!r} has no milestone as its third field",
            hint="it looks like cros-containers/crostini-guest/72/apt_repo",
        )
    milestone = int(fields[2])
    if not environ.get("BRANCH"):
        return branch_of_milestone(milestone)
    branch = find_branch(environ["BRANCH"])
    if branch.milestone != milestone:
        raise UsageError(
            f"branch {branch.name!r} is milestone {branch.milestone}, but the job is {job_name!r}",
            hint="leave one of the two out",
        )
    return branch
