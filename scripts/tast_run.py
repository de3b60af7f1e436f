"""Runs a Tast suite on a device with exactly the images of one snapshot: what `invoke tast-run` does.

Tast takes static data from the checkout it builds its tests from. So the snapshot's pins are written into a work tree
of the checkout that lasts as long as the run; the checkout itself stays as it is.
"""

import contextlib
import datetime as dt
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import tools
from common.errors import (
    CheckFailedError,
    CommandError,
    ConfigError,
    DeadlineError,
    NetworkError,
    ReleaseError,
    ToolMissingError,
    UsageError,
)
from common.evidence import NOTE, Note, Snapshot, judge
from common.external import SUFFIX, Pins
from common.files import remove_stale, workspace, write_atomically
from common.tast_results import read_results
from common.tast_suites import Source, Suite, find_suite
from common.waiting import wait_until
from kokoro.desk import out_directory
from lxd.tast_data import folders_of, pins_of
from scripts.snapshots import CONTAINERS, find_store
from scripts.uprev import checkout_of, git

# Which bucket a suite's VM comes from.
TERMINA = {Source.LIVE: "chrome-component-termina", Source.STAGING: "termina-component-testing"}
_GRACE = 120.0  # seconds Tast has to end by itself once its own deadline is over
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Za-z:.%]+\])(?::[0-9]+)?")
_PLACE = "tast-run"  # of a temporary directory
_OURS = "crostini_*container_*" + SUFFIX


def run(
    *, suite: str, snapshot: str, host: str, tast_tests: str, results: str, milestone: int, plan: bool, out: str,
    storage: str,
) -> None:  # fmt: skip
    """Run a suite, and print whether it is green.

    Args:
        suite: of tast.toml.
        snapshot: the id of a snapshot of containers.
        host: the device, `[user@]host[:port]`.
        tast_tests: a checkout of tast-tests without changes.
        results: an empty or new directory for the results; "" for one below --out.
        milestone: which one has the snapshot; 0: one of the active ones.
        plan: print the pins and the command line, and run nothing.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: an argument makes no sense, or the suite's expression finds no test.
        CheckFailedError: the suite is not green.
        DeadlineError, NetworkError, ConfigError, CommandError, ToolMissingError: from Tast; what it left stays.
    """
    wanted = find_suite(suite)
    check_host(host)
    store = find_store(snapshot, wanted.container, milestone=milestone, out=out, storage=storage)
    found = store.get(snapshot)
    pins = pins_of(found.objects, store.url)
    checkout = checkout_of(tast_tests)
    folders_of(checkout)
    place = Path(results).absolute() if results else _place(out, wanted, found)
    if place.exists() and any(place.iterdir()):
        raise UsageError(f"{str(place)!r} is not empty", hint="results of two runs must not mix: another --results")
    if plan:
        for name, pin in sorted(pins.items()):
            print(f"would pin {name}: {pin.url}")
        print(shlex.join(command(wanted, host, results=place, workspace="WORKTREE")))
        return
    note = Note(snapshot=snapshot, suite=suite, host=host, pins=pins)
    write_atomically(place / NOTE, note.write())
    with _worktree(checkout, pins) as tree:
        run_tast(command(wanted, host, results=place, workspace=str(tree)), wanted, _record(note, place))
    now = dt.datetime.now(dt.UTC)
    why = judge(read_results(place), note, suite=wanted, snapshot=found, pins=pins, now=now)
    if why:
        raise CheckFailedError(f"suite {suite!r} is not green", details="\n".join(why), hint=_record(note, place))
    print(f"{suite} is green; {_record(note, place)}")


def command(suite: Suite, host: str, *, results: Path, workspace: str) -> list[str]:
    """The command line of Tast for a suite on a device."""
    buckets = [TERMINA[suite.vm], CONTAINERS[suite.container]]
    return [
        "tast", "run",
        f"-resultsdir={results}",
        f"-timeout={suite.deadline_mins * 60}",
        f"-buildworkspace={workspace}",
        f"-extraallowedbuckets={','.join(buckets)}",
        host, *suite.patterns,
    ]  # fmt: skip


def check_host(host: str) -> None:
    """Refuse what is no device, a flag of Tast's for example. UsageError names it."""
    if not _HOST.fullmatch(host):
        raise UsageError(f"--host {host!r} is no device", hint="[user@]host[:port]")


def write_pins(tree: Path, pins: Pins) -> None:
    """Pin exactly these images in a work tree: what pins another state of some image is removed.

    A test of an image that the snapshot does not have fails then, and does not quietly test another one.
    """
    for folder in folders_of(tree):
        for path in folder.glob(_OURS):
            path.unlink()
        for name, pin in pins.items():
            write_atomically(folder / name, pin.write())


def run_tast(argv: Sequence[str], suite: Suite, hint: str) -> None:
    """Run Tast to its end. Success means that every test was run, whether it passed or not.

    Args:
        argv: its command line.
        suite: which suite that is.
        hint: what to do with the results of a run that was begun.

    Raises:
        ToolMissingError, DeadlineError, UsageError, ConfigError, NetworkError, CommandError: see `failure`.
    """
    limit = suite.deadline_mins * 60 + _GRACE
    try:
        with tools.started(argv, quiet=False) as process:
            wait_until(lambda: not process.alive(), f"suite {suite.name!r} to end", timeout=limit)
            code, said = process.exit_code, process.tail()
    except ToolMissingError as err:
        raise ToolMissingError(
            "'tast' is not installed", hint="run this in a Chrome OS chroot (cros_sdk), which has it"
        ) from err
    except DeadlineError as err:
        raise DeadlineError(err.what, details=err.details, hint=hint) from err
    if code:
        raise failure(code, said, suite, hint)


def failure(code: int, said: str, suite: Suite, hint: str) -> ReleaseError:
    """Our error for an exit code of Tast's and the last lines it printed."""
    if "No tests matched" in said:
        return UsageError(
            f"suite {suite.name!r}: no test of this checkout matches {suite.expression!r}", details=said,
            hint="correct the expression in tast.toml",
        )  # fmt: skip
    if code == 2:
        return ConfigError(
            f"suite {suite.name!r}: tast does not take our command line", details=said,
            hint="the expression in tast.toml, or a version of Tast that has other flags",
        )  # fmt: skip
    if re.search(r"[Ff]ailed to connect|[Ll]ost SSH connection|[Cc]onnection (?:refused|timed out)|no such host", said):
        return NetworkError(f"suite {suite.name!r}: tast lost the device, or never reached it", details=said,
                            hint="see that it answers to ssh, and run the suite again")  # fmt: skip
    return CommandError(f"suite {suite.name!r}: tast exited with {code}, not every test was run", details=said,
                        hint=hint)  # fmt: skip


def _record(note: Note, place: Path) -> str:
    """What attaches the results to the snapshot."""
    return (f"to attach it: ./run invoke tast-record --suite {note.suite} --snapshot {note.snapshot} "
            f"--results {shlex.quote(str(place))}")  # fmt: skip


def _place(out: str, suite: Suite, snapshot: Snapshot) -> Path:
    now = dt.datetime.now(dt.UTC)
    return out_directory(out) / "tast" / f"{suite.name}-{snapshot.id[:12]}-{now:%Y%m%dT%H%M%SZ}"


@contextlib.contextmanager
def _worktree(checkout: Path, pins: Pins) -> Iterator[Path]:
    """The checkout's last commit with these pins, in a directory of its own that is gone afterwards."""
    remove_stale(Path(tempfile.gettempdir()), f"{_PLACE}-*")  # of runs that were killed
    git(checkout, "worktree", "prune")
    with workspace(_PLACE) as place:
        tree = place / "tast-tests"
        git(checkout, "worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            write_pins(tree, pins)
            yield tree
        finally:
            git(checkout, "worktree", "remove", "--force", str(tree))
