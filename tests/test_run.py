"""./run itself: set-up, interruptions, two at once, what it says when it cannot."""

import os
import signal
from pathlib import Path

import pytest

from common import tools
from common.errors import ToolMissingError
from common.waiting import wait_until
from tests.conftest import FakeTool
from tests.support import AS_NOBODY, Checkout, wait


def own_venv(checkout: Checkout) -> Checkout:
    """The same checkout, making its own virtual environment whatever CROS_VENV the tests themselves run with."""
    return Checkout(checkout.path, {**checkout.env, "CROS_VENV": ""})


def test_no_arguments_print_a_short_help(pristine: Checkout) -> None:
    finished = pristine.run()
    assert finished.code == 0
    assert "./run invoke continuous" in finished.output
    assert len(finished.output.splitlines()) < 20


def test_it_works_from_another_directory(pristine: Checkout, tmp_path: Path) -> None:
    said = tools.capture(
        [
            pristine.path / "run",
            "sh",
            "-c",
            'pwd; command -v invoke; "$0" -c "import sys; print(sys.prefix)"',
            "python",
        ],
        cwd=tmp_path,
        env=dict(pristine.env),
    ).splitlines()
    assert said[0] == str(tmp_path)
    assert said[1] == str(pristine.path / "common" / "bin" / "invoke")
    assert said[2].endswith(".venv") or ".venv.d" in said[2]


def test_arguments_and_exit_codes_pass_through(pristine: Checkout) -> None:
    finished = pristine.run("sh", "-c", 'printf "<%s>" "$@"; exit 7', "x", "a b", "*", "")
    assert finished.code == 7
    assert finished.output == "<a b><*><>"


def test_an_unknown_command_is_said(pristine: Checkout) -> None:
    finished = pristine.run("nosuch")
    assert finished.code == ToolMissingError.exit_code
    assert "there is no command 'nosuch'" in finished.output


def test_missing_programs_are_installed_in_one_call(checkout: Checkout, fake_tool: FakeTool, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root installs")
    programs = checkout.path / "common" / "programs.txt"
    programs.write_text(f"{programs.read_text()}nosuchtool some-package\n/no/such/file another-package\n")
    calls = fake_tool("apt-get")
    finished = checkout.run("true", PATH=os.environ["PATH"])
    assert finished.code == 0, finished.output
    assert calls.read_text().splitlines() == [
        "update -q",
        "install --yes --no-install-recommends another-package some-package -o DPkg::Lock::Timeout=900",
    ]


def test_without_root_the_one_line_to_run_is_printed(checkout: Checkout, fake_tool: FakeTool) -> None:
    programs = checkout.path / "common" / "programs.txt"
    programs.write_text(f"{programs.read_text()}nosuchtool some-package\n")
    fake_tool("sudo", exit_code=1)
    log = checkout.path.parent / "log"
    env = {**tools.environment(), **checkout.env, "PATH": os.environ["PATH"]}
    argv: list[tools.Arg] = [*AS_NOBODY, checkout.path / "run", "true"]
    with tools.started(argv, only_env=env, log_file=log) as process:
        assert wait(process, 30) == ToolMissingError.exit_code
    assert "as root: apt-get update && apt-get install --yes --no-install-recommends some-package" in log.read_text()


@pytest.mark.mirror
def test_it_sets_itself_up_interrupted_and_twice_at_the_same_time(checkout: Checkout) -> None:
    fresh = own_venv(checkout)
    env = {**tools.environment(), **fresh.env}
    log = fresh.path.parent / "log"
    with tools.started([fresh.path / "run", "true"], cwd=fresh.path, only_env=env, log_file=log) as first:
        venvs = fresh.path / ".venv.d"
        wait_until(lambda: list(venvs.glob("*/lib*/python*/site-packages/pip")), "pip to be there", timeout=60)
        os.killpg(first.pid, signal.SIGKILL)
        wait(first, 10)
    assert not (fresh.path / ".venv").exists()
    command: list[tools.Arg] = [fresh.path / "run", "python", "-c", "import invoke, sys; print(sys.prefix)"]
    logs = [fresh.path.parent / f"log{number}" for number in (1, 2)]
    with (
        tools.started(command, cwd=fresh.path, only_env=env, log_file=logs[0]) as one,
        tools.started(command, cwd=fresh.path, only_env=env, log_file=logs[1]) as two,
    ):
        assert wait(one, 240) == 0, logs[0].read_text()
        assert wait(two, 240) == 0, logs[1].read_text()
    assert logs[0].read_text().count("making") + logs[1].read_text().count("making") == 1
    assert fresh.run("invoke", "branches").code == 0


def test_once_set_up_it_makes_nothing(pristine: Checkout) -> None:
    finished = pristine.run("true")
    assert finished.code == 0
    assert finished.output == ""
