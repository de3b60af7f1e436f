"""The door to programs, tried with small shell scripts."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from common import tools
from common.errors import CommandError, DeadlineError, DiskFullError, NetworkError, ToolMissingError
from common.files import ROOT
from common.waiting import wait_until

Script = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A shell script as a program."""

    def make(text: str) -> Path:
        path = tmp_path / "a program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def test_capture_returns_stdout_alone_and_whole(script: Script) -> None:
    program = script("echo noise >&2; seq 20000; printf 'no newline at the end'")
    said = tools.capture([program])
    assert said.splitlines() == [*map(str, range(1, 20001)), "no newline at the end"]


def test_capture_survives_what_is_not_utf8(script: Script) -> None:
    assert tools.capture([script(r"printf 'a\377b'")]) == "a\ufffdb"


def test_arguments_arrive_as_they_are(script: Script) -> None:
    words = ["", "a b", "*", "$HOME", "`id`", "-x", "ü", "new\nline", "'\""]
    assert tools.capture([script("printf '[%s]' \"$@\""), *words]) == "".join(f"[{word}]" for word in words)


def test_stdin_is_empty_or_what_is_given(script: Script, tmp_path: Path) -> None:
    program = script("cat")
    assert tools.capture([program], timeout=5) == ""
    assert tools.capture([program], stdin="text\n", timeout=5) == "text\n"
    (tmp_path / "in").write_text("a file")
    tools.run([script(f"cat >'{tmp_path}/out'")], stdin=tmp_path / "in", timeout=5)
    assert (tmp_path / "out").read_text() == "a file"


def test_run_prints_to_stderr_unless_quiet(
    script: Script, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tools.run([script("echo said"), "x y"])
        assert "'x y'" in caplog.text
    assert capsys.readouterr() == ("", "said\n")
    tools.run([script("echo said")], quiet=True)
    assert capsys.readouterr() == ("", "")


def test_the_environment_is_built(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("KOKORO_KEYSTORE_DIR", "/keys")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    lines = tools.capture([script("env")], env={"MORE": "2"}).splitlines()
    names = {line.split("=")[0] for line in lines}
    assert names <= {*tools.INHERITED, "LC_ALL", "DEBIAN_FRONTEND", "MORE", "PWD", "OLDPWD", "SHLVL", "_"}
    assert {"LC_ALL=C.UTF-8", "MORE=2", "SOURCE_DATE_EPOCH=5", "DEBIAN_FRONTEND=noninteractive"} <= set(lines)


def test_the_working_directory(script: Script, tmp_path: Path) -> None:
    (tmp_path / "in here").mkdir()
    assert tools.capture([script("pwd")], cwd=tmp_path / "in here").strip() == str(tmp_path / "in here")


def test_a_failure_carries_the_command_and_the_end_of_what_it_said(script: Script) -> None:
    with pytest.raises(CommandError, match="exited with 3") as caught:
        tools.run([script("seq 100; echo why >&2; exit 3"), "x y"], quiet=True)
    lines = caught.value.details.splitlines()
    assert lines[0].endswith("'x y'")
    assert lines[0].startswith("command: ")
    assert "100" in lines
    assert "why" in lines
    assert "1" not in lines
    assert len(lines) == tools.TAIL_LINES + 1


def test_other_exit_codes_can_be_fine(script: Script) -> None:
    assert tools.capture([script("echo fine; exit 2")], ok=(0, 2)) == "fine\n"
    with pytest.raises(CommandError, match="exited with 1"):
        tools.capture([script("exit 1")], ok=(0, 2))


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_signal_is_named(script: Script, number: int, name: str) -> None:
    with pytest.raises(CommandError, match=f"was ended by {name}"):
        tools.run([script(f"kill -{int(number)} $$")])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("tar: x: Cannot write: No space left on device", DiskFullError),
        ("cp: error writing 'x': Disk quota exceeded", DiskFullError),
        ("E: Failed to fetch: Temporary failure resolving 'mirror'", NetworkError),
        ("connect: Connection refused", NetworkError),
        ("something else", CommandError),
    ],
)
def test_the_kind_of_failure_is_read_from_what_it_said(script: Script, said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        tools.capture([script(f'echo "{said}" >&2; exit 1')])
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ToolMissingError, match="'no-such-program' is not installed\nhint: apt-get install no-such-program"
    ):
        tools.run(["no-such-program"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="hint: apt-get install squashfs-tools"):
        tools.find("mksquashfs")


def test_programs_txt_is_read() -> None:
    programs = tools.programs()
    assert programs["mksquashfs"] == "squashfs-tools"
    assert all(" " not in word for pair in programs.items() for word in pair)


@pytest.mark.parametrize(
    "text", ["sleep 61", "sleep 61 & sleep 61", "trap '' TERM; sleep 61; sleep 61", "exec sleep 61", "setsid sleep 61"]
)
def test_a_deadline_ends_it_and_its_children(script: Script, text: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="did not finish in 0.5 s") as caught:
        tools.run([script(f"echo before; {text}")], timeout=0.5, quiet=True, env={"TMPDIR": str(tmp_path)})
    assert time.monotonic() - start < 10
    assert "before" in caught.value.details
    wait_until(lambda: not living(tmp_path), "all of them to be gone", timeout=5)


def living(marked: Path) -> list[psutil.Process]:
    """The processes whose TMPDIR is `marked`: inherited by whatever a program starts, in whichever session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(marked):
                found.append(process)
    return found


@pytest.mark.parametrize("whole_group", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_ends_the_program_too(tmp_path: Path, number: int, whole_group: bool) -> None:
    code = f"from common import tools; tools.run(['sh', '-c', 'echo $$ >{tmp_path}/pid; sleep 60; sleep 60'])"
    with tools.started([sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": str(tmp_path)}) as process:
        wait_until(
            lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "it to start", timeout=20
        )
        (os.killpg if whole_group else os.kill)(process.pid, number)
        wait_until(lambda: not living(tmp_path), "all of them to end", timeout=10)


@pytest.mark.parametrize("how", ["run", "capture", "started"])
def test_an_interrupt_while_it_is_started_ends_it_too(tmp_path: Path, how: str) -> None:
    """The program interrupts us before we know that it runs."""
    body = "with tools.started(argv): pass" if how == "started" else f"tools.{how}(argv)"
    code = f"""
from common import tools
import sh, time
real = sh.Command.__call__
sh.Command.__call__ = lambda *words, **settings: (real(*words, **settings), time.sleep(1))[0]
argv = ['sh', '-c', 'kill -INT $PPID; sleep 60']
{body}
"""
    with tools.started([sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": str(tmp_path)}) as process:
        wait_until(lambda: not process.alive(), "Python to end", timeout=20)
        wait_until(lambda: not living(tmp_path), "all of them to end", timeout=10)
        assert "KeyboardInterrupt" in process.tail()


def test_a_program_can_be_interrupted(script: Script) -> None:
    with pytest.raises(CommandError, match="was ended by SIGINT"):
        tools.run([script("kill -INT $$; sleep 5")], timeout=10)


def test_a_program_that_tidies_up_when_interrupted_gets_the_time(tmp_path: Path) -> None:
    tidy = f"trap 'sleep 1; echo tidy >{tmp_path}/said; exit 1' TERM; echo >{tmp_path}/ready; sleep 60 & wait"
    code = f"from common import tools; tools.run(['sh', '-c', {tidy!r}], timeout=50)"
    with tools.started([sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": str(tmp_path)}) as process:
        wait_until((tmp_path / "ready").exists, "it to start", timeout=20)
        os.kill(process.pid, signal.SIGINT)
        wait_until(lambda: not living(tmp_path), "all of them to end", timeout=10)
    assert (tmp_path / "said").read_text() == "tidy\n"


def test_started_runs_until_the_block_ends(script: Script, tmp_path: Path) -> None:
    with tools.started([script("echo ready; sleep 60 & sleep 60")], env={"TMPDIR": str(tmp_path)}) as process:
        wait_until(lambda: process.tail() == "ready", "it to say ready", timeout=5)
        assert process.alive()
        assert len(living(tmp_path)) >= 2
    assert not process.alive()
    wait_until(lambda: not living(tmp_path), "its children to be gone", timeout=5)


def test_started_is_stopped_when_the_block_fails(script: Script) -> None:
    with pytest.raises(ZeroDivisionError), tools.started([script("sleep 60")]) as process:
        _ = 1 / 0
    assert not process.alive()


def test_what_ignores_sigterm_is_killed_after_its_grace(script: Script) -> None:
    with tools.started([script("trap '' TERM; echo ready; while :; do sleep 1; done")], grace=0.3) as process:
        wait_until(lambda: process.tail() == "ready", "it to start", timeout=5)
        start = time.monotonic()
    assert time.monotonic() - start < 8
    assert not process.alive()
    assert process.exit_code == -signal.SIGKILL


def test_started_that_ends_by_itself(script: Script, tmp_path: Path) -> None:
    with tools.started(
        [script("echo $A; echo to the log; exit 7")], log_file=tmp_path / "log", only_env={"A": "b"}
    ) as process:
        assert process.exit_code == 7
    assert (tmp_path / "log").read_text() == "b\nto the log\n"
