"""The README's first command, killed with SIGKILL while it builds, makes an image and boots it; then to the end."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from common import tools
from common.files import ROOT
from common.manifest import Manifest
from common.mirror import native_arch
from common.waiting import wait_until
from tests.support import FLOW, IMAGES, JOBS, Checkout, Finished

pytestmark = [pytest.mark.flow, pytest.mark.timeout(3600)]


def leftovers(checkout: Checkout) -> list[str]:
    """What a killed run could leave on this machine outside of its out/: processes, mounts, loop devices."""
    mark = str(checkout.path)
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if mark.replace(" ", "\\040") in line]
    loops = tools.capture(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).splitlines()
    return [*processes_of(checkout.path), *mounts, *(loop for loop in loops if mark in loop)]


def processes_of(checkout: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "cmdline").read_bytes().decode(errors="replace") + str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(checkout) in about:
            found.append(f"{entry.name}: {about}")
    return found


def test_killed_anywhere_it_leaves_nothing_and_the_next_run_makes_the_same_bytes(
    continuous: Finished, checkout: Checkout
) -> None:
    """SIGKILL while packages are built, while the image is made and while it is booted; then to the end, elsewhere."""
    shutil.copytree(ROOT / "out" / "keys", checkout.path / "out" / "keys")
    git_history(checkout)
    image_job = checkout.path / "out" / "work" / "cros-containers" / "crostini-guest" / "72"
    image_job /= f"lxd_container_{native_arch()}_bookworm"
    for reached in (
        lambda: "dpkg-buildpackage" in " ".join(processes_of(checkout.path)) or seen(checkout, "guest_tools: Build"),
        lambda: seen(checkout, "Make bookworm") and (image_job / "tmp").exists(),
        lambda: seen(checkout, "Boot and check"),
    ):
        kill_when(checkout, reached)
        wait_until(lambda: not leftovers(checkout), "all of the killed run to be gone", timeout=30)
    finished = checkout.run(*FLOW, timeout=3000)
    assert finished.code == 0, finished.output
    assert leftovers(checkout) == []
    assert not (checkout.path / "out" / "work").exists()
    there = checkout.path / "out" / "jobs" / "cros-containers" / "crostini-guest" / "72"
    for job, names in {
        "guest_tools": None,
        "apt_repo": None,
        f"lxd_container_{native_arch()}_bookworm": {f"{image}/{file}" for image in IMAGES for file in FILES},
    }.items():
        assert digests(there / job, names) == digests(JOBS / job, names), f"{job} made other bytes"


FILES = ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs", "packages.tsv", "packages.cdx.json")


def digests(job: Path, names: set[str] | None) -> dict[str, str]:
    entries = Manifest.read(job / "manifest.json").entries
    return {entry.path: entry.sha256 for entry in entries if names is None or entry.path in names}


def git_history(checkout: Checkout) -> None:
    """The same commits as here: versions and dates come from them. What is not committed here stays so there."""
    shutil.rmtree(checkout.path / ".git")
    tools.run(["git", "clone", "--quiet", "--bare", ROOT, checkout.path / ".git"], quiet=True)
    tools.run(["git", "-C", checkout.path, "config", "core.bare", "false"], quiet=True)
    tools.run(["git", "-C", checkout.path, "reset", "--quiet"], quiet=True)


def output_of(checkout: Checkout) -> Path:
    return checkout.path.parent / f"{checkout.path.name}.killed"


def seen(checkout: Checkout, text: str) -> bool:
    return text in output_of(checkout).read_text()


def kill_when(checkout: Checkout, reached: Callable[[], bool]) -> None:
    output_of(checkout).unlink(missing_ok=True)
    env = {**tools.environment(), **checkout.env}
    with tools.started(
        [checkout.path / "run", *FLOW], cwd=checkout.path, only_env=env, log_file=output_of(checkout)
    ) as process:
        wait_until(lambda: reached() or not process.alive(), "the run to get there", timeout=900, every=0.05)
        assert process.alive(), output_of(checkout).read_text()
        os.kill(process.pid, signal.SIGKILL)
