"""Say what this machine can and cannot do, and how to mend it: `./run invoke doctor`."""

import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.errors import ReleaseError, reported
from scripts.probes import PROBES, Finding, misses

_MARKS = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[yellow]cannot[/]"}


def diagnose(probes: Sequence[Callable[[], Finding | list[Finding]]] = PROBES) -> list[Finding]:
    """Try everything, in the order a run would need it. A probe that fails by itself is a finding too."""
    findings: list[Finding] = []
    for probe in probes:
        try:
            found = probe()
        except ReleaseError as err:
            name = probe.__name__.removeprefix("probe_").replace("_", " ")
            found = misses(name, err.what, err.hint, type(err))
        findings += found if isinstance(found, list) else [found]
    return findings


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings; return the exit code of the first thing `continuous` misses, or 0."""
    if argv is None:
        argv = sys.argv[1:]
    if argv:
        print("usage: doctor (no arguments)", file=sys.stderr)
        return 2
    with reported():
        findings = diagnose()
    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "seen"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mend = f"\n-> {finding.mend}" if finding.mend else ""
        table.add_row(_MARKS[finding.ok], finding.name, Text(f"{finding.says}{mend}"))
    console = Console(highlight=False)
    console.print(table)
    missing = [finding for finding in findings if finding.ok is False]
    if missing:
        console.print(f"\n`continuous` cannot run here: {', '.join(finding.name for finding in missing)}")
        return missing[0].error.exit_code
    console.print("\n`continuous` can run here")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
