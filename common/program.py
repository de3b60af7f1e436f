"""The invoke program of this project: a command line that cannot be read is a UsageError like any other."""

import re
import sys

from invoke.config import Config
from invoke.exceptions import ParseError
from invoke.program import Program

from common.errors import UsageError, reported
from common.files import ROOT
from common.settings import nearest

# Invoke's own flags for tasks that run commands through it. Ours do not; better refused than ignored.
_MEANINGLESS = ("dry", "echo", "pty", "warn-only")


class _Config(Config):  # type: ignore[misc, unused-ignore]
    @staticmethod
    def global_defaults() -> dict[str, object]:
        """Invoke's, and our tasks.py wherever the command is called."""
        defaults: dict[str, object] = Config.global_defaults()
        return {**defaults, "tasks": {**defaults["tasks"], "search_root": str(ROOT)}}  # type: ignore[dict-item]


class _Program(Program):  # type: ignore[misc, unused-ignore]  # invoke's own classes are partly untyped
    def parse_tasks(self) -> None:
        for name in _MEANINGLESS:
            if self.args[name].value:
                print(
                    f"error: {UsageError(f'--{name} means nothing to these tasks', hint='leave it out')}",
                    file=sys.stderr,
                )
                raise SystemExit(UsageError.exit_code)
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
        return UsageError(f"unknown flag {unknown[1]!r}", hint=_nearest_flag(unknown[1], of))
    if not_a_number := re.search(r"invalid literal for int\(\) with base 10: (.*)", said):
        return UsageError(
            f"{not_a_number[1]} is not a number", hint="./run invoke --help TASK lists the flags of a task"
        )
    said = re.sub(r"<Argument: (\S+).*?>", r"--\1", said).strip().rstrip("!")
    return UsageError(said, hint="./run invoke --help TASK lists the flags of a task")


def _nearest_flag(unknown: str, of: Program) -> str:
    """The flag of any task that looks most like it, and where all are listed."""
    arguments = [argument for name in of.collection.task_names for argument in of.collection[name].get_arguments()]
    known = sorted({f"--{name}" for argument in arguments for name in argument.names if len(name) > 1})
    guess = nearest(unknown, known).partition("known:")[0]
    return f"{guess}./run invoke --help TASK lists the flags of a task"


def main() -> None:
    """Run what the command line asks for; a flows.toml that cannot be read is an error like any other."""
    with reported():
        _Program(name="invoke", binary="invoke", config_class=_Config).run()
