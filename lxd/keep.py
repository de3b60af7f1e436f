"""Containers in which a check has failed, left running for a person to look into: --keep-on-failure."""

import contextlib
import select
import shlex
import sys
from collections.abc import Callable, Sequence

from common.errors import UsageError
from lxd.checks import Situation
from lxd.daemon import Lxd
from lxd.report import Report
from lxd.tracks import name_of

# Called while the containers run, with a line that says what failed where, and one that enters it, for each of them.
Keep = Callable[[Sequence[str]], None]


def check_terminal() -> None:
    """Refuse where nobody sits in front of a terminal: nobody would end the wait.

    Raises:
        UsageError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "--keep-on-failure waits for somebody at a terminal, and there is none",
            hint="run it in a terminal, or without --keep-on-failure",
        )


def wait_for_person(lines: Sequence[str]) -> None:
    """Show the lines, and wait for Enter or Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        print("\n".join(lines), file=sys.stderr, flush=True)
        print("Enter, or Ctrl-C, ends the wait and removes everything.", file=sys.stderr, flush=True)
        # A Ctrl-C that comes just before input() blocks would be heard with the next key only.
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            pass
        input()


def lines_for(daemon: Lxd, report: Report) -> list[str]:
    """What failed in which container, and the command that enters it."""
    lines = []
    for situation in dict.fromkeys(outcome.situation for outcome in report.failures):
        name = name_of(Situation(situation))
        names = ", ".join(outcome.name for outcome in report.failures if outcome.situation == situation)
        lines += [f"{names} failed in {name}; look into it with:", f"    {enter_command(daemon, name)}"]
    return lines


def enter_command(daemon: Lxd, name: str) -> str:
    """The shell line that opens a shell in a container."""
    kind = daemon.server.kind
    words = [kind.client, "exec", f"--project={daemon.project}", name, "--", "bash", "-l"]
    return f"{kind.variable}={shlex.quote(str(daemon.directory))} {shlex.join(words)}"
