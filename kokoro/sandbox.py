"""The private namespaces a job runs in, so that nothing of it outlives it, however it or the runner ends.

As root a job gets its own process ids, mounts and /dev/shm: when its first process ends, the kernel ends every other
one (a daemon included) and drops every mount. What its build does not need is not there: the keys, the buckets, the
network. That first process is tied to the runner by a parent-death signal, so that a SIGKILL of the runner is enough.
Without root only the parent-death signal holds.
"""

from collections.abc import Sequence
from pathlib import Path

# $1: the directory the job must not write. $2: how many directories and files follow that it must not see. The rest:
# its command, which is not the last one here: the shell stays as process 1, where the kernel keeps SIGTERM from it, and
# reaps what daemons leave; the job itself gets the signal and can clean up.
_SETUP = """
set -e
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
hidden=$2
shift 2
while [ "$hidden" -gt 0 ]; do
    if [ -d "$1" ]; then mount -t tmpfs -o mode=0,ro tmpfs "$1"
    elif [ -e "$1" ]; then mount --bind /dev/null "$1"
    fi
    hidden=$((hidden - 1))
    shift
done
status=0
"$@" || status=$?
exit $status
"""


def argv(command: Sequence[str], *, read_only: Path, hidden: Sequence[Path], network: bool, root: bool) -> list[str]:
    """The command that runs `command` in namespaces of its own.

    Args:
        command: the job's.
        read_only: a directory it may only read.
        hidden: directories and files that are empty for it.
        network: whether it has any network.
        root: whether we are root and can have namespaces.
    """
    tied = ["setpriv", "--pdeathsig", "KILL", "--"]
    if not root:
        return [*tied, *command]
    return [
        *tied,
        "unshare",
        "--mount", "--propagation", "private",
        "--pid", "--fork", "--kill-child", "--mount-proc",
        *([] if network else ["--net"]),
        "--",
        "sh", "-c", _SETUP, "sandbox", str(read_only), str(len(hidden)), *map(str, hidden), *command,
    ]  # fmt: skip
