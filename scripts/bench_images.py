"""How long all three types of a release's images take: the plain way (plain_image.sh), against ours, on one machine.

The plain way is what the project's predecessor did: each type from scratch in a chroot, packed by pixz and by
mksquashfs with gzip, and once more for the test. Both install the same packages, from the same mirror;
the third-party applications are left out, as they are downloads.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import tools
from common.files import workspace, write_atomically
from common.mirror import Mirror, native_arch
from common.progress import step
from lxd import guest
from lxd.image import build_images, repository_packages
from lxd.image_types import Layer, layers
from lxd.metadata import ImageName, write_metadata
from lxd.roots import Inputs
from scripts.peaks import Peaks, watched

RELEASE = "bookworm"
MILESTONE = 72
_SCRIPT = Path(__file__).with_name("plain_image.sh")
_INSIDE = Path("/srv/cros-packages")
_KEYRING = Path("usr/share/keyrings/cros-build.asc")


@dataclass(frozen=True)
class Result:
    """Both ways' wall seconds, what ours needed at its peak, and the largest root file system's size in bytes."""

    plain: float
    ours: float
    peaks: Peaks
    largest: int

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.plain / self.ours


def measure(repository: Path, chain: Sequence[Layer] = ()) -> Result:
    """Build every type in both ways, with nothing cached.

    Args:
        repository: the signed apt repository that the images are built from.
        chain: the image types; this project's when there are none.
    """
    arch = native_arch()
    google = repository_packages(repository, RELEASE, arch)
    chain = [replace(layer, apps=()) for layer in chain or layers(RELEASE, google)]
    tools.find("pixz")
    with workspace("bench-images") as place:
        inputs = Inputs(
            release=RELEASE, arch=arch, milestone=MILESTONE, epoch=int(time.time()), repository=repository,
            mirror=Mirror.of_this_machine(), cache=place / "cache", layers=tuple(chain),
        )  # fmt: skip
        begun = time.monotonic()
        with watched(place) as peaks, step("All types, our way"):
            for _ in build_images(inputs, [layer.type for layer in chain], place / "ours"):
                pass
        ours = time.monotonic() - begun
        shutil.rmtree(place / "ours")
        begun, largest = time.monotonic(), 0
        for number, layer in enumerate(chain, 1):
            with step(f"The type {layer.type}, the plain way"):
                largest = max(largest, _plain(inputs, chain[:number], place / "plain"))
        return Result(time.monotonic() - begun, ours, peaks, largest)


def _plain(inputs: Inputs, chain: Sequence[Layer], place: Path) -> int:
    """Build one type from scratch; returns the size of its root file system, in bytes."""
    name = ImageName(release=inputs.release, arch=inputs.arch, type=chain[-1].type)
    for path, text in _before(inputs, chain).items():
        write_atomically(place / "before" / path, text)
    shutil.copytree(inputs.repository, place / "before" / _INSIDE.relative_to("/"))
    for path, text in guest.guest_files(inputs.mirror, release=inputs.release, milestone=inputs.milestone).items():
        write_atomically(place / "after" / path, text)
    write_metadata(name, place, milestone=inputs.milestone, created=inputs.epoch)
    (place / "metadata").mkdir()
    tools.run(["tar", "--extract", f"--file={place / 'lxd.tar.xz'}", f"--directory={place / 'metadata'}"], quiet=True)
    packages = [package for layer in chain for package in layer.packages]
    argv: list[tools.Arg] = ["unshare", "--mount", "sh", _SCRIPT, place, inputs.release, *packages]
    tools.run(argv, quiet=True, timeout=7200)
    said = tools.capture(["du", "--summarize", "--block-size=1", place / "root"])
    tools.run(["rm", "-rf", place], quiet=True)
    return int(said.split()[0])


def _before(inputs: Inputs, chain: Sequence[Layer]) -> dict[str, str]:
    """What the root has before anything is installed, by path: the same sources, pins and answers as ours."""
    return {
        "etc/apt/sources.list": "\n".join(inputs.mirror.sources(inputs.release)) + "\n",
        "etc/apt/sources.list.d/cros-build.list": f"deb [signed-by=/{_KEYRING}] file:{_INSIDE} {inputs.release} main\n",
        "etc/apt/preferences.d/cros-build": guest.build_preferences(),
        "etc/apt/apt.conf.d/99bench": 'APT::Install-Recommends "true";\nAPT::Sandbox::User "root";\n',
        str(_KEYRING): guest.keyring_of(inputs.repository).read_text(),
        "root/preseed": "".join(layer.preseed for layer in chain),
    }


def table(result: Result) -> str:
    """As docs/benchmarks.md has it."""
    memory, disk, largest = (size / 2**30 for size in (result.peaks.memory, result.peaks.disk, result.largest))
    return (
        "| plain way, s | ours, s | times as fast |\n| --- | --- | --- |\n"
        f"| {result.plain:.0f} | {result.ours:.0f} | {result.ratio:.1f} |\n\n"
        f"Ours needed {memory:.2f} GiB of memory at its peak, and {disk:.2f} GiB of disk: {disk / largest:.1f} times\n"
        f"the largest root file system ({largest:.2f} GiB)."
    )
