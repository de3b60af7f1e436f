"""Boot checks of RESULT_DIR METADATA ROOTFS; without those, of every image at hand, or of the part that flags name.

At hand are the images in KOKORO_GFILE_DIR inside a Kokoro build, and those the local runner has built at a desk, of
every branch unless `--branch` names one. There `--arch arm64` builds what is missing, and boots it in an emulated
machine where it does not run otherwise.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.branches import find_branch
from common.errors import ArtifactError, CheckFailedError, ImageError, reported
from common.files import ROOT
from common.mirror import native_arch
from common.progress import configure_logging
from kokoro import desk, env
from kokoro.flows import read_flows
from lxd import test
from lxd.keep import check_terminal, wait_for_person
from lxd.pack import SQUASHFS

# What is built where nothing is at hand and nothing else is asked for.
BRANCH = "release-R72-11316.B"
RELEASE = "bookworm"
IMAGE_TYPE = "default"


def main(argv: Sequence[str]) -> int:
    """Check one image, or several; the exit code of a failed check when one fails."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    narrowed = [name for name in ("arch", "release", "branch", "image_type") if getattr(arguments, name)]
    if arguments.list:
        test.print_checks()
        return 0
    if arguments.results is not None:
        if narrowed:
            parser.error(f"RESULT_DIR METADATA ROOTFS is one image: --{narrowed[0].replace('_', '-')} chooses nothing")
        return test.main(argv)
    if arguments.keep_on_failure:
        check_terminal()
    configure_logging()
    images = _images(arguments)
    failed = [image for image in images if not _passes(image, arguments)]
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(images)} images failed their boot checks", hint="see above")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = test.parser("nox -s lxd_test --", __doc__)
    parser.add_argument("--arch", help="only images of this architecture (default: this machine's)")
    parser.add_argument("--release", help="only images of this Debian release")
    parser.add_argument(
        "--branch", help=f"only images of this Chrome OS branch; what is missing is built from it (default: {BRANCH})"
    )
    parser.add_argument("--image-type", help="only images of this type")
    return parser


def _images(arguments: argparse.Namespace) -> list[Path]:
    """The images to check; one of another architecture is built first where it is missing."""
    environ = env.environment()
    at_a_desk = not env.is_kokoro(environ)
    wanted = {"arch": arguments.arch, "release": arguments.release, "image_type": arguments.image_type}
    if at_a_desk:
        place = ROOT / "out" / "jobs"
        wanted["branch"] = arguments.branch
    else:
        said = {"BRANCH": arguments.branch} if arguments.branch else {}
        place = env.KokoroEnv.read({**environ, **said}).gfile_dir  # refuses a branch that is not the job's
    try:
        return find_images(place, **wanted)
    except ArtifactError:
        if not at_a_desk or arguments.arch in (None, native_arch()):
            raise
    matrix = desk.Matrix(
        branch=arguments.branch or BRANCH,
        releases=[arguments.release or RELEASE],
        arches=[arguments.arch],
        image_types=[arguments.image_type or IMAGE_TYPE],
    )
    desk.build(read_flows().build("lxd_container"), matrix=matrix, deps=True, force=False, parallel=0, out="")
    return find_images(place, **wanted)


def _passes(image: Path, arguments: argparse.Namespace) -> bool:
    try:
        report = test.check_image(
            image / "lxd.tar.xz",
            image / SQUASHFS,
            results_of(image),
            only=arguments.only,
            server=arguments.server,
            repository=arguments.repository,
            keep=wait_for_person if arguments.keep_on_failure else None,
        )
    except (CheckFailedError, ImageError) as err:
        print(f"{image}: {err}", file=sys.stderr)
        return False
    print(f"{image}: {report.summary()}")
    return True


def results_of(image: Path) -> Path:
    """Where the results of an image's checks go: artifacts of other jobs are not ours to change."""
    place = ROOT / "out" / "lxd_test" / "-".join(image.parts[-3:])
    place.mkdir(parents=True, exist_ok=True)
    return place


def find_images(
    root: Path, *, arch: str | None = None, release: str | None = None, image_type: str | None = None,
    branch: str | None = None,
) -> list[Path]:  # fmt: skip
    """The directories of images, those of this machine's architecture unless `arch` names one.

    Args:
        root: where to look; with a `branch` the local runner's directory of jobs, which has its milestone in its paths.
        arch, release, image_type, branch: only those; None for all.

    Raises:
        ArtifactError: there is none.
        UsageError: the branch is unknown.
    """
    arch = arch or native_arch()
    below = f"{find_branch(branch).milestone}/*/artifacts/" if branch else ""
    pattern = f"{below}lxd/{release or '*'}/{arch}/{image_type or '*'}/{SQUASHFS}"
    found = sorted(path.parent for path in root.rglob(pattern))
    if not found:
        asked = " ".join(word for word in (release, arch, image_type, branch) if word)
        raise ArtifactError(
            f"there is no image for {asked} below {str(root)!r}",
            hint=f"./run invoke lxd-container --branch {branch or BRANCH} --release {release or RELEASE}"
            + (f" --arch {arch}" if arch != native_arch() else ""),
        )
    return found


if __name__ == "__main__":
    with reported():
        sys.exit(main(sys.argv[1:]))
