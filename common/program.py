"""The invoke program of this project: a command line that cannot be read is a UsageError like any other."""

import re
import sys

from invoke.exceptions import ParseError
from invoke.program import Program

from common.errors import UsageError
from common.settings import nearest


class _Program(Program):  # type: ignore[misc, unused-ignore]  # invoke's own classes are partly untyped
    def parse_tasks(self) -> None:
        try:
            super().parse_tasks()
        except (ParseError, ValueError) as err:  # ValueError: a word where a number belongs
            print(f"error: {usage_error(str(err), self)}", file=sys.stderr)
            raise SystemExit(UsageError.exit_code) from err


def usage_error(said: str, of: Program) -> UsageError:
    """What invoke said about a command line, with what to type instead."""
    unknown = re.search(r"No idea what '(.*)' is", said)
    if unknown and not unknown[1].startswith("-"):
        return UsageError(f"unknown task {unknown[1]!r}", hint=nearest(unknown[1], tuple(of.collection.task_names)))
    if unknown:
        return UsageError(f"unknown flag {unknown[1]!r}", hint="./run invoke --help TASK lists the flags of a task")
    said = re.sub(r"<Argument: (\S+).*?>", r"--\1", said).strip().rstrip("!")
    return UsageError(said, hint="./run invoke --help TASK lists the flags of a task")


program = _Program(name="invoke", binary="invoke")
