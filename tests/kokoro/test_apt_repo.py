"""The unsigned repository: what is in it, that it is the same twice, and every bad package's sentence."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from debian.deb822 import Packages, Release

from common.errors import ArtifactError, ConflictError, PackageError
from common.manifest import Manifest
from kokoro import apt_repo
from kokoro.env import KokoroEnv
from scripts.bench_apt_repo import make_deb
from tests.common.aptparts import ARCHES, EPOCH, add_packages, environment


@pytest.fixture
def env(tmp_path: Path) -> KokoroEnv:
    env = environment(tmp_path / "a")
    add_packages(env)
    return env


def packages(env: KokoroEnv, release: str, arch: str) -> dict[str, str]:
    path = env.artifacts_dir / f"apt_unsigned/dists/{release}/main/binary-{arch}/Packages"
    with path.open("rb") as file:
        return {each["Package"]: each["Version"] for each in Packages.iter_paragraphs(file, use_apt_pkg=False)}


def test_contents(env: KokoroEnv) -> None:
    apt_repo.build(env)
    assert packages(env, "bookworm", "arm64") == dict.fromkeys(("cros-garcon", "cros-guest-tools"), "72.11316+deb12")
    assert packages(env, "trixie", "amd64") == {
        "cros-garcon": "72.11316+deb13", "cros-guest-tools": "72.11316+deb13", "libdrm2": "2:2.4.13",
    }  # fmt: skip
    release = Release((env.artifacts_dir / "apt_unsigned/dists/bookworm/Release").read_text())
    date = dt.datetime.fromtimestamp(EPOCH, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
    expected = {
        "Origin": "Google", "Label": "cros-containers", "Suite": "stable", "Codename": "bookworm",
        "Components": "main", "Architectures": " ".join(ARCHES), "Date": date,
    }  # fmt: skip
    assert {field: release[field] for field in expected} == expected
    assert sorted(path.name for path in (env.artifacts_dir / "apt_unsigned").iterdir()) == ["dists", "pool"]


def test_the_manifest_says_what_is_there(env: KokoroEnv) -> None:
    apt_repo.build(env)
    manifest = Manifest.read(env.artifacts_dir / "apt_unsigned.manifest.json")
    assert manifest == Manifest.of(env.artifacts_dir / "apt_unsigned")


def test_nothing_else_is_left(env: KokoroEnv) -> None:
    apt_repo.build(env)
    left = sorted(path.name for path in env.artifacts_dir.iterdir())
    assert left == ["apt_unsigned", "apt_unsigned.manifest.json"]


def test_same_packages_same_bytes(env: KokoroEnv, tmp_path: Path) -> None:
    apt_repo.build(env)
    again = environment(tmp_path / "a place with spaces")
    add_packages(again)
    apt_repo.build(again)
    names = [env.artifacts_dir / "apt_unsigned.manifest.json", again.artifacts_dir / "apt_unsigned.manifest.json"]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_a_second_run_replaces_the_first(env: KokoroEnv) -> None:
    apt_repo.build(env)
    first = (env.artifacts_dir / "apt_unsigned.manifest.json").read_bytes()
    (env.artifacts_dir / "apt_unsigned" / "stray").touch()
    apt_repo.build(env)
    assert (env.artifacts_dir / "apt_unsigned.manifest.json").read_bytes() == first
    assert not (env.artifacts_dir / "apt_unsigned" / "stray").exists()


def test_one_release_has_all_architectures(env: KokoroEnv) -> None:
    apt_repo.build(replace(env, releases=("trixie",)))
    assert [path.name for path in (env.artifacts_dir / "apt_unsigned/dists").iterdir()] == ["trixie"]
    assert packages(env, "trixie", "i386")


@pytest.mark.parametrize("empty", [True, False])
def test_missing_packages(env: KokoroEnv, empty: bool) -> None:
    folder = env.gfile_dir / "trixie-debs"
    for path in folder.iterdir():
        path.unlink()
    if not empty:
        folder.rmdir()
    with pytest.raises(ArtifactError, match="artifact 'trixie-debs' (has no|is missing)") as caught:
        apt_repo.build(env)
    assert "guest-tools" in caught.value.hint
    assert not list(env.artifacts_dir.iterdir())


def test_a_truncated_package_changes_nothing(env: KokoroEnv) -> None:
    bad = make_deb(env.gfile_dir / "trixie-debs", "cut")
    bad.write_bytes(bad.read_bytes()[:-7])
    with pytest.raises(PackageError, match="'trixie-debs/cut_1.0_all.deb' is truncated: 5.. bytes instead of"):
        apt_repo.build(env)
    assert not list(env.artifacts_dir.iterdir())


def test_a_misnamed_package_changes_nothing(env: KokoroEnv) -> None:
    path = make_deb(env.gfile_dir / "trixie-debs", "honest")
    path.rename(path.with_name("liar_1.0_all.deb"))
    with pytest.raises(PackageError, match="'liar_1.0_all.deb'") as caught:
        apt_repo.build(env)
    assert "honest_1.0_all.deb" in str(caught.value)
    assert not list(env.artifacts_dir.iterdir())


def test_other_content_under_one_name(env: KokoroEnv) -> None:
    make_deb(env.gfile_dir / "trixie-debs", "same")
    make_deb(env.gfile_dir / "bookworm-debs", "same", Description="other")
    with pytest.raises(ConflictError, match="'same_1.0_all.deb' comes 2 times") as caught:
        apt_repo.build(env)
    assert "trixie-debs/same_1.0_all.deb" in caught.value.details
    assert "bookworm-debs/same_1.0_all.deb" in caught.value.details


def test_the_same_package_in_both_releases(env: KokoroEnv) -> None:
    for release in env.releases:
        make_deb(env.gfile_dir / f"{release}-debs", "same")
    apt_repo.build(env)
    assert packages(env, "trixie", "arm64")["same"] == packages(env, "bookworm", "amd64")["same"] == "1.0"
