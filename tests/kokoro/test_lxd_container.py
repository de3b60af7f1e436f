"""The build of an image: what it chooses from the matrix, what it checks first, and what it hands on."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.branches import active_branches
from common.errors import ArtifactError, CheckFailedError, UsageError
from common.files import ROOT, write_atomically
from common.mirror import native_arch
from kokoro import lxd_container
from kokoro.env import KokoroEnv
from lxd.metadata import ImageName
from lxd.pack import TARBALL
from lxd.roots import Inputs
from tests.common.aptparts import environment, signed

FILES = ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs", "packages.tsv", "packages.cdx.json")


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KokoroEnv:
    """A job that finds a signed repository; building and booting are for other tests."""

    def build(inputs: Inputs, types: Collection[str], out: Path, *, tarball: bool) -> Iterator[ImageName]:
        for kind in types:
            for file in (*FILES, *([TARBALL] if tarball else [])):
                write_atomically(out / kind / file, f"{kind} {inputs.milestone} {inputs.epoch}")
            yield ImageName(release=inputs.release, arch=inputs.arch, type=kind)

    def boot(metadata: Path, rootfs: Path, results: Path, *, repository: Path) -> None:
        assert (repository / "dists").exists()
        assert metadata.exists()
        assert rootfs.exists()
        write_atomically(results / "sponge_log.xml", "<testsuites/>")

    monkeypatch.setattr(lxd_container, "build_images", build)
    monkeypatch.setattr(lxd_container, "check_image", boot)
    env = signed(tmp_path, releases=["bookworm"])
    return replace(env, arches=(native_arch(), "riscv64"), branch=replace(env.branch, image_arches=(native_arch(),)))


def handed_on(env: KokoroEnv) -> set[str]:
    return {path.relative_to(env.artifacts_dir).as_posix() for path in env.artifacts_dir.rglob("*") if path.is_file()}


def test_an_image_and_its_log_are_handed_on(env: KokoroEnv) -> None:
    lxd_container.build(env)
    folder = f"lxd/bookworm/{native_arch()}/default"
    assert handed_on(env) == {f"{folder}/{file}" for file in (*FILES, "sponge_log.xml", lxd_container.MANIFEST)}
    assert (env.artifacts_dir / folder).stat().st_mode & 0o777 == 0o755


def test_every_type_that_is_asked_for_is_checked_and_handed_on(env: KokoroEnv) -> None:
    lxd_container.build(replace(env, image_types=("default", "test"), tarball=True))
    folders = [f"lxd/bookworm/{native_arch()}/{kind}" for kind in ("default", "test")]
    files = (*FILES, "sponge_log.xml", TARBALL, lxd_container.MANIFEST)
    assert handed_on(env) == {f"{folder}/{file}" for folder in folders for file in files}


def test_the_types_that_pass_are_handed_on_without_those_that_fail(
    env: KokoroEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boot(metadata: Path, rootfs: Path, results: Path, *, repository: Path) -> None:
        (results / "sponge_log.xml").write_text("<testsuites/>")
        if results.name == "test":
            raise CheckFailedError("1 of 9 boot checks failed")

    monkeypatch.setattr(lxd_container, "check_image", boot)
    with pytest.raises(CheckFailedError):
        lxd_container.build(replace(env, image_types=("default", "test")))
    of_test = {name for name in handed_on(env) if "/test/" in name}
    assert {Path(name).name for name in of_test} == {"sponge_log.xml"}
    assert {Path(name).name for name in handed_on(env) - of_test} == {
        *FILES, "sponge_log.xml", lxd_container.MANIFEST,
    }  # fmt: skip


def test_an_image_of_another_architecture_is_not_booted(
    env: KokoroEnv, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lxd_container, "native_arch", lambda: "s390x")
    caplog.set_level("INFO")
    lxd_container.build(env)
    assert f"bookworm {native_arch()} default is built but not booted" in caplog.text
    assert not any(name.endswith("sponge_log.xml") for name in handed_on(env))


def test_an_image_that_fails_its_checks_is_not_handed_on(env: KokoroEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(metadata: Path, rootfs: Path, results: Path, *, repository: Path) -> None:
        (results / "sponge_log.xml").write_text("<testsuites/>")
        raise CheckFailedError("1 of 9 boot checks failed")

    monkeypatch.setattr(lxd_container, "check_image", fail)
    with pytest.raises(CheckFailedError):
        lxd_container.build(env)
    assert {Path(name).name for name in handed_on(env)} == {"sponge_log.xml"}, "the report is for people to read"


def test_a_repository_that_is_not_its_manifests_is_refused(env: KokoroEnv) -> None:
    (env.gfile_dir / "apt_signed/dists/bookworm/InRelease").write_text("other")
    with pytest.raises(ArtifactError, match="is not what"):
        lxd_container.build(env)
    assert handed_on(env) == set()


def test_a_missing_repository_is_named(env: KokoroEnv, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="artifact 'apt_signed' is missing"):
        lxd_container.build(replace(env, gfile_dir=tmp_path))


def test_the_matrix_without_architectures_that_have_no_images(tmp_path: Path) -> None:
    env = environment(tmp_path)
    env = replace(env, arches=env.branch.arches, branch=replace(env.branch, image_arches=("amd64", "arm64")))
    assert list(lxd_container.wanted(env)) == [
        (release, arch) for release in ("bookworm", "trixie") for arch in ("amd64", "arm64")
    ]


def test_an_architecture_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no images for armhf"):
        list(lxd_container.wanted(replace(environment(tmp_path), arches=("armhf",))))


def test_every_image_of_an_active_branch_has_its_cfg() -> None:
    wanted = {
        f"lxd_container_{arch}_{release}.cfg"
        for branch in active_branches()
        for arch in branch.image_arches
        for release in branch.releases
    }
    links = {path.name for path in (ROOT / "kokoro").glob("lxd_container_*.cfg")}
    assert links == wanted
    assert {(ROOT / "kokoro" / link).readlink() for link in links} == {Path("lxd_container.cfg")}
