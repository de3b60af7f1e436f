"""The boot checks' command line, and what it says before any LXD is needed."""

import re
import sys
from pathlib import Path

import pytest

from common import tools
from common.errors import ArtifactError, CommandError, UsageError
from common.files import ROOT
from lxd.checks import CHECKS
from lxd.report import FILE
from lxd.test import check_image, main, wanted_checks
from tests.lxd.conftest import SplitImage
from tests.lxd.damages import DAMAGES, ELSEWHERE

SCRIPT = ROOT / "lxd" / "test.py"


def test_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [check.name for check in CHECKS]
    assert all(check.summary and check.summary in line for check, line in zip(CHECKS, lines, strict=True))


def test_check_names_are_unique_and_the_docs_name_them_all() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    text = (ROOT / "docs" / "boot-checks.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| \S", text, re.MULTILINE)
    assert sorted(rows) == sorted((check.name, ", ".join(check.situations)) for check in CHECKS)


def test_each_check_is_seen_red() -> None:
    assert {damage.check for damage in DAMAGES} | ELSEWHERE == {check.name for check in CHECKS}


def test_an_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no check 'sftp-serve'") as caught:
        wanted_checks(["sftp-serve"])
    assert "'sftp-serves'" in caught.value.hint


def test_a_missing_file_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.tar"):
        check_image(tmp_path / "nothing.tar", tmp_path / "nothing", tmp_path, directories=[], parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_runs_from_anywhere_and_ends_with_the_error_code(tmp_path: Path) -> None:
    argv = [sys.executable, str(SCRIPT), str(tmp_path), "no.tar", "no.squashfs"]
    with pytest.raises(CommandError, match="exited with 8") as caught:
        tools.run(argv, cwd=tmp_path, quiet=True)
    assert "hint: ./run invoke lxd-container" in caught.value.details
    with pytest.raises(CommandError, match="exited with 2"):
        tools.run([sys.executable, SCRIPT], cwd=tmp_path, quiet=True)


def test_a_directory_that_is_no_repository_is_named(tmp_path: Path) -> None:
    for name in ("lxd.tar.xz", "rootfs.squashfs"):
        (tmp_path / name).touch()
    with pytest.raises(ArtifactError, match="no apt repository") as caught:
        check_image(tmp_path / "lxd.tar.xz", tmp_path / "rootfs.squashfs", tmp_path, repository=tmp_path)
    assert "apt-signer" in caught.value.hint


@pytest.mark.lxd
@pytest.mark.root
def test_the_script_writes_the_report(good_image: SplitImage, tmp_path: Path) -> None:
    results = tmp_path / "results"
    argv: list[str | Path] = [
        sys.executable,
        SCRIPT,
        results,
        good_image.metadata,
        good_image.rootfs,
        "--only",
        "sftp-waits",
    ]
    assert "2 boot checks passed" in tools.capture(argv, cwd=tmp_path)
    assert (results / FILE).stat().st_mode & 0o777 == 0o644
