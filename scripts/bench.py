"""Measures what docs/benchmarks.md states, as ratios of two things done in one run, and writes it there.

Without the name of a part, all but those that take an hour are measured and written down; parts that are named are
printed, and with --write take the place of what the page has of them.
"""

import argparse
import datetime as dt
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import tools
from common.errors import reported
from common.files import ROOT, workspace, write_atomically
from common.progress import configure_logging, step
from kokoro.sources import Tree
from scripts import bench_apt_repo, bench_boot_checks, bench_flakiness, bench_images, bench_publish, lxd_test

PAGE = ROOT / "docs" / "benchmarks.md"
BRANCH = "release-R72-11316.B"
FLOW = ("invoke", "continuous", "--branch", BRANCH, "--release", "bookworm")
REPEATS = 20
HEAD = """\
# Benchmarks

Written by `./run nox -s bench` (and `-- images flakiness --write`, which take longer). Wall seconds; both sides of a
ratio come from the same run, one after the other, with nothing else going on.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = [*PARTS, *LONG]
    parser.add_argument("parts", nargs="*", choices=[[], *names], help=f"of {', '.join(names)}")
    parser.add_argument("--write", action="store_true", help="write the parts that are named into the page")
    parser.add_argument("--runs", type=int, default=bench_flakiness.RUNS, help="flakiness: how many of each kind")
    arguments = parser.parse_args(argv)
    configure_logging()
    sections = []
    for name in arguments.parts or PARTS:
        with step(f"Measure {name}"):
            sections.append(stamped(PARTS[name]() if name in PARTS else LONG[name](arguments)))
    print("\n".join(sections))
    if arguments.write or not arguments.parts:
        write_atomically(PAGE, with_sections(PAGE.read_text(), sections))
    return 0


def stamped(section: str) -> str:
    """A section that says, below its title, when, of which commit and where it was measured."""
    title, _, text = section.partition("\n\n")
    date, commit = dt.datetime.now(dt.UTC).date(), Tree(ROOT).commit()[:12]
    return f"{title}\n\nMeasured on {date}, commit {commit}, on {machine()}.\n\n{text}"


def with_sections(page: str, sections: Sequence[str]) -> str:
    """The page with these sections in place of those of the same titles, new ones at its end."""
    old = [f"## {section}" for section in page.split("\n## ")[1:]]
    known = {section.split("\n")[0]: section.strip("\n") for section in (*old, *sections)}
    return "\n".join([HEAD, *(f"{section}\n" for section in known.values())])


def machine() -> str:
    """This machine in a line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Linux {platform.release()}, Debian {debian()}"


def debian() -> str:
    """Debian's version."""
    return Path("/etc/debian_version").read_text().strip()


def apt_repo() -> str:
    """The apt repository against one reprepro call a package."""
    table = bench_apt_repo.table([bench_apt_repo.measure(size) for size in bench_apt_repo.SIZES])
    return f"## apt_repo\n\nThe whole shell step against one `reprepro includedeb` a package and codename.\n\n{table}\n"


def packages() -> str:
    """All guest packages of all releases against nothing changed, with the releases' root file systems at hand."""
    with workspace("bench-packages") as place:
        checkout, env = clone(place)
        built = "guest-tools", "--branch", BRANCH

        def once(*more: str) -> float:
            argv: list[tools.Arg] = [checkout / "run", "invoke", *built, *more]
            return seconds(lambda: tools.run(argv, env=env, cwd=checkout, timeout=1800))

        once()  # makes the root file systems
        shutil.rmtree(checkout / "out" / "cache" / "debs")
        all_built, unchanged = once("--force"), min(once() for _ in range(3))
    return (
        "## Guest packages\n\n"
        f"`./run invoke {' '.join(built)}`: all packages of all releases, their root file systems cached,\n"
        "against the same command again, the best of three.\n\n"
        "| all built, s | nothing changed, s | ratio |\n| --- | --- | --- |\n"
        f"| {all_built:.1f} | {unchanged:.2f} | {all_built / unchanged:.0f} |\n"
    )


def boot_checks() -> str:
    """The boot checks against three tests with fixed sleeps."""
    [image, *_] = lxd_test.find_images(ROOT / "out" / "jobs")
    result = bench_boot_checks.measure(image / "lxd.tar.xz", image / "rootfs.squashfs", repository_of(image))
    return (
        "## Boot checks\n\n"
        "Three tests as the original did them (one .tar.xz of metadata and root imported, a container unpacked for\n"
        "each on a `dir` pool, sleeps of 10 s, orderly stops; the daemon's start and the tarball's making left out)\n"
        "against lxd/test.py with everything (the daemon's start and end too), on the same image.\n\n"
        "| original's 3 tests, s | lxd/test.py, s | checks | times as fast |\n| --- | --- | --- | --- |\n"
        f"| {result.one_by_one:.1f} | {result.ours:.1f} | {result.checks} | {result.ratio:.1f} |\n"
    )


def flakiness(arguments: argparse.Namespace) -> str:
    """The boot checks again and again."""
    [image, *_] = lxd_test.find_images(ROOT / "out" / "jobs")
    files = image / "lxd.tar.xz", image / "rootfs.squashfs", repository_of(image)
    series = bench_flakiness.measure(*files, runs=arguments.runs)
    return (
        "## Boot checks again and again\n\n"
        "`lxd/test.py` on one good image, one run after another, with `--repository`: every failure is a false one.\n\n"
        f"{bench_flakiness.table(series)}\n"
    )


def images(_: argparse.Namespace) -> str:
    """All image types of a release, the plain way and ours."""
    [image, *_rest] = lxd_test.find_images(ROOT / "out" / "jobs")
    result = bench_images.measure(repository_of(image))
    return (
        "## Images\n\n"
        f"The types default, test and app_test of {bench_images.RELEASE}, without third-party applications: each from\n"
        "scratch in a chroot (pixz tarball, gzip squashfs, a second tarball with metadata) against ours with nothing\n"
        "cached. Memory is the sum of all processes' shares (PSS) and of memory-backed files, disk what the file\n"
        "system had less of; both seen five times a second.\n\n"
        f"{bench_images.table(result)}\n"
    )


def repository_of(image: Path) -> Path:
    """The signed repository that an image below out/jobs was built from: of the same milestone."""
    milestone = image.parents[5]  # /<job>/artifacts/lxd/<release>/<arch>/<type>
    return milestone / "apt_signer" / "artifacts" / "apt_signed"


def publish() -> str:
    """A publication to Google Cloud Storage against one upload after another."""
    result = bench_publish.measure()
    return (
        "## Publishing to Google Cloud Storage\n\n"
        f"{bench_publish.FILES} files of 4 kB and {bench_publish.MEGABYTES / 1000:g} GB of images, to a stand-in for\n"
        f"the storage on this machine that takes {bench_publish.DELAY * 1000:.0f} ms for each request: the library's\n"
        "upload in a loop, against ours.\n\n"
        f"{bench_publish.table(result)}\n"
    )


def flow() -> str:
    """The cold flow against one with nothing changed."""
    with workspace("bench-flow") as place:
        checkout, env = clone(place)

        def once() -> float:
            return seconds(lambda: tools.run([checkout / "run", *FLOW], env=env, cwd=checkout, timeout=3600))

        cold, unchanged = once(), min(once() for _ in range(3))
    return (
        "## continuous\n\n"
        "`./run invoke continuous --branch release-R72-11316.B --release bookworm` with an empty out/ (nothing cached\n"
        "but the Python environment) against the same command again, the best of three.\n\n"
        "| cold, s | nothing changed, s | ratio |\n| --- | --- | --- |\n"
        f"| {cold:.1f} | {unchanged:.2f} | {cold / unchanged:.0f} |\n"
    )


def clone(place: Path) -> tuple[Path, dict[str, str]]:
    """A fresh clone that has made nothing yet, and the environment in which it uses our Python environment."""
    checkout = place / "checkout"
    tools.run(["git", "clone", "--quiet", ROOT, checkout], quiet=True, timeout=60)
    return checkout, {"CROS_VENV": str(ROOT / ".venv")}


def start_up() -> str:
    """What ./run adds once it is set up."""
    inside = ROOT / "run"
    with_run = min(seconds(lambda: tools.run([inside, "true"], quiet=True)) for _ in range(REPEATS))
    without = min(seconds(lambda: tools.run(["true"], quiet=True)) for _ in range(REPEATS))
    return (
        "## ./run\n\n"
        f"`./run true` against `true`, the best of {REPEATS}: {with_run:.3f} s against {without:.3f} s, so it adds "
        f"{with_run - without:.3f} s.\n"
    )


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


PARTS = {
    "start_up": start_up, "packages": packages, "apt_repo": apt_repo, "boot_checks": boot_checks,
    "publish": publish, "flow": flow,
}  # fmt: skip
LONG = {"flakiness": flakiness, "images": images}

if __name__ == "__main__":
    with reported():
        sys.exit(main())
