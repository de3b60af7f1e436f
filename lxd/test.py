#!/usr/bin/env python3
"""Boot an image in a real LXD and check it: lxd/test.py RESULT_DIR METADATA ROOTFS."""

import argparse
import difflib
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.errors import ArtifactError, ImageError, UsageError, reported
from common.files import workspace
from common.progress import configure_logging, step
from common.waiting import patient
from lxd import host, own
from lxd.about import About
from lxd.checks import CHECKS, Check, Run
from lxd.container import import_image
from lxd.daemon import lxd
from lxd.keep import Keep, check_terminal, lines_for, wait_for_person
from lxd.report import Outcome, Report
from lxd.repository import serving
from lxd.servers import Server
from lxd.tracks import Plan, run_all


def check_image(
    metadata: Path,
    rootfs: Path,
    results: Path,
    *,
    only: Collection[str] = (),
    server: Server = Server.LXD,
    directories: Sequence[Path] | None = None,
    parent: Path | None = None,
    mocks: Path = host.MOCKS,
    repository: Path | None = None,
    keep: Keep | None = None,
) -> Report:
    """Boot an image and run the checks; what they found goes into `results`/sponge_log.xml.

    An image of an architecture that does not run here is booted in an emulated machine, with ten times the patience.

    Args:
        metadata: the image's lxd.tar.xz (any tar with metadata.yaml).
        rootfs: its rootfs.squashfs.
        results: the directory for sponge_log.xml.
        only: names of the checks to run; all when empty.
        server: what it is booted in.
        directories: LXD_DIRs of daemons that may run already; the usual ones when None.
        parent: where a daemon of our own keeps its files.
        mocks: what stands for the host's programs.
        repository: the signed apt repository of its milestone; the checks that need one are skipped without.
        keep: called where a check has failed, before anything is removed: see lxd/keep.py.

    Raises:
        CheckFailedError: some check failed; the report is written.
        ImageError: LXD cannot import, unpack or start the image; the report says so too.
        UsageError: there is no check of that name.
        ArtifactError: there is no such file.
        LxdUnavailableError, LxdDiedError, DiskFullError: from LXD.
    """
    chosen = wanted_checks(only)
    _check_paths(metadata, rootfs, repository)
    begun = time.monotonic()
    own.sweep(parent or Path(tempfile.gettempdir()))
    try:
        about = About.read(metadata)
        with (
            workspace(own.PREFIX, parent=parent) as place,
            lxd(server=server, arch=about.arch, directories=directories, parent=parent) as daemon,
            patient(daemon.patience),
            serving(daemon.listen(), repository, address=daemon.gateway) as url,
        ):
            with step("Import the image"):
                image = import_image(daemon.connect(), metadata, rootfs)
            run = Run(about=about, repository=repository is not None, url=url, gateway=daemon.gateway)
            devices = host.devices(place, mocks=mocks)
            daemon.share(place)
            plan = Plan(image=image, chosen=chosen, run=run, devices=devices, keep=keep is not None)
            with step("Boot and check"):
                outcomes = run_all(daemon, plan)
            report = Report(tuple(outcomes), time.monotonic() - begun)
            report.write(results)
            if keep and report.failures:
                keep(lines_for(daemon, report))
    except ImageError as err:
        seconds = time.monotonic() - begun
        Report((Outcome("bare", "image-starts", seconds, err),), seconds).write(results)
        raise
    report = Report(report.outcomes, time.monotonic() - begun)
    report.write(results)
    report.raise_failures()
    return report


def _check_paths(metadata: Path, rootfs: Path, repository: Path | None) -> None:
    for path in (metadata, rootfs):
        if not path.is_file():
            raise ArtifactError(
                f"there is no image file {str(path)!r}", hint="./run invoke lxd-container builds an image"
            )
    if repository and not (repository / "dists").is_dir():
        raise ArtifactError(
            f"there is no apt repository {str(repository)!r}", hint="./run invoke apt-signer makes apt_signed"
        )


def wanted_checks(only: Collection[str]) -> list[Check]:
    """The checks of these names, all for none; UsageError names one that does not exist."""
    known = [check.name for check in CHECKS]
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"there is no check {name!r}", hint=f"did you mean {near[0]!r}?" if near else "--list")
    return [check for check in CHECKS if not only or check.name in only]


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """The command line, with everything optional; scripts/lxd_test.py adds to it."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("results", metavar="RESULT_DIR", type=Path, nargs="?", help="where sponge_log.xml is written")
    made.add_argument("metadata", metavar="METADATA", type=Path, nargs="?", help="the image's lxd.tar.xz")
    made.add_argument("rootfs", metavar="ROOTFS", type=Path, nargs="?", help="the image's rootfs.squashfs")
    made.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="run this check (several times: these)"
    )
    made.add_argument(
        "--server", type=Server, choices=list(Server), default=Server.LXD, help="what it is booted in (default: lxd)"
    )
    made.add_argument(
        "--repository", metavar="DIR", type=Path, help="the apt_signed that the image was built from, to install from"
    )
    made.add_argument(
        "--keep-on-failure", action="store_true", help="leave a container as a failed check left it, and wait"
    )
    made.add_argument("--list", action="store_true", help="list the checks and end")
    return made


def print_checks() -> None:
    """What --list shows."""
    for check in CHECKS:
        print(f"{check.name:34} {', '.join(check.situations):15} {check.summary}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    made = parser("lxd/test.py", __doc__)
    arguments = made.parse_args(argv)
    if arguments.list:
        print_checks()
        return 0
    if arguments.rootfs is None:
        made.error("RESULT_DIR, METADATA and ROOTFS are needed")
    if arguments.keep_on_failure:
        check_terminal()
    configure_logging()
    report = check_image(
        arguments.metadata,
        arguments.rootfs,
        arguments.results,
        only=arguments.only,
        server=arguments.server,
        repository=arguments.repository,
        keep=wait_for_person if arguments.keep_on_failure else None,
    )
    print(report.summary())
    return 0


if __name__ == "__main__":
    with reported():
        sys.exit(main())
