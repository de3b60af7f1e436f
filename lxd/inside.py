"""Runs in the container, with its python3 alone: runs the programs it is told of, all at once, until its input ends.

A line in, a line out, each JSON: {"number": 1, "argv": ["id"], "environment": {}, "uid": 0} is answered with
{"number": 1, "exit_code": 0, "out": "...", "err": "..."}. What cannot be run ends as in a shell, with 126 or 127.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence


def run(argv: Sequence[str], environment: Mapping[str, str], uid: int) -> dict[str, object]:
    """Run a program in a session of its own; what it leaves running is not waited for."""
    # Files rather than pipes, as a pipe has no end before what was left running ends.
    out, err = os.memfd_create("out"), os.memfd_create("err")
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd="/",
            user=uid, group=uid, extra_groups=[], start_new_session=True,
        )  # fmt: skip
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell says it
        return {"exit_code": code, "out": _content(out), "err": _content(err)}
    except OSError as problem:
        return {"exit_code": 127 if isinstance(problem, FileNotFoundError) else 126, "out": "", "err": str(problem)}
    finally:
        os.close(out)
        os.close(err)


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def main() -> None:
    """Serve until the input and every program has ended."""
    lock = threading.Lock()

    def serve(line: str) -> None:
        asked = json.loads(line)
        number = asked.pop("number")
        answer = json.dumps({"number": number, **run(**asked)})
        with lock:
            print(answer, flush=True)

    for line in sys.stdin:
        threading.Thread(target=serve, args=[line]).start()


if __name__ == "__main__":
    main()
