"""Boot checks of RESULT_DIR METADATA ROOTFS; without arguments, of every image that is at hand for this machine.

At hand are the images in KOKORO_GFILE_DIR inside a Kokoro build, and those the local runner has built at a desk.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import ArtifactError, CheckFailedError, reported
from common.files import ROOT
from common.mirror import native_arch
from common.progress import configure_logging
from kokoro import env
from lxd import test


def main(argv: Sequence[str]) -> int:
    """Check one image, or all; the exit code of a failed check when one fails."""
    if argv:
        return test.main(argv)
    configure_logging()
    kokoro = env.is_kokoro(env.environment())
    images = find_images(env.KokoroEnv.read(env.environment()).gfile_dir if kokoro else ROOT / "out" / "jobs")
    failed = []
    for image in images:
        try:
            report = test.check_image(image / "lxd.tar.xz", image / "rootfs.squashfs", results_of(image))
            print(f"{image}: {len(report.outcomes)} checks passed in {report.seconds:.1f} s")
        except CheckFailedError as err:
            failed.append(err)
            print(f"{image}: {err}", file=sys.stderr)
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(images)} images failed their boot checks", hint="see above")
    return 0


def results_of(image: Path) -> Path:
    """Where the results of an image's checks go: artifacts of other jobs are not ours to change."""
    place = ROOT / "out" / "lxd_test" / "-".join(image.parts[-3:])
    place.mkdir(parents=True, exist_ok=True)
    return place


def find_images(root: Path) -> list[Path]:
    """The directories of images for this machine's architecture. ArtifactError: there is none."""
    found = sorted(path.parent for path in root.rglob(f"lxd/*/{native_arch()}/*/rootfs.squashfs"))
    if not found:
        raise ArtifactError(
            f"there is no image for {native_arch()} below {str(root)!r}",
            hint="./run invoke lxd-container --branch release-R72-11316.B --release bookworm",
        )
    return found


if __name__ == "__main__":
    with reported():
        sys.exit(main(sys.argv[1:]))
