"""The only door to other programs: argv lists, a built environment, our errors, deadlines.

Built on the `sh` library, with its terminal, its truncated errors and its bounded buffers switched off.
"""

import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import sh

from common.errors import CommandError, DeadlineError, DiskFullError, NetworkError, ReleaseError, ToolMissingError

log = logging.getLogger(__name__)

Arg = str | Path
PROGRAMS = Path(__file__).with_name("programs.txt")
# What a program may inherit; everything else is left behind. The certificates and proxies are the machine's own
# way to its package mirror, SOURCE_DATE_EPOCH is how every builder is told its time, CROS_VENV is ./run's.
INHERITED = (
    "HOME", "LOGNAME", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "USER",
    "CROS_VENV", "CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
TAIL_LINES = 25
# What an interrupted program gets to tidy up in, seconds.
_GRACE = 10.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|write failed.*ENOSPC", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"Temporary failure resolving|Could not resolve|Name or service not known|Network is unreachable"
    r"|Could not connect to|Connection refused|Connection timed out|Unable to connect to"
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a program gets: a few inherited variables, a fixed locale and `extra`."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    fixed = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return {"PATH": os.defpath, "HOME": "/", **kept, **fixed, **(extra or {})}


def programs() -> dict[str, str]:
    """What common/programs.txt lists: program (or file) -> Debian package."""
    lines = (line.split("#")[0].split() for line in PROGRAMS.read_text().splitlines())
    return {words[0]: words[1] for words in lines if words}


def find(program: str) -> Path:
    """Where `program` is; ToolMissingError, with the package to install, when it is nowhere."""
    found = shutil.which(program, path=environment()["PATH"])
    if found is None:
        package = programs().get(Path(program).name, Path(program).name)
        raise ToolMissingError(f"{program!r} is not installed", hint=f"apt-get install {package}")
    return Path(found)


def run(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
    timeout: float | None = None,
    quiet: bool = False,
    stdin: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run one program to its end; what it prints goes to our stderr.

    Args:
        argv: the program and its arguments; never a shell line.
        env: variables on top of `environment()`.
        ok: exit codes that mean success.
        timeout: seconds after which it is killed and DeadlineError raised.
        quiet: keep its output for the error message, print none of it.
        stdin: a file it reads; none means an empty one.
        on_line: called with every line it prints, to tell its progress from.

    Raises:
        ToolMissingError, DeadlineError, DiskFullError, NetworkError, CommandError: with the last lines it printed.
    """
    heard = _Heard(quiet=quiet, on_line=on_line)
    _execute(argv, cwd=cwd, env=env, ok=ok, timeout=timeout, stdin=stdin, out=heard, heard=heard)


def capture(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
    timeout: float | None = None,
    stdin: str | None = None,
) -> str:
    """Run one program and return its whole stdout; its stderr goes into the error, if there is one."""
    out: list[str] = []
    heard = _Heard(quiet=True)
    _execute(argv, cwd=cwd, env=env, ok=ok, timeout=timeout, stdin=stdin, out=out.append, heard=heard)
    return "".join(out)


def _execute(
    argv: Sequence[Arg],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    ok: Collection[int],
    timeout: float | None,
    stdin: str | Path | None,
    out: Callable[[str], object],
    heard: "_Heard",
) -> None:
    words = [os.fspath(word) for word in argv]
    log.log(logging.DEBUG if heard.quiet else logging.INFO, "+ %s", shlex.join(words))
    # Not sh's own: it looks at its clock every tenth of a second, and ends the program alone.
    deadline = _Deadline(timeout)
    try:
        with _uninterrupted(), (stdin if isinstance(stdin, Path) else Path(os.devnull)).open("rb") as file:
            running = sh.Command(str(find(words[0])))(
                *words[1:],
                **_settings(cwd, env),
                _in=stdin if isinstance(stdin, str) else file,
                _out=out,
                _err=heard,
                _ok_code=list(ok),
                _bg=True,
                _bg_exc=False,
            )
            deadline.begin(running.pid)
        running.wait()
    except sh.ErrorReturnCode as err:
        if deadline.passed:
            raise DeadlineError(
                f"{words[0]} did not finish in {timeout:g} s",
                details="\n".join([f"command: {shlex.join(words)}", *heard.tail]),
            ) from err
        raise failure(words, err.exit_code, heard) from err
    except BaseException:
        deadline.end()
        raise
    finally:
        deadline.cancel()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait until the end of the `with`, when it is known what they have to end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Deadline:
    """Ends a program with all that it started when its time is over, or when we are interrupted."""

    def __init__(self, seconds: float | None) -> None:
        self.passed = False
        self._pid = 0
        self._timer = threading.Timer(seconds, self._expire) if seconds else None

    def begin(self, pid: int) -> None:
        """The program has been started."""
        self._pid = pid
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        """The program has ended."""
        if self._timer:
            self._timer.cancel()

    def end(self) -> None:
        """We are interrupted: the program may tidy up for a while."""
        _, alive = psutil.wait_procs(_signalled(self._tree(), signal.SIGTERM), timeout=_GRACE)
        _signalled(alive, signal.SIGKILL)

    def _expire(self) -> None:
        self.passed = True
        _signalled(self._tree(), signal.SIGKILL)  # and sh waits for it

    def _tree(self) -> list[psutil.Process]:
        if not self._pid:
            return []
        try:
            program = psutil.Process(self._pid)
            return [program, *program.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _signalled(processes: list[psutil.Process], number: signal.Signals) -> list[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return processes


def _settings(cwd: Path | None, env: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "_cwd": cwd,
        "_env": environment(env),
        "_tty_out": False,
        "_decode_errors": "replace",
        "_no_out": False,
        "_internal_bufsize": 0,
        "_preexec_fn": lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS),
    }


class _Heard:
    """What a program says, line by line: its end is kept, and whether the disk was full, which it may say early."""

    def __init__(self, *, quiet: bool, on_line: Callable[[str], None] | None = None) -> None:
        self.quiet, self._on_line = quiet, on_line
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.disk_full = False

    def __call__(self, line: str) -> None:
        self.tail.append(line.rstrip("\n"))
        self.disk_full = self.disk_full or _DISK_FULL.search(line) is not None
        if not self.quiet:
            sys.stderr.write(line)
        if self._on_line:
            self._on_line(line)


def failure(argv: Sequence[str], exit_code: int, heard: _Heard) -> ReleaseError:
    """The error for a program that failed: the kind is read from what it said."""
    details = "\n".join([f"command: {shlex.join(argv)}", *heard.tail])
    said = "\n".join(heard.tail)
    if heard.disk_full:
        return DiskFullError(
            f"no space left on the disk while running {argv[0]}", details=details,
            hint="free some space, then run the same command again",
        )  # fmt: skip
    if found := _NO_NETWORK.search(said):
        return NetworkError(
            f"{argv[0]} could not reach a server: {found.group()}", details=details,
            hint="check the network and the apt sources (./run invoke doctor), then run the same command again",
        )  # fmt: skip
    how = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exited with {exit_code}"
    return CommandError(f"{argv[0]} {how}", details=details)


class Process:
    """A program that runs in the background, in a process group of its own."""

    def __init__(self, argv: Sequence[str], running: sh.RunningCommand, tail: deque[str]) -> None:
        self.argv, self._running, self._tail = argv, running, tail

    @property
    def pid(self) -> int:
        """Its process id, which is its process group too."""
        pid: int = self._running.pid
        return pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return bool(self._running.is_alive())

    @property
    def exit_code(self) -> int:
        """How it ended; waits for that. Negative for the signal that ended it."""
        with contextlib.suppress(sh.ErrorReturnCode):
            self._running.wait()
        code: int = self._running.exit_code
        return code

    def tail(self) -> str:
        """The last lines it printed."""
        return "\n".join(self._tail)

    def stop(self, *, grace: float = 10.0) -> None:
        """End the whole group: SIGTERM, and SIGKILL after `grace` seconds."""
        for signum, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signum)
            with contextlib.suppress(sh.TimeoutException, sh.ErrorReturnCode):
                self._running.wait(timeout=wait)
            if not self.alive():
                return


@contextlib.contextmanager
def started(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    quiet: bool = True,
    log_file: Path | None = None,
    only_env: Mapping[str, str] | None = None,
    grace: float = 10.0,
) -> Iterator[Process]:
    """A program in the background for as long as the `with` lasts; stopped with its whole group at the end.

    Args:
        argv: the program and its arguments.
        cwd: where it runs.
        env: variables on top of `environment()`.
        quiet: keep its last lines only, print none.
        log_file: append its output there instead; then nothing is kept.
        only_env: its whole environment, instead of `environment()`.
        grace: seconds between SIGTERM and SIGKILL.
    """
    words = [os.fspath(word) for word in argv]
    heard = _Heard(quiet=quiet)
    log.log(logging.DEBUG if log_file else logging.INFO, "+ %s &", shlex.join(words))
    settings = _settings(cwd, env)
    if only_env is not None:
        settings["_env"] = dict(only_env)
    process: Process | None = None
    try:
        with _uninterrupted(), contextlib.ExitStack() as stack:
            out = stack.enter_context(log_file.open("ab")) if log_file else heard
            nothing = stack.enter_context(Path(os.devnull).open())
            running = sh.Command(str(find(words[0])))(
                *words[1:], **settings,
                _in=nothing, _out=out, _err=out, _bg=True, _bg_exc=False, _new_session=True,
            )  # fmt: skip
            process = Process(words, running, heard.tail)
        yield process
    finally:
        if process is not None:
            process.stop(grace=grace)
