"""What the tests of the local runner share: the toy flow, how its jobs ended, and a job that lingers."""

import json
import os

import pytest

from common import tools
from tests.support import Checkout, Finished, toy_build

BRANCH = "release-R72-11316.B"
JOBS = "out/jobs/cros-containers/crostini-guest/72"
FLOW = ("invoke", "continuous", "--branch", BRANCH)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="private namespaces need root")


def states(checkout: Checkout) -> dict[str, str]:
    return {
        name: json.loads((checkout.path / JOBS / name / "result.json").read_text())["state"]
        for name in ("left", "right", "both")
        if (checkout.path / JOBS / name / "result.json").exists()
    }


def ran(finished: Finished) -> list[str]:
    """The jobs that really ran, by what the plain display says."""
    return sorted(line.split()[1].rstrip(":") for line in finished.output.splitlines() if ": passed in" in line)


def sleepers(mark: str) -> list[str]:
    return tools.capture(["pgrep", "-f", f"sleep {mark}"], ok=(0, 1)).split()


LINGER = """mkdir -p out/deep && echo x >out/deep/left.txt
(setsid sleep {mark} &)
touch "$CROS_CACHE_DIR/up"
sleep {mark}
"""


def start_lingering(toy: Checkout, mark: str) -> None:
    (toy.path / "out" / "cache").mkdir(parents=True)
    toy_build(toy, "left", LINGER.format(mark=mark))
    toy.commit()
