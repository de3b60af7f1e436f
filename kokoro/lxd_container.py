"""LXD images: each built from the signed repository, booted in a real LXD and checked before it is handed on."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.aptrepo import check_exact
from common.errors import CheckFailedError, ImageError, UsageError
from common.files import workspace
from common.mirror import Mirror, native_arch
from common.progress import step
from kokoro.env import KokoroEnv
from lxd import guest
from lxd.image import SQUASHFS, Inputs, build_image, repository_packages
from lxd.metadata import ImageName
from lxd.report import FILE as REPORT
from lxd.test import check_image

log = logging.getLogger(__name__)

INPUT = "apt_signed"
OUTPUT = "lxd"
BUILT_TYPES = ("default",)


def build(env: KokoroEnv) -> None:
    """Leave lxd/<release>/<arch>/<type>/ with the image's files and the sponge_log.xml of its boot checks.

    Raises:
        ArtifactError: apt_signed is not what its manifest says, or lacks what the image needs.
        UsageError: an image type that cannot be built, or no architecture that the branch has images of.
        CheckFailedError, ImageError: the image does not boot as it should; it is not handed on.
    """
    names = list(wanted(env))
    repository = env.gfile_dir / INPUT
    with step(f"Check {INPUT}"):
        check_exact(repository, env.gfile_dir / f"{INPUT}.manifest.json")
        for name in names:
            repository_packages(repository, name)
    mirror = Mirror.of_this_machine()
    for name in names:
        inputs = Inputs(
            name=name,
            milestone=env.milestone,
            epoch=env.source_date_epoch,
            repository=repository,
            mirror=mirror,
            packages=guest.packages(name.release),
        )
        with workspace(".lxd_container", parent=env.artifacts_dir) as place:
            build_image(inputs, place)
            try:
                check(name, place, repository)
            except (CheckFailedError, ImageError):
                _keep_report(place, env.artifacts_dir / OUTPUT / name.folder)
                raise
            _hand_on(place, env.artifacts_dir / OUTPUT / name.folder)


def wanted(env: KokoroEnv) -> Iterator[ImageName]:
    """The images to build: the part of the matrix that has images (the apt repository has more architectures).

    Raises:
        UsageError: there is none, or one is of a type that cannot be built.
    """
    for kind in env.image_types:
        if kind not in BUILT_TYPES:
            raise UsageError(
                f"images of the type {kind!r} are not built yet", hint=f"--image-type {' or '.join(BUILT_TYPES)}"
            )
    arches = [arch for arch in env.arches if arch in env.branch.image_arches]
    if not arches:
        raise UsageError(
            f"branch {env.branch.name!r} has no images for {' '.join(env.arches)}",
            hint=f"known: {', '.join(env.branch.image_arches)}",
        )
    for release in env.releases:
        for arch in arches:
            for kind in env.image_types:
                yield ImageName(release=release, arch=arch, type=kind)


def check(name: ImageName, folder: Path, repository: Path) -> None:
    """Boot an image and check it, where this machine can; sponge_log.xml goes beside it.

    Args:
        repository: what it was built from, and has to install from.
    """
    native = native_arch()
    if name.arch != native:
        log.info("%s is built but not booted: this machine's LXD runs containers of %s only", name, native)
        return
    with step(f"Boot {name} and check it"):
        check_image(folder / "lxd.tar.xz", folder / SQUASHFS, folder, repository=repository)


def _keep_report(place: Path, target: Path) -> None:
    """What failed is for people to read; the image itself is not handed on."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if (place / REPORT).exists():
        shutil.copyfile(place / REPORT, target / REPORT)


def _hand_on(place: Path, target: Path) -> None:
    """Put a finished image in its place; the workspace's private mode does not go with it."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir()
    for file in sorted(place.iterdir()):
        file.rename(target / file.name)
