"""What the tests of releases share: a desk whose staging has a repository and images built from it, and green tests."""

import atexit
import datetime as dt
import functools
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from common.aptrepo import indices_of
from common.documents import sign_document
from common.errors import CheckFailedError
from common.evidence import Evidence
from common.keyring import ATTESTATION, throwaway_key
from common.signing import Signer, homedir, import_secret_keys
from common.snapshots import Part, Snapshot, Snapshots
from common.store import Store
from kokoro import apt_repo, apt_signer, publish_apt_staging, publish_lxd_staging
from kokoro.env import KokoroEnv
from lxd.contents import FILE as PACKAGES
from lxd.contents import GOOGLE, Package, write_table
from lxd.report import Outcome, Report
from scripts.releases import Half
from tests.common.aptparts import add_packages, desk_keys, environment

IMAGE = "bookworm/amd64/default"
BUILDS = {Part.APT: publish_apt_staging, Part.CONTAINER: publish_lxd_staging}


MakeFiles = Callable[[Path, str], None]


def text_files(folder: Path, version: str) -> None:
    """What stands for the files of an image where no client reads them."""
    for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
        (folder / file).write_text(f"{file} {version}")


def publish(
    place: Path, version: str = "72.11316", *, booted: bool = True, failing: bool = False, store: Store | None = None,
    milestone: int = 72, make_files: MakeFiles = text_files,
) -> KokoroEnv:  # fmt: skip
    """Publish a repository of this version to staging, and an image built from it; `place` is a desk's out/."""
    env = made(
        place, version, booted=booted, failing=failing, store=store, milestone=milestone, make_files=make_files
    )  # fmt: skip
    for part in Part:
        BUILDS[part].build(job_of(env, part))
    return env


def job_of(env: KokoroEnv, part: Part) -> KokoroEnv:
    """The environment of the job that publishes one half."""
    name = BUILDS[part].__name__.rsplit(".", 1)[-1]
    return replace(env, job_name=f"cros-containers/crostini-guest/{env.milestone}/{name}")


def made(
    place: Path, version: str, *, booted: bool = True, failing: bool = False, store: Store | None = None,
    milestone: int = 72, make_files: MakeFiles = text_files,
) -> KokoroEnv:  # fmt: skip
    """Make what `publish` publishes; the environment of a job that finds it."""
    for folder in place.glob("gfile*"):
        shutil.rmtree(folder)
    env = _signed(place, version)
    env = replace(env, store=store or env.store, emulated=store is not None)
    folder = env.gfile_dir / "lxd" / IMAGE
    folder.mkdir(parents=True)
    make_files(folder, version)
    (folder / PACKAGES).write_text(write_table(packages(version)))
    shutil.copyfile(env.gfile_dir / "apt_signed.manifest.json", folder / "apt_signed.manifest.json")
    if booted:
        failed = CheckFailedError("it is broken") if failing else None
        Report((Outcome("bare", "system-boots", 1.0, failed),), 1.0).write(folder)
    return replace(env, branch=replace(env.branch, milestone=milestone))


def packages(version: str) -> list[Package]:
    """What is in the image of a version."""
    return [
        Package(name=name, version=version, arch="all", origin=GOOGLE, source=name, source_version=version)
        for name in ("cros-garcon", f"only-in-{version}")
    ]


@functools.cache
def _unsigned(version: str) -> KokoroEnv:
    """The unsigned repository of a version, made once for all tests of a process; see `environment`."""
    place = Path(tempfile.mkdtemp(prefix="releaseparts-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    env = environment(place)
    add_packages(env, version=version)
    apt_repo.build(env)
    return env


def _signed(place: Path, version: str) -> KokoroEnv:
    """The repository of a version, signed with this desk's key: the environment of the job that finds it."""
    env = environment(place)
    desk_keys(env)
    signer = replace(env, gfile_dir=_unsigned(version).artifacts_dir, artifacts_dir=place / "gfile+")
    signer.artifacts_dir.mkdir()
    apt_signer.build(signer)
    return replace(env, gfile_dir=signer.artifacts_dir)


def half(place: Path, part: Part, storage: str = "directory", milestone: int = 72) -> Half:
    """One half of a milestone at this desk."""
    return Half.open(part, milestone, out=str(place), storage=storage)


def staged(place: Path, part: Part, storage: str = "directory", milestone: int = 72) -> Snapshot:
    """What staging shows."""
    found = half(place, part, storage, milestone).staged()
    assert found is not None
    return found


def make_green(place: Path, *, why: tuple[str, ...] = (), storage: str = "directory", milestone: int = 72) -> None:
    """Attach what a run of pfq on the staged images says: green, or why not."""
    images = half(place, Part.CONTAINER, storage, milestone).staging
    snapshot = staged(place, Part.CONTAINER, storage, milestone)
    said = Evidence(
        snapshot=snapshot.id, suite="pfq", expression="crostini.*", container="staging", vm="staging",
        recorded=dt.datetime.now(dt.UTC).replace(microsecond=0), started=None, ended=None, host="dut1", pins={},
        tests=(("crostini.Basic", "passed", ""),), why=why, files={},
    )  # fmt: skip
    attach(place, images, snapshot, said.name, said.write())


def attach(place: Path, snapshots: Snapshots, snapshot: Snapshot, name: str, content: bytes) -> None:
    """Attach a document, signed with the desk's key."""
    with homedir() as home:
        signer = Signer(home, import_secret_keys(home, [throwaway_key(place / "keys", ATTESTATION).secret]))
        snapshots.attach_evidence(snapshot.id, name, content, sign_document(content, signer))


def clients_find(objects: Mapping[str, bytes]) -> None:
    """See that a bucket has what clients of a repository ask for: indices by their hashes, and what these name."""
    for name in (name for name in objects if name.endswith("/InRelease")):
        for index in indices_of(objects[name].decode()):
            copy = objects.get(f"{name.rpartition('/')[0]}/{index.by_hash}", b"")
            assert hashlib.sha256(copy).hexdigest() == index.sha256, f"{name}: {index.path}"
            if index.path.endswith("/Packages"):
                files = re.findall(r"^Filename: (.*)$", copy.decode(), re.MULTILINE)
                assert [file for file in files if f"72/{file}" not in objects] == [], name
