"""The build that publishes images: what it refuses, and what it leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common import tools
from common.errors import ArtifactError, ConfigError, SigningError
from common.files import ROOT
from common.keyring import refuse_throwaway, throwaway_key
from common.store import Store
from kokoro import publish_lxd_staging
from kokoro.env import KokoroEnv
from lxd.built import find_images
from lxd.contents import Package, write_table
from lxd.simplestreams import IMAGES, Images
from tests.common.aptparts import desk_keys, environment


@pytest.fixture
def env(tmp_path: Path) -> KokoroEnv:
    env = environment(tmp_path)
    desk_keys(env)
    add_image(env, "bookworm/amd64/default")
    return env


def add_image(env: KokoroEnv, folder: str, content: str = "x") -> None:
    place = env.gfile_dir / "lxd" / folder
    place.mkdir(parents=True, exist_ok=True)
    for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
        (place / file).write_text(f"{file} {content}")


def bucket(env: KokoroEnv) -> Path:
    assert env.store is not None
    assert env.store.root is not None
    return env.store.root / "cros-containers-staging"


def index(env: KokoroEnv) -> Images:
    return Images.read((bucket(env) / "72" / IMAGES).read_bytes(), "images.json")


def test_images_are_published_below_the_milestone(env: KokoroEnv) -> None:
    publish_lxd_staging.build(env)
    [(serial, items)] = index(env).products["debian:bookworm:amd64:default"].versions.items()
    assert (bucket(env) / "72" / items["rootfs.squashfs"].path).read_text() == "rootfs.squashfs x"
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert report == {"added": {"debian:bookworm:amd64:default": serial}, "kept": []}


def packages(env: KokoroEnv, *versions: str) -> None:
    listed = (
        Package(
            name=f"p{number}", version=version, arch="all", origin="Debian", source="s", source_version="1", size=10
        )
        for number, version in enumerate(versions)
    )
    (env.gfile_dir / "lxd/bookworm/amd64/default/packages.tsv").write_text(write_table(listed))


def test_what_is_new_is_said_against_the_version_before(env: KokoroEnv) -> None:
    packages(env, "1", "1")
    publish_lxd_staging.build(env)
    assert "the first version" in (env.artifacts_dir / "changes.txt").read_text()
    add_image(env, "bookworm/amd64/default", "y")
    packages(env, "2", "1", "1")
    publish_lxd_staging.build(env)
    text = (env.artifacts_dir / "changes.txt").read_text()
    assert "  added (1):\n    p2 1\n  upgraded (1):\n    p0 1 -> 2\n" in text
    [changes] = json.loads((env.artifacts_dir / "changes.json").read_text())
    assert [change["package"] for change in changes["packages"]] == ["p2", "p0"]
    assert (changes["before"]["installed"], changes["after"]["installed"]) == (20, 30)
    publish_lxd_staging.build(env)
    assert (env.artifacts_dir / "changes.txt").read_text() == "no image has changed\n"


def test_the_lists_are_published_beside_the_image(env: KokoroEnv) -> None:
    packages(env, "1")
    (env.gfile_dir / "lxd/bookworm/amd64/default/packages.cdx.json").write_text("{}")
    publish_lxd_staging.build(env)
    [items] = index(env).products["debian:bookworm:amd64:default"].versions.values()
    assert {items["packages.tsv"].ftype, items["packages.cdx.json"].ftype} == {"manifest", "cyclonedx"}
    assert (bucket(env) / "72" / items["packages.cdx.json"].path).read_text() == "{}"


def test_another_list_of_the_same_image_is_no_new_version(env: KokoroEnv) -> None:
    packages(env, "1")
    publish_lxd_staging.build(env)
    packages(env, "1", "2")
    publish_lxd_staging.build(env)
    assert len(index(env).products["debian:bookworm:amd64:default"].versions) == 1


def test_again_changes_nothing(env: KokoroEnv) -> None:
    publish_lxd_staging.build(env)
    before = {path: path.stat() for path in bucket(env).rglob("*") if path.is_file()}
    publish_lxd_staging.build(env)
    assert {path: path.stat().st_mtime_ns for path in bucket(env).rglob("*") if path.is_file()} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert report == {"added": {}, "kept": ["debian:bookworm:amd64:default"]}


def test_an_object_that_was_lost_comes_back(env: KokoroEnv) -> None:
    publish_lxd_staging.build(env)
    said = json.loads((env.artifacts_dir / "published.json").read_text())
    [name] = [name for name in said["objects"] if name.endswith("rootfs.squashfs")]
    assert env.store is not None
    assert env.store.root is not None
    lost = env.store.root / name
    assert lost.stat().st_size == said["objects"][name]
    before = lost.read_bytes()
    lost.unlink()
    publish_lxd_staging.build(env)
    assert lost.read_bytes() == before


def test_another_milestone_has_an_index_of_its_own(env: KokoroEnv) -> None:
    publish_lxd_staging.build(env)
    before = (bucket(env) / "72" / IMAGES).read_bytes()
    publish_lxd_staging.build(replace(env, branch=replace(env.branch, milestone=73)))
    assert (bucket(env) / "72" / IMAGES).read_bytes() == before
    assert (bucket(env) / "73" / IMAGES).exists()


def test_without_a_bucket_nothing_is_read(env: KokoroEnv) -> None:
    with pytest.raises(ConfigError, match="may touch no bucket"):
        publish_lxd_staging.build(replace(env, store=None, gfile_dir=Path("/nowhere")))


@pytest.mark.parametrize("folder", ["sid/amd64/default", "bookworm/arm64/default", "bookworm/amd64/game"])
def test_an_image_the_branch_does_not_have_is_refused(env: KokoroEnv, folder: str) -> None:
    add_image(env, folder)
    with pytest.raises(ArtifactError, match=f"artifact '{folder}' is an image that branch"):
        publish_lxd_staging.build(env)
    assert not bucket(env).exists()


def test_an_incomplete_image_stops_all(env: KokoroEnv) -> None:
    add_image(env, "trixie/amd64/default")
    (env.gfile_dir / "lxd/trixie/amd64/default/incus.tar.xz").unlink()
    with pytest.raises(ArtifactError, match=r"'incus\.tar\.xz' of the image 'trixie amd64 default' is missing"):
        publish_lxd_staging.build(env)
    assert not bucket(env).exists()


def test_no_images_at_all_is_an_error(env: KokoroEnv, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="artifact 'lxd' has no image"):
        publish_lxd_staging.build(replace(env, gfile_dir=tmp_path))


def trusting(env: KokoroEnv, keyring: Path | None) -> None:
    """Make the image's root file system a real one, with this keyring in it."""
    place = env.gfile_dir / "lxd/bookworm/amd64/default"
    root = env.cache_dir / "root/usr/share/keyrings"
    root.mkdir(parents=True)
    if keyring:
        (root / "cros-archive-keyring.gpg").write_bytes(keyring.read_bytes())
    (place / "rootfs.squashfs").unlink()
    argv: list[tools.Arg] = ["mksquashfs", env.cache_dir / "root", place / "rootfs.squashfs", "-quiet", "-no-progress"]
    tools.run(argv, quiet=True)


def test_an_image_that_trusts_a_throwaway_key_stays_off_google(env: KokoroEnv, tmp_path: Path) -> None:
    trusting(env, throwaway_key(tmp_path / "keys").public)
    with pytest.raises(SigningError, match="'bookworm amd64 default' trusts the throwaway key of a desk run"):
        publish_lxd_staging.build(replace(env, store=Store()))
    publish_lxd_staging.build(env)
    assert bucket(env).exists()


def test_whom_an_image_trusts(env: KokoroEnv) -> None:
    keyring = ROOT / "tests/debs/keyring.asc"
    trusting(env, keyring)
    [image] = find_images(env.gfile_dir / "lxd")
    with image.keyring() as found:
        assert found.read_bytes() == keyring.read_bytes()
        refuse_throwaway(found, "it trusts")
    assert not found.exists()


def test_an_image_without_a_keyring_stays_off_google(env: KokoroEnv) -> None:
    trusting(env, None)
    with pytest.raises(ArtifactError, match="has no '/usr/share/keyrings/cros-archive-keyring.gpg'"):
        publish_lxd_staging.build(replace(env, store=Store()))
