"""How long the apt repository takes: one `reprepro includedeb` per package, against the build of today."""

import argparse
import gzip
import io
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.errors import reported
from common.files import ROOT, workspace
from common.reprepro import Distribution

CODENAMES = ("bookworm", "trixie")
ARCHES = ("amd64", "arm64", "armhf", "i386")
SIZES = (60, 1000)
# The build's whole shell step as Kokoro runs it, given the folder of the packages and the folder of artifacts.
OURS = (
    "sh", "-euc",
    """
    export KOKORO_GFILE_DIR="$1" KOKORO_ARTIFACTS_DIR="$2" RELEASES="bookworm trixie" SOURCE_DATE_EPOCH=1700000000
    export KOKORO_JOB_NAME=cros-containers/crostini-guest/74/apt_repo
    exec ./run invoke apt-repo
    """,
    "sh",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One row: the number of packages (in each codename), and both ways' wall seconds."""

    packages: int
    one_by_one: float
    ours: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.one_by_one / self.ours


def _tar(name: str, content: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)


def make_deb(folder: Path, package: str, version: str = "1.0", arch: str = "all", **fields: str) -> Path:
    """Make a small package in `folder` without dpkg-deb, which would need seconds for a thousand.

    Args:
        folder: made if it is missing.
        package, version, arch: of its name and its control file; the name leaves the epoch out.
        **fields: more of the control file (Section and Priority have defaults; "" leaves one out).
    """
    known = {
        "Package": package, "Version": version, "Architecture": arch, "Maintainer": "Bench <bench@example.org>",
        "Section": "misc", "Priority": "optional", "Description": "a small package", **fields,
    }  # fmt: skip
    control = "".join(f"{name}: {value}\n" for name, value in known.items() if value)
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar("./control", control.encode()),
        "data.tar.gz": _tar(f"./usr/share/doc/{package}", f"{package} {version}\n".encode()),
    }
    content = b"!<arch>\n"
    for name, data in members.items():
        # ar(5): name, time, owner, group, mode, size, each padded; members start at even offsets
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package}_{version.rpartition(':')[2]}_{arch}.deb"
    path.write_bytes(content)
    return path


def make_inputs(gfile: Path, packages: int) -> None:
    """Make `packages` distinct packages in the folder of each codename."""
    for codename in CODENAMES:
        for number in range(packages):
            make_deb(gfile / f"{codename}-debs", f"bench-{number:05}")


def one_by_one(gfile: Path, place: Path) -> None:
    """What the original's shell script did: one `reprepro includedeb` for each package and codename."""
    conf = place / "conf" / "distributions"
    conf.parent.mkdir(parents=True)
    conf.write_text("\n".join(Distribution(codename=each, arches=ARCHES).paragraph() for each in CODENAMES))
    script = 'for deb in "$3"/*.deb; do reprepro --silent --basedir "$1" includedeb "$2" "$deb"; done'
    for codename in CODENAMES:
        tools.run(["sh", "-euc", script, "sh", place, codename, gfile / f"{codename}-debs"], quiet=True, timeout=1800)


def _seconds(work: Callable[[], None]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def measure(packages: int, *, command: Sequence[str] = OURS) -> Result:
    """Make the same repository both ways, and time both.

    Args:
        packages: in each codename.
        command: what builds ours: a whole process, given the folder of the packages and the folder of artifacts.
    """
    with workspace("bench") as place:
        make_inputs(place / "gfile", packages)
        (place / "artifacts").mkdir()
        argv: list[tools.Arg] = [*command, place / "gfile", place / "artifacts"]
        ours = _seconds(lambda: tools.run(argv, cwd=ROOT, quiet=True, timeout=600))
        theirs = _seconds(lambda: one_by_one(place / "gfile", place / "original"))
        return Result(packages, theirs, ours)


def table(results: Sequence[Result]) -> str:
    """The results, a row each, as Markdown."""
    rows = [f"| {each.packages} | {each.one_by_one:.1f} | {each.ours:.2f} | {each.ratio:.0f} |" for each in results]
    head = [
        "| packages (in each of 2 codenames) | one by one, s | apt_repo, s | times as fast |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join(head + rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, and print its table."""
    parser = argparse.ArgumentParser(prog="bench_apt_repo", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, help="numbers of packages (default: 60 1000)")
    options = parser.parse_args(argv)
    with reported():
        print(table([measure(size) for size in options.sizes or SIZES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
