"""The Tast suites of tast.toml: which tests, with which container and VM, and whether a release waits for them."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.errors import ConfigError, UsageError
from common.files import ROOT
from common.settings import Table, nearest

TAST_TOML = ROOT / "tast.toml"
# Tast's names are like crostini.Basic.bookworm_stable; a pattern may have * anywhere.
_NAME_PATTERN = re.compile(r"[a-zA-Z0-9_.*]+")
_TOKEN = re.compile(r'\s*(&&|\|\||!|\(|\)|"[^"\\]+"|[A-Za-z_][A-Za-z0-9_]*)')
_KEYS = ("expression", "container", "vm", "gates", "required", "deadline_mins")


class Source(StrEnum):
    """Where a container or VM under test comes from."""

    LIVE = "live"
    STAGING = "staging"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite.

    Attributes:
        name: `pfq`.
        expression: one attribute expression in parentheses, or name patterns with spaces between.
        container, vm: where they come from.
        gates: whether a snapshot may only go live when this suite is green.
        required: name patterns; at least one test of each has to pass.
        deadline_mins: how long a run may take, in minutes.
    """

    name: str
    expression: str
    container: Source
    vm: Source
    gates: bool
    required: tuple[str, ...]
    deadline_mins: int

    @property
    def patterns(self) -> list[str]:
        """The expression as the last arguments of `tast run`."""
        return [self.expression] if self.expression.startswith("(") else self.expression.split()


def load(path: Path = TAST_TOML) -> dict[str, Suite]:
    """The suites of a tast.toml by name, in the order of the file.

    Raises:
        ConfigError: naming the suite, key and value that is unknown, missing or makes no sense.
    """
    top = Table.of_file(path)
    top.refuse_unknown(("suites",))
    tables = top.table("suites")
    if not tables.keys():
        raise ConfigError(f"{path.name} lists no suite", hint="add a table [suites.pfq]")
    return {name: _read(name, tables.table(name)) for name in tables.keys()}  # noqa: SIM118, not a dict


def find_suite(name: str, path: Path = TAST_TOML) -> Suite:
    """One suite. UsageError: there is none of that name; ConfigError: see `load`."""
    suites = load(path)
    if name not in suites:
        raise UsageError(f"unknown suite {name!r}", hint=nearest(name, list(suites)))
    return suites[name]


def problem_of(expression: str) -> str:
    """Why Tast would not take an expression; "" where it would.

    Tast's expressions (internal/expr) are attributes, in quotes unless they are identifiers, joined by && and || and
    negated by !. They are in parentheses; everything else is a list of name patterns.
    """
    if not expression.startswith("("):
        wrong = [word for word in expression.split() if not _NAME_PATTERN.fullmatch(word)]
        return f"{wrong[0]!r} is no pattern of names" if wrong else "" if expression.split() else "it is empty"
    if not expression.endswith(")"):
        return "it does not end with a parenthesis"
    tokens, position = [], 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            return f"{expression[position:].strip()!r} is no part of one"
        tokens.append(match[1])
        position = match.end()
    try:
        _alternatives(tokens)
    except ValueError as err:
        return str(err)
    return f"{tokens[0]!r} is left over" if tokens else ""


def _alternatives(tokens: list[str]) -> None:
    """Take one expression from the front of the tokens. ValueError: there is none."""
    _negated(tokens)
    while tokens and tokens[0] in ("&&", "||"):
        tokens.pop(0)
        _negated(tokens)


def _negated(tokens: list[str]) -> None:
    while tokens and tokens[0] == "!":
        tokens.pop(0)
    if not tokens:
        raise ValueError("it ends too early")
    token = tokens.pop(0)
    if token == "(":
        _alternatives(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError("a parenthesis is not closed")
    elif token in ("&&", "||", ")"):
        raise ValueError(f"{token!r} stands where an attribute should")


def _read(name: str, table: Table) -> Suite:
    table.refuse_unknown(_KEYS)
    expression = table.text("expression")
    if problem := problem_of(expression):
        raise ConfigError(
            f"{table.where}: expression is {expression!r}, which Tast does not take: {problem}",
            hint="""expression = '("group:mainline" && !informational)'""",
        )
    required = table.texts("required")
    for pattern in required:
        if not _NAME_PATTERN.fullmatch(pattern):
            raise ConfigError(
                f"{table.where}: required has {pattern!r}, which is no pattern of names", hint='"crostini.Basic*"'
            )
    sources = [source.value for source in Source]
    return Suite(
        name=name,
        expression=expression,
        container=Source(table.word("container", choices=sources)),
        vm=Source(table.word("vm", choices=sources)),
        gates=table.truth("gates"),
        required=required,
        deadline_mins=table.number("deadline_mins"),
    )
