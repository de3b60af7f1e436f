"""What the benchmark of the boot checks counts, and where it finds what it needs."""

from pathlib import Path

from common.mirror import native_arch
from lxd.report import Outcome, Report
from scripts import bench, lxd_test
from scripts.bench_boot_checks import checked
from tests.scripts.test_lxd_test import image


def test_a_check_that_was_skipped_does_not_count() -> None:
    outcomes = (Outcome("bare", "one"), Outcome("gpu", "two", skipped="no --repository was given"))
    assert checked(Report(outcomes, 1.0)) == 1


def test_the_repository_is_the_one_of_the_images_milestone(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs" / "cros-containers" / "crostini-guest"
    image(jobs, "72/lxd_container_amd64_bookworm", "bookworm", native_arch())
    [found] = lxd_test.find_images(tmp_path)
    assert bench.repository_of(found) == jobs / "72/apt_signer/artifacts/apt_signed"
