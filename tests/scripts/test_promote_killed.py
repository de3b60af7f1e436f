"""Promotions and rollbacks killed at any moment: live is one whole state each time, and the next run completes."""

import os
import random
import signal
from pathlib import Path

import pytest

from common import tools
from common.errors import DeadlineError
from common.files import ROOT
from common.snapshots import Part
from common.waiting import wait_until
from scripts import history, verify
from tests.scripts.releaseparts import half, make_green, publish, staged

MOMENTS = 4  # of each; a property of all moments, of which a run looks at some
LONGEST = 2.5  # seconds; most of a run is over by then


def command(desk: Path, *words: str) -> list[tools.Arg]:
    return [ROOT / "run", "invoke", *words, "--milestone", "72", "--out", desk]


def killed(argv: list[tools.Arg], after: float) -> None:
    """Run a command, and kill it after so many seconds."""
    with tools.started(argv) as process:
        try:
            wait_until(lambda: not process.alive(), "the end", timeout=after, every=0.01)
        except DeadlineError:
            os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not process.alive(), "the end", timeout=60)


@pytest.mark.parametrize("part", Part)
def test_killed_at_any_moment(tmp_path: Path, part: Part) -> None:
    desk, dice = tmp_path, random.Random()
    states, lives = [], []
    for version in ("72.1", "72.2"):
        publish(desk, version)
        make_green(desk)
        states.append(staged(desk, part))
        tools.run(command(desk, f"promote-{part}"), timeout=120, quiet=True)
        lives.append(half(desk, part).ledger.lines()[-1].entry.after)
    for moment in range(MOMENTS):
        words = [f"promote-{part}"] if moment % 2 else [f"rollback-{part}", "--to", lives[0]]
        seconds = dice.uniform(0.2, LONGEST)
        killed(command(desk, *words), seconds)
        state = half(desk, part).state(half(desk, part).live.bucket)  # raises where it is not whole
        assert state is not None, f"after {seconds:.2f} s of {words}"
        tools.run(command(desk, *words), timeout=120, quiet=True)
        shown = half(desk, part).shown_live()
        assert shown is not None
        wanted = states[moment % 2]
        assert {path: each for path, each in shown.objects.items() if path.startswith(("pool/", "images/"))} == {
            path: each for path, each in wanted.objects.items() if path.startswith(("pool/", "images/"))
        }, f"after {seconds:.2f} s of {words}"
    history.run(milestone=72, out=str(desk), storage="directory")
    verify.run(milestone=72, live=True, out=str(desk), storage="directory")
