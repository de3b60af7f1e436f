"""Programs in mount and process namespaces of their own: whichever way we end, they and their mounts end with us."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import tools
from common.errors import CommandError
from common.tools import Arg
from common.waiting import wait_until

# The kernel's parent-death signal, which a SIGKILL of ours sets off too.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")
_PRIVATE = ("--mount", "--propagation", "private")


def contained(argv: Sequence[Arg], *, inside: int | None = None) -> list[Arg]:
    """The command that runs `argv` so that nothing it starts and nothing it mounts outlives it or us.

    Without root's rights there are no namespaces; then only `argv` itself ends with us.

    Args:
        argv: a program and its arguments.
        inside: a process id, to see the mounts of that process.
    """
    if os.geteuid() != 0:
        return [*_TIED, *argv]
    entered = ["nsenter", f"--mount=/proc/{inside}/ns/mnt", "--"] if inside else []
    return [*_TIED, *entered, "unshare", *_PRIVATE, "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv]


@contextlib.contextmanager
def mounted(script: str, *words: Arg, place: Path) -> Iterator[int]:
    """A mount namespace made by a shell script, for as long as the `with` lasts; gives the id of a process in it.

    Args:
        script: a shell script that mounts; `words` are $1, $2, ....
        place: an empty directory to note in that all is mounted.

    Raises:
        CommandError: the script failed.
    """
    ready = place / "mounted"
    # The script's own process stays, so that the namespace does.
    held = f'set -e\n{script}\n: >"$0"\nexec tail --follow /dev/null'
    with tools.started([*_TIED, "unshare", *_PRIVATE, "--", "sh", "-c", held, ready, *words]) as process:
        wait_until(lambda: ready.exists() or not process.alive(), "file systems to be mounted", timeout=60, every=0.02)
        if not ready.exists():
            raise CommandError("file systems cannot be mounted", details=process.tail())
        yield process.pid
