from pathlib import Path

import pytest

from common.errors import CommandError
from common.files import ROOT
from kokoro.sources import Tree
from scripts import shell_lint


def test_shell_scripts_are_told_by_their_first_line() -> None:
    found = {path for path in Tree(ROOT).paths if shell_lint.is_shell(path)}
    assert found >= {"run", ".ci/run", "kokoro/apt_repo.sh", "lxd/finish.sh"}
    assert not found & {"tasks.py", "common/bin/invoke", "README.md"}


def test_a_mistake_is_found(tmp_path: Path) -> None:
    script = ROOT / "run"
    assert shell_lint.main([str(script)]) == 0
    bad = tmp_path / "bad.sh"
    bad.write_text("#!/bin/sh\nrm -rf $1/*\n")
    with pytest.raises(CommandError, match="shellcheck exited with 1"):
        shell_lint.main([str(bad)])
