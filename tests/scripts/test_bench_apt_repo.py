"""The benchmark measures two ways to the same repository."""

from pathlib import Path

import pytest

from common import tools
from common.files import ROOT, sha256_of
from scripts.bench_apt_repo import OURS, Result, make_inputs, measure, one_by_one, table


def test_both_ways_make_the_same(tmp_path: Path) -> None:
    make_inputs(tmp_path / "gfile", 3)
    one_by_one(tmp_path / "gfile", tmp_path / "original")
    (tmp_path / "artifacts").mkdir()
    argv: list[tools.Arg] = [*OURS, tmp_path / "gfile", tmp_path / "artifacts"]
    tools.run(argv, cwd=ROOT, env={"CROS_VENV": str(ROOT / ".venv")}, quiet=True, timeout=120)
    for name in ("pool", "dists/bookworm/main/binary-armhf", "dists/trixie/main/binary-amd64"):
        theirs, ours = (
            {path.relative_to(root): sha256_of(path) for path in (root / name).rglob("*") if path.is_file()}
            for root in (tmp_path / "original", tmp_path / "artifacts/apt_unsigned")
        )
        assert ours == theirs
        assert ours


def test_a_whole_process_is_measured() -> None:
    result = measure(1, command=["sh", "-c", "sleep 0.2"])
    assert result.ours >= 0.2
    assert result.one_by_one > 0


def test_the_table() -> None:
    assert table([Result(60, 6.0, 0.5)]).splitlines()[-1] == "| 60 | 6.0 | 0.50 | 12 |"


def test_a_build_that_fails_is_no_time() -> None:
    with pytest.raises(Exception, match="exited with 7"):
        measure(1, command=["sh", "-c", "exit 7"])
