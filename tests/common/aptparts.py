"""What the tests of the apt repository share: an environment, packages, keys, and the builds run in turn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common import tools
from common.branches import Branch, Channel
from common.keyring import ARCHIVE, ATTESTATION, throwaway_key
from common.signing import homedir
from common.store import Store
from kokoro import apt_repo, apt_signer, attest
from kokoro.env import KokoroEnv
from scripts.bench_apt_repo import make_deb

EPOCH = 1700000000
RELEASES = ("bookworm", "trixie")
ARCHES = ("amd64", "arm64", "armhf", "i386")


def environment(place: Path, *, releases: Sequence[str] = RELEASES) -> KokoroEnv:
    """An environment below `place`, for a branch of two releases."""
    branch = Branch(
        name="release-R72-11316.B", channel=Channel.BETA, milestone=72, build=11316,
        releases=RELEASES, arches=ARCHES, image_arches=("amd64",), image_types=("default",),
    )  # fmt: skip
    for folder in ("artifacts", "gfile", "keystore", "gs"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    return KokoroEnv(
        job_name="cros-containers/crostini-guest/72/apt_repo",
        artifacts_dir=place / "artifacts", gfile_dir=place / "gfile", keystore_dir=place / "keystore",
        store=Store(place / "gs"), cache_dir=place / "cache", commit="", source_date_epoch=EPOCH, branch=branch,
        releases=tuple(releases), arches=("amd64",), image_types=("default",),
    )  # fmt: skip


def add_packages(env: KokoroEnv, *, version: str = "72.11316") -> None:
    """Two packages a release, and one of Mesa's, each with the release in its version."""
    for release, number in zip(RELEASES, (12, 13), strict=True):
        if release in env.releases:
            folder = env.gfile_dir / f"{release}-debs"
            make_deb(folder, "cros-guest-tools", f"{version}+deb{number}", Depends="cros-garcon")
            make_deb(folder, "cros-garcon", f"{version}+deb{number}")
            make_deb(env.gfile_dir / f"{release}_mesa_debs", "libdrm2", f"2:2.4.{number}", "amd64")


def after(env: KokoroEnv) -> KokoroEnv:
    """The environment of the job that comes next: it finds what this one left, and leaves its own elsewhere."""
    artifacts = env.artifacts_dir.with_name(f"{env.artifacts_dir.name}+")
    artifacts.mkdir(exist_ok=True)
    return replace(env, gfile_dir=env.artifacts_dir, artifacts_dir=artifacts)


def desk_keys(env: KokoroEnv) -> None:
    """Put the throwaway keys where the keystore would leave the real ones."""
    assert env.keystore_dir is not None
    for name, keyname in ((ARCHIVE, apt_signer.KEY), (ATTESTATION, attest.KEY)):
        key = throwaway_key(env.keystore_dir.parent / "keys", name)
        (env.keystore_dir / f"73103_{keyname}").write_bytes(key.secret.read_bytes())


def signed(place: Path, *, releases: Sequence[str] = RELEASES, version: str = "72.11316") -> KokoroEnv:
    """Make and sign a repository below `place`; the environment of the job that finds it."""
    env = environment(place, releases=releases)
    add_packages(env, version=version)
    desk_keys(env)
    apt_repo.build(env)
    signer = after(env)
    apt_signer.build(signer)
    return after(signer)


def make_key(folder: Path, *lines: str, name: str = "key", options: Sequence[str] = ()) -> Path:
    """Make a secret key with these lines of gpg's parameter file, and leave it armoured in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = ["%no-protection", *lines, f"Name-Real: {name}", f"Name-Email: {name}@example.org", "%commit", ""]
    out = folder / f"73103_cros-archive-signing-key-{name}"
    with homedir() as home:
        call = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--quiet", *options]
        tools.capture([*call, "--generate-key"], stdin="\n".join(parameters), timeout=60)
        tools.run([*call, "--armor", "--output", out, "--export-secret-keys"], timeout=60, quiet=True)
    return out
