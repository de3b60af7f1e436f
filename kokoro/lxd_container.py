"""LXD images: each built from the signed repository, booted in a real LXD and checked before it is handed on."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.aptrepo import check_exact
from common.errors import CheckFailedError, ImageError, UsageError
from common.files import workspace
from common.mirror import Mirror, native_arch
from common.progress import step
from kokoro.env import KokoroEnv
from lxd.image import build_images, repository_packages
from lxd.metadata import ImageName
from lxd.pack import SQUASHFS
from lxd.report import FILE as REPORT
from lxd.roots import Inputs
from lxd.test import check_image

log = logging.getLogger(__name__)

INPUT = "apt_signed"
MANIFEST = f"{INPUT}.manifest.json"
OUTPUT = "lxd"


def build(env: KokoroEnv) -> None:
    """Leave lxd/<release>/<arch>/<type>/ with the image's files and the sponge_log.xml of its boot checks.

    Raises:
        ArtifactError: apt_signed is not what its manifest says, or lacks what the image needs.
        UsageError: no architecture that the branch has images of.
        CheckFailedError, ImageError: an image does not boot as it should; it is not handed on.
    """
    chosen = list(wanted(env))
    repository = env.gfile_dir / INPUT
    with step(f"Check {INPUT}"):
        check_exact(repository, env.gfile_dir / MANIFEST)
        for release, arch in chosen:
            repository_packages(repository, release, arch)
    mirror = Mirror.of_this_machine()
    for release, arch in chosen:
        inputs = Inputs(
            release=release,
            arch=arch,
            milestone=env.milestone,
            epoch=env.source_date_epoch,
            repository=repository,
            mirror=mirror,
            cache=env.cache_dir,
        )
        with workspace(".lxd_container", parent=env.artifacts_dir) as place:
            _build_and_check(env, inputs, place)


def wanted(env: KokoroEnv) -> Iterator[tuple[str, str]]:
    """The releases and architectures to build for: the part of the matrix that has images.

    Raises:
        UsageError: there is none.
    """
    arches = [arch for arch in env.arches if arch in env.branch.image_arches]
    if not arches:
        raise UsageError(
            f"branch {env.branch.name!r} has no images for {' '.join(env.arches)}",
            hint=f"known: {', '.join(env.branch.image_arches)}",
        )
    for release in env.releases:
        for arch in arches:
            yield release, arch


def _build_and_check(env: KokoroEnv, inputs: Inputs, place: Path) -> None:
    """Build the image types and check each, while the next one is built; what passes is handed on."""
    with ThreadPoolExecutor(1) as pool:
        checks = [
            (name, pool.submit(check, name, place / name.type, inputs.repository))
            for name in build_images(inputs, env.image_types, place, tarball=env.tarball)
        ]
        failed = []
        for name, done in checks:
            folder, target = place / name.type, env.artifacts_dir / OUTPUT / name.folder
            if (err := done.exception()) is None:
                shutil.copyfile(env.gfile_dir / MANIFEST, folder / MANIFEST)  # which repository it was built from
                _hand_on(folder, target)
            elif isinstance(err, CheckFailedError | ImageError):
                _keep_report(folder, target)
                failed.append(err)
            else:
                raise err
    if failed:
        raise failed[0]


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
