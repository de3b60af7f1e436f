#!/usr/bin/env python3
"""Boot an image in a real LXD and check it: lxd/test.py RESULT_DIR METADATA ROOTFS."""

import argparse
import difflib
import logging
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.errors import (
    ArtifactError,
    CheckFailedError,
    CommandError,
    DeadlineError,
    ImageError,
    ReleaseError,
    UsageError,
    reported,
)
from common.files import workspace
from common.progress import configure_logging, step
from lxd import host, own
from lxd.checks import CHECKS, Check, Situation
from lxd.client import translated
from lxd.container import Container, import_image
from lxd.daemon import USUAL, Lxd, lxd
from lxd.report import Outcome, Report

log = logging.getLogger(__name__)

# Two containers at once, each through its situations in turn: a reboot is as good as a new container, and cheaper.
TRACKS = ((Situation.BARE, Situation.GPU), (Situation.HOST,))


def check_image(
    metadata: Path,
    rootfs: Path,
    results: Path,
    *,
    only: Collection[str] = (),
    directories: Sequence[Path] = USUAL,
    parent: Path | None = None,
    mocks: Path = host.MOCKS,
) -> Report:
    """Boot an image and run the checks; what they found goes into `results`/sponge_log.xml.

    Args:
        metadata: the image's lxd.tar.xz (any tar with metadata.yaml).
        rootfs: its rootfs.squashfs.
        results: the directory for sponge_log.xml.
        only: names of the checks to run; all when empty.
        directories: LXD_DIRs of daemons that may run already.
        parent: where a daemon of our own keeps its files.
        mocks: what stands for the host's programs.

    Raises:
        CheckFailedError: some check failed; the report is written.
        ImageError: LXD cannot import, unpack or start the image; the report says so too.
        UsageError: there is no check of that name.
        ArtifactError: there is no such file.
        LxdUnavailableError, LxdDiedError, DiskFullError: from LXD.
    """
    wanted = wanted_checks(only)
    for path in (metadata, rootfs):
        if not path.is_file():
            raise ArtifactError(
                f"there is no image file {str(path)!r}", hint="./run invoke lxd-container builds an image"
            )
    begun = time.monotonic()
    own.sweep(parent or Path(tempfile.gettempdir()))
    try:
        with workspace(own.PREFIX, parent=parent) as place, lxd(directories=directories, parent=parent) as daemon:
            outcomes = _boot_and_check(daemon, metadata, rootfs, wanted, place=place, mocks=mocks)
    except ImageError as err:
        seconds = time.monotonic() - begun
        Report((Outcome("bare", "image-starts", seconds, err),), seconds).write(results)
        raise
    report = Report(tuple(outcomes), time.monotonic() - begun)
    report.write(results)
    report.raise_failures()
    return report


def wanted_checks(only: Collection[str]) -> list[Check]:
    """The checks of these names, all for none; UsageError names one that does not exist."""
    known = [check.name for check in CHECKS]
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"there is no check {name!r}", hint=f"did you mean {near[0]!r}?" if near else "--list")
    return [check for check in CHECKS if not only or check.name in only]


def _boot_and_check(
    daemon: Lxd, metadata: Path, rootfs: Path, wanted: Sequence[Check], *, place: Path, mocks: Path
) -> list[Outcome]:
    with step("Import the image"):
        image = import_image(daemon.connect(), metadata, rootfs)

    plain = host.devices(place, mocks=mocks)

    def through(track: Sequence[Situation]) -> list[Outcome]:
        return list(_track(daemon, image, track, wanted, plain))

    pool = ThreadPoolExecutor(len(TRACKS))
    try:
        with step("Boot and check"):
            return [outcome for outcomes in pool.map(through, TRACKS) for outcome in outcomes]
    finally:
        # When one track ends the run, or Ctrl-C does, the other one ends with our own daemon: no need to wait for it.
        pool.shutdown(wait=not daemon.own, cancel_futures=True)


def _track(
    daemon: Lxd, image: str, situations: Sequence[Situation], wanted: Sequence[Check], plain: host.Devices
) -> Iterator[Outcome]:
    """One container, through its situations."""
    devices = {Situation.BARE: {}, Situation.HOST: plain, Situation.GPU: plain | host.gpu_device()}
    container = None
    for situation in situations:
        if not any(situation in check.situations for check in wanted):
            continue
        if container is None:
            container = Container.create(
                daemon.connect(), f"check-{situation}", image=image, devices=devices[situation]
            )
        else:
            container.stop()
            container.set_devices(devices[situation])
        container.start()
        yield from _run_checks(container, situation, wanted)


def _run_checks(container: Container, situation: Situation, wanted: Sequence[Check]) -> Iterator[Outcome]:
    missing = ""
    for check in CHECKS:
        if situation not in check.situations or not (check in wanted or check.needed):
            continue
        if missing:
            yield Outcome(situation, check.name, skipped=f"{missing} failed")
            continue
        outcome = _run_check(container, situation, check)
        yield outcome
        if outcome.failure and check.needed:
            missing = check.name


def _run_check(container: Container, situation: Situation, check: Check) -> Outcome:
    """Run one check. What is the image's fault is its outcome; everything else ends the run."""
    begun = time.monotonic()
    failure: ReleaseError | None = None
    try:
        with translated():
            check.function(container)
    except (CheckFailedError, CommandError, DeadlineError) as err:
        failure = err
    seconds = time.monotonic() - begun
    log.info("%s (%s): %s after %.1f s", check.name, situation, "FAILED" if failure else "ok", seconds)
    return Outcome(situation, check.name, seconds, failure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lxd/test.py", description=__doc__)
    parser.add_argument("results", metavar="RESULT_DIR", type=Path, nargs="?", help="where sponge_log.xml is written")
    parser.add_argument("metadata", metavar="METADATA", type=Path, nargs="?", help="the image's lxd.tar.xz")
    parser.add_argument("rootfs", metavar="ROOTFS", type=Path, nargs="?", help="the image's rootfs.squashfs")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="run this check (several times: these)"
    )
    parser.add_argument("--list", action="store_true", help="list the checks and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.list:
        for check in CHECKS:
            print(f"{check.name:22} {', '.join(check.situations):16} {check.summary}")
        return 0
    if arguments.rootfs is None:
        parser.error("RESULT_DIR, METADATA and ROOTFS are needed")
    configure_logging()
    report = check_image(arguments.metadata, arguments.rootfs, arguments.results, only=arguments.only)
    print(f"{len(report.outcomes)} boot checks passed in {report.seconds:.1f} s")
    return 0


if __name__ == "__main__":
    with reported():
        sys.exit(main())
