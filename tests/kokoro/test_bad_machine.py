"""Real builds on a machine that lacks something: one sentence, what to do, the kind's exit code, nothing half done."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common import tools
from common.errors import DiskFullError, NetworkError
from tests.support import Checkout, Finished, wait

pytestmark = [pytest.mark.root, pytest.mark.mirror, pytest.mark.timeout(600)]

BUILD = ("invoke", "guest-tools", "--branch", "main", "--release", "trixie")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the sources and little else."""
    place = tmp_path / "small"
    place.mkdir()
    tools.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", place], quiet=True)
    yield place
    tools.run(["umount", place], quiet=True)


def said_once(finished: Finished, text: str) -> None:
    lines = finished.output.splitlines()
    assert any(line.lstrip().startswith("error: ") and text in line for line in lines), finished.output
    assert any(line.lstrip().startswith("hint: ") for line in lines), finished.output
    assert "Traceback" not in finished.output


def test_a_full_disk(checkout: Checkout, small_disk: Path) -> None:
    finished = checkout.run(*BUILD, "--out", str(small_disk), timeout=300)
    assert finished.code == DiskFullError.exit_code, finished.output
    said_once(finished, "no space left on the disk")
    assert not (small_disk / "work").exists()
    assert not list((small_disk / "cache").rglob("*.tar")), "half a root file system must not stay in the cache"
    assert not list(small_disk.rglob("artifacts"))


def test_no_network(checkout: Checkout) -> None:
    log = checkout.path.parent / "log"
    argv: list[tools.Arg] = ["unshare", "--net", "--", checkout.path / "run", *BUILD]
    with tools.started(
        argv, cwd=checkout.path, only_env={**tools.environment(), **checkout.env}, log_file=log
    ) as process:
        finished = Finished(wait(process, 300), log.read_text())
    assert finished.code == NetworkError.exit_code, finished.output
    said_once(finished, "the Debian mirror does not answer")
    assert not (checkout.path / "out" / "work").exists()
