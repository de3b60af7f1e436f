"""The build that publishes images: what it refuses, and what it leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ArtifactError, ConfigError
from kokoro import publish_lxd_staging
from kokoro.env import KokoroEnv
from lxd.simplestreams import IMAGES, Images
from tests.common.aptparts import environment


@pytest.fixture
def env(tmp_path: Path) -> KokoroEnv:
    env = environment(tmp_path)
    add_image(env, "bookworm/amd64/default")
    return env


def add_image(env: KokoroEnv, folder: str, content: str = "x") -> None:
    place = env.gfile_dir / "lxd" / folder
    place.mkdir(parents=True, exist_ok=True)
    for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
        (place / file).write_text(f"{file} {content}")


def bucket(env: KokoroEnv) -> Path:
    assert env.store is not None
    return env.store / "cros-containers-staging"


def test_images_are_published_below_the_milestone(env: KokoroEnv) -> None:
    publish_lxd_staging.build(env)
    index = Images.read((bucket(env) / "72" / IMAGES).read_bytes(), "images.json")
    [(serial, items)] = index.products["debian:bookworm:amd64:default"].versions.items()
    assert (bucket(env) / "72" / items["rootfs.squashfs"].path).read_text() == "rootfs.squashfs x"
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert report == {"added": {"debian:bookworm:amd64:default": serial}, "kept": []}


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
    lost = env.store / name
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
