"""Runs one job as Kokoro would: its directories, its inputs, its shell step, its artifacts; or finds it unchanged."""

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common import progress, tools
from common.errors import ArtifactError, ConfigError, DeadlineError, ReleaseError, from_os_error
from common.files import ROOT, remove_stale, sha256_of
from common.keyring import ARCHIVE, ATTESTATION, ThrowawayKey, throwaway_key
from common.manifest import Manifest
from kokoro import ant, sandbox
from kokoro.attest import KEY as ATTESTATION_KEY
from kokoro.buckets import Access, still_published
from kokoro.config import BuildConfig
from kokoro.env import SCM, STORE_VARIABLE
from kokoro.flows import Axis, Job, Need
from kokoro.results import Out, Place, Result, State
from kokoro.sources import Tree

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds a job has to clean up after SIGTERM
LAST_LINES = 12
BIGSTORE = "/bigstore/"
ARCHIVE_KEYRING = f"{BIGSTORE}cros-archive-keys/cros-archive-keyring.asc"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What all jobs of one run share.

    Attributes:
        tree: the checkout they are built from.
        out: where everything goes.
        access: the store of buckets.
        root: whether we are root.
        force: run even what has not changed.
        stopping: set when the run was interrupted; every job ends itself then.
    """

    tree: Tree
    out: Out
    access: Access
    root: bool
    force: bool
    stopping: threading.Event

    def run(self, job: Job, config: BuildConfig) -> Result:
        """Bring one job up to date; never raises for what a job can do wrong."""
        try:
            return _JobRun(self, job, config).run()
        except ReleaseError as err:
            return self.failed(job, err)
        except OSError as err:
            return self.failed(job, from_os_error(err))
        except Exception as err:  # a defect of ours must not take the other jobs' results along
            log.exception("%s", job.short_name)
            return self.failed(job, ReleaseError(f"{job.short_name}: {type(err).__name__}: {err}"))

    def failed(self, job: Job, err: ReleaseError) -> Result:
        """The result of a job that could not even start, or whose artifacts could not be taken."""
        result = Result(
            job=job.name, state=State.FAILED, exit_code=err.exit_code, message=str(err), command=self.command(job)
        )
        place = self.out.place(job.name)
        place.path.mkdir(parents=True, exist_ok=True)
        for old in (place.log, place.tests):
            old.unlink(missing_ok=True)
        place.write_result(result)
        return result

    def command(self, job: Job) -> str:
        """What to type at a desk to run a job again."""
        return job.command(out=self.out.named) + self.access.words


class _JobRun:
    """One job in one run."""

    def __init__(self, runner: Runner, job: Job, config: BuildConfig) -> None:
        self.runner, self.job, self.config = runner, job, config
        self.sources = runner.tree.select(job.build.sources)
        self.epoch = runner.tree.epoch(self.sources)
        self.place = runner.out.place(job.name)
        self.work = runner.out.work(job)
        self.parents = [runner.out.place(parent) for parent in job.parents]

    def run(self) -> Result:
        resources = self._gfile_resources()
        key = self._digest(resources)
        before = self.place.read_result()
        if before and not self.runner.force and before.key == key and self._still_good(before):
            return before.unchanged()
        _remove(self.work)
        self.work.mkdir(parents=True)
        try:
            started, clock = datetime.now(UTC), time.monotonic()
            self._lay_out(resources)
            state, exit_code, message = self._run_shell_step()
            collected = Place(self.work / "result")
            collected.path.mkdir()
            if state is State.PASSED:
                try:
                    self._collect(collected)
                except ReleaseError as err:
                    state, exit_code, message = State.FAILED, err.exit_code, str(err)
            self._keep_log(collected)
            manifest = collected.manifest() if state is State.PASSED else Manifest(())
            result = Result(
                job=self.job.name, state=state, key=key, started=started.isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - clock, 2), exit_code=exit_code, message=message,
                command=self.runner.command(self.job), artifacts=len(manifest.entries), size=manifest.size,
            )  # fmt: skip
            collected.write_result(result)
            if state is not State.INTERRUPTED:  # what there was before stays good
                _swap(collected.path, self.place.path, self.work / "old")
            return result
        finally:
            _remove(self.work)

    def _still_good(self, before: Result) -> bool:
        return before.state.good and self.place.complete() and still_published(self.place, self.runner.access.store)

    def _digest(self, resources: Mapping[str, Path]) -> str:
        """The digest of everything that could change what the job makes."""
        inputs = {
            "job": self.job.name,
            "branch": [self.job.branch.name, self.job.branch.milestone],
            "sources": self.runner.tree.digest(self.sources),
            "epoch": self.epoch,
            "parents": [place.manifest().digest() for place in self.parents],
            "resources": {name: sha256_of(path) for name, path in sorted(resources.items())},
            "keys": [self._key(wanted.keyname).public.read_text() for wanted in self.config.keystore],
            "settings": [self.job.releases, self.job.arches, self.job.image_types, self.job.tarball],
            "config": repr(self.config),
            "storage": self.runner.access.words if Need.BUCKET in self.job.build.needs else "",
            "mirror": _apt_sources() if Need.NETWORK in self.job.build.needs else "",
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def _key(self, keyname: str) -> ThrowawayKey:
        """What stands here for a key of the keystore."""
        return throwaway_key(self.runner.out.keys, ATTESTATION if keyname == ATTESTATION_KEY else ARCHIVE)

    def _gfile_resources(self) -> dict[str, Path]:
        """The .cfg's gfile_resources by the name they have in KOKORO_GFILE_DIR: /bigstore/ is out/gs here."""
        found = {}
        for resource in self.config.gfile_resources:
            if not resource.startswith(BIGSTORE):
                raise ConfigError(
                    f"{self.config.name}.cfg: gfile_resources {resource!r} cannot be had here",
                    hint=f"the local runner knows {BIGSTORE}<bucket>/<path>, which is a file under out/gs",
                )
            path = self.runner.out.store / resource.removeprefix(BIGSTORE)
            if resource == ARCHIVE_KEYRING:
                _publish_keyring(self._key(ARCHIVE).public, path)
            if not path.exists():
                raise ArtifactError(f"{resource!r} is missing: there is no {str(path)!r}", hint="put it there")
            found[path.name] = path
        return found

    def _lay_out(self, resources: Mapping[str, Path]) -> None:
        """Make the directories Kokoro would, with the sources and the inputs in them."""
        for name in ("root", "gfile", "keystore", "tmp", "home"):
            (self.work / name).mkdir()
        self.runner.tree.copy(self.sources, self.work / "root" / "git" / SCM)
        gfile = self.work / "gfile"
        for name, resource in resources.items():
            shutil.copy2(resource, gfile / name)
        for parent in self.parents:
            parent.manifest().check(parent.artifacts)
            _hand_on(parent, gfile)
        for wanted in self.config.keystore:
            if self._may_see(wanted.keyname):
                shutil.copy2(self._key(wanted.keyname).secret, self.work / "keystore" / wanted.filename)

    def _may_see(self, keyname: str) -> bool:
        need = Need.ATTESTATION_KEY if keyname == ATTESTATION_KEY else Need.SIGNING_KEY
        return need in self.job.build.needs

    def _environment(self) -> dict[str, str]:
        """The whole environment of the shell step."""
        job, out = self.job, self.runner.out
        kept = {name: value for name, value in tools.environment().items() if name != "SOURCE_DATE_EPOCH"}
        fixed = {
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "KOKORO_ARTIFACTS_DIR": str(self.work / "root"),
            "KOKORO_GFILE_DIR": str(self.work / "gfile"),
            "KOKORO_JOB_NAME": job.name,
            "KOKORO_JOB_TYPE": "CONTINUOUS_INTEGRATION",
            "KOKORO_GIT_COMMIT": self.runner.tree.commit(),
            "BRANCH": job.branch.name,
            "RELEASES": " ".join(job.releases),
            "ARCHES": " ".join(job.arches) if Axis.ARCH in job.build.matrix else "",
            "IMAGE_TYPES": " ".join(job.image_types),
            "TARBALL": "1" if job.tarball else "",
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "CROS_CACHE_DIR": str(out.cache),
            "PYTHONPYCACHEPREFIX": str(out.cache / "pyc"),
            progress.FILE_VARIABLE: str(self.work / "progress.json"),
        }
        if any(self._may_see(wanted.keyname) for wanted in self.config.keystore):
            fixed["KOKORO_KEYSTORE_DIR"] = str(self.work / "keystore")
        if Need.BUCKET in job.build.needs:
            fixed |= self.runner.access.environment()
        # Without it ./run would make an environment of its own inside the workspace.
        kept.setdefault("CROS_VENV", str(ROOT / ".venv"))
        # A .cfg names Kokoro's store; here it is ours.
        of_cfg = {name: value for name, value in self.config.env_vars if name != STORE_VARIABLE}
        return {**kept, **fixed, **of_cfg}

    def _run_shell_step(self) -> tuple[State, int, str]:
        """Run the .sh the .cfg names, to its end or its deadline: state, exit code, message."""
        script = self.work / "root" / "git" / SCM / self.config.script
        if not os.access(script, os.X_OK):
            raise ConfigError(
                f"{self.config.name}.cfg: build_file {self.config.build_file!r} is no executable file of its sources",
                hint="name the .sh beside the .cfg, and list it in flows.toml",
            )
        deadline = time.monotonic() + self.config.timeout_mins * 60 if self.config.timeout_mins else None
        needs, out, access = self.job.build.needs, self.runner.out, self.runner.access
        # Another job may make them while this one runs: they can be hidden only where they are.
        out.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        out.store.mkdir(parents=True, exist_ok=True)
        argv = sandbox.argv(
            [str(script)],
            read_only=self.work / "gfile",
            hidden=[out.keys] if Need.BUCKET in needs else [out.keys, *access.secrets],
            network=Need.NETWORK in needs or (Need.BUCKET in needs and access.remote),
            root=self.runner.root,
        )
        log_file = self.work / "log.txt"
        with tools.started(
            argv, cwd=self.work / "root", only_env=self._environment(), log_file=log_file, grace=GRACE
        ) as process:
            while process.alive():
                if self.runner.stopping.wait(0.1):
                    return State.INTERRUPTED, 130, "interrupted"
                if deadline is not None and time.monotonic() > deadline:
                    err = DeadlineError(f"{self.job.short_name} did not finish in {self.config.timeout_mins} minutes")
                    return State.TIMED_OUT, err.exit_code, f"{err}\n{last_lines(log_file)}"
            code = process.exit_code
        if code:
            return State.FAILED, code, last_lines(log_file)
        return State.PASSED, 0, ""

    def _collect(self, place: Place) -> None:
        """Take what the .cfg's globs match, under their names without the prefix, and write the manifest."""
        place.artifacts.mkdir()
        for spec in self.config.artifacts:
            found = ant.select(self.work / "root", spec.regexes, spec.strip_prefix)
            if spec.fail_if_no_artifacts and not found:
                raise ArtifactError(
                    f"{self.job.short_name} left no artifact that matches {', '.join(map(repr, spec.regexes))}",
                    hint="the build did not write it, or the pattern (an Ant glob below KOKORO_ARTIFACTS_DIR) is wrong",
                )
            for name, path in found.items():
                target = place.artifacts / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # Linked, not moved: two patterns, or a symlink, may name the same file.
                if not target.exists():
                    os.link(path.resolve(), target)
                elif not target.samefile(path):
                    raise ArtifactError(f"{self.job.short_name} left two artifacts {name!r}", hint="strip_prefix less")
                target.chmod(0o444)
        Manifest.of(place.artifacts).write(place.manifest_file)
        reports = sorted(place.artifacts.rglob("*sponge_log.xml"))
        if reports:
            shutil.copy2(reports[0], place.tests)

    def _keep_log(self, place: Place) -> None:
        """The log, and the test results of a job that failed because of them."""
        log_file = self.work / "log.txt"
        if log_file.exists():
            log_file.rename(place.log)
        if not place.tests.exists():
            for report in sorted((self.work / "root").rglob("*sponge_log.xml")):
                shutil.copy2(report, place.tests)


def _apt_sources() -> str:
    """The digest of this machine's apt sources: what is built from the mirror says where from."""
    digest = hashlib.sha256()
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def last_lines(log_file: Path) -> str:
    """The end of a log, from its last `error:` line on where there is one."""
    lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :][: 3 * LAST_LINES] if errors else lines[-LAST_LINES:])


def _publish_keyring(public: Path, path: Path) -> None:
    """The desk's own public key is what its buckets are signed with."""
    if not path.exists() or path.read_bytes() != public.read_bytes():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(public, path)


def _hand_on(parent: Place, gfile: Path) -> None:
    """Link a parent's artifacts into KOKORO_GFILE_DIR. ArtifactError: two parents have the same name."""
    for entry in parent.manifest().entries:
        target = gfile / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(parent.artifacts / entry.path, target)
        except FileExistsError as err:
            raise ArtifactError(
                f"two jobs hand on {entry.path!r}", hint="strip_prefix or name one differently"
            ) from err


def _swap(new: Path, place: Path, old: Path) -> None:
    """Put a finished job's directory in the place of the one before."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(old)
    new.rename(place)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def sweep(out: Out) -> None:
    """Remove what a killed run left; nothing of it runs any more."""
    _remove(out.root / "work")
    remove_stale(out.cache, "*/.*")


def artifacts_missing(job: Job, parents: Sequence[Job], out: Out) -> ArtifactError | None:
    """Why a job cannot run on its own: the first parent whose artifacts are not there."""
    for parent in parents:
        result = out.place(parent.name).read_result()
        if result is None or not result.state.good or not out.place(parent.name).complete():
            return ArtifactError(
                f"{job.short_name} needs the artifacts of {parent.short_name}, which are missing under "
                f"{str(out.place(parent.name).path)!r}",
                hint=parent.command(out=out.named),
            )
    return None
