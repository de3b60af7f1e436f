"""Publications, promotions, rollbacks, prunes killed at any moment: clients see one state, and the next run completes.

KILLED_MOMENTS=50 looks at so many moments of each half, in turn of each of the four; four without it.
"""

import datetime as dt
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common import tools
from common.errors import DeadlineError
from common.files import ROOT
from common.snapshots import Part, Snapshot
from common.sweep import NOTES
from common.waiting import wait_until
from kokoro.env import SCM, STORE_VARIABLE, environment
from scripts import history, verify
from tests.common.aptparts import EPOCH
from tests.scripts.releaseparts import clients_find, half, made, make_green, publish

ACTIONS = ("publish", "promote", "rollback", "prune")
MOMENTS = int(os.environ.get("KILLED_MOMENTS", str(len(ACTIONS))))
IMAGES = "publish_lxd_staging"
LONGEST = 2.5  # seconds; most of a run is over by then, where none has been timed yet
VERIFIED = 10  # every so many moments, and at the end


@dataclass
class Desk:
    """One half at a desk, and what has been done there."""

    out: Path
    part: Part
    version: int = 0
    longest: dict[str, float] = field(default_factory=dict)

    def words(self, action: str) -> tuple[list[tools.Arg], Mapping[str, str]]:
        """The command line of an action, and its environment."""
        command: list[tools.Arg] = [ROOT / "run", "invoke"]
        rest: list[tools.Arg] = ["--milestone", "72", "--out", self.out]
        match action:
            case "publish":
                build = "publish_apt_staging" if self.part is Part.APT else IMAGES
                return [ROOT / "kokoro" / f"{build}.sh"], self.job(build)
            case "rollback":
                to = half(self.out, self.part).ledger.lines()[-1].entry.before
                return [*command, f"rollback-{self.part}", "--to", to, *rest], {}
            case "prune":
                return [*command, "prune", "--keep", "1", "--older-than", "0d", *rest], {}
            case _:
                return [*command, f"promote-{self.part}", *rest], {}

    def job(self, build: str) -> Mapping[str, str]:
        """The environment that Kokoro gives a job."""
        root = self.out / "job"
        (root / "git").mkdir(parents=True, exist_ok=True)
        if not (root / "git" / SCM).exists():
            (root / "git" / SCM).symlink_to(ROOT)
        return {
            "KOKORO_JOB_NAME": f"cros-containers/crostini-guest/72/{build}", "KOKORO_ARTIFACTS_DIR": str(root),
            "KOKORO_GFILE_DIR": str(self.out / "gfile+"), "KOKORO_KEYSTORE_DIR": str(self.out / "keystore"),
            STORE_VARIABLE: str(self.out / "gs"), "SOURCE_DATE_EPOCH": str(EPOCH),
            "CROS_VENV": environment().get("CROS_VENV", str(ROOT / ".venv")),
        }  # fmt: skip

    def before(self, action: str) -> None:
        """What an action finds: a new version to publish, or marks that are old enough."""
        if action == "publish":
            self.version += 1
            made(self.out, f"72.{self.version}")
        if action == "prune":
            for path in self.out.glob(f"gs/*/72/{NOTES}"):
                said = json.loads(path.read_text())
                for mark in said["objects"].values():
                    mark["since"] = (dt.datetime.fromisoformat(mark["since"]) - dt.timedelta(days=3)).isoformat()
                path.write_text(json.dumps(said))

    def killed(self, action: str, dice: random.Random) -> tuple[float, bool]:
        """Run an action, and kill it after so many seconds; whether it was still running then."""
        argv, env = self.words(action)
        after = dice.uniform(0.2, self.longest.get(action, LONGEST))
        alive = False
        with tools.started(argv, env=env) as process:
            try:
                wait_until(lambda: not process.alive(), "the end", timeout=after, every=0.01)
            except DeadlineError:
                alive = True
                os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda: not process.alive(), "the end", timeout=60)
        return after, alive

    def completed(self, action: str, words: tuple[list[tools.Arg], Mapping[str, str]]) -> None:
        """Run it to its end."""
        start = time.monotonic()
        tools.run(words[0], env=words[1], timeout=120, quiet=True)
        seconds = time.monotonic() - start
        if seconds < LONGEST:  # it did not wait for the one that was killed
            self.longest[action] = max(self.longest.get(action, 0.0), seconds)
        if action == "publish":
            if self.part is Part.APT:  # may go live when images built from it are green
                tools.run([ROOT / "kokoro" / f"{IMAGES}.sh"], env=self.job(IMAGES), timeout=120, quiet=True)
            make_green(self.out)

    def consistent(self) -> Iterator[Snapshot | None]:
        """What staging and live show; ArtifactError where that is not whole."""
        one = half(self.out, self.part)
        for each in (one.staging, one.live):
            assert one.state(each.bucket) is not None
        yield from (one.staged(), one.shown_live())

    def seen_by_clients(self) -> None:
        """What clients ask for is there."""
        one = half(self.out, self.part)
        for bucket in (one.staging.bucket, one.live.bucket):
            clients_find({name: held.content for name in bucket.names() if (held := bucket.read(name))})
            if self.part is Part.CONTAINER:
                assert one.state(bucket) is not None

    def verify(self) -> None:
        """Everything that is recorded."""
        history.run(milestone=72, out=str(self.out), storage="directory")
        for live in (False, True):
            verify.run(milestone=72, live=live, out=str(self.out), storage="directory")


def fixed(snapshot: Snapshot | None) -> dict[str, str]:
    """The packages, or the images, of a snapshot: what signing it anew does not change."""
    assert snapshot is not None
    return {path: each.sha256 for path, each in snapshot.objects.items() if path.startswith(("pool/", "images/"))}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", Part)
def test_killed_at_any_moment(tmp_path: Path, part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    desk, dice = Desk(tmp_path, part), random.Random()
    for _ in range(2):
        desk.version += 1
        publish(tmp_path, f"72.{desk.version}")
        make_green(tmp_path)
        argv, env = desk.words("promote")
        tools.run(argv, env=env, timeout=120, quiet=True)
    kills = dict.fromkeys(ACTIONS, 0)
    for moment in range(4 * MOMENTS):  # those that had come to their end do not count
        if sum(kills.values()) == MOMENTS:
            break
        action = ACTIONS[moment % len(ACTIONS)]
        desk.before(action)
        words = desk.words(action)
        shown = [fixed(each) for each in desk.consistent()]
        target = half(tmp_path, part).live.find(half(tmp_path, part).ledger.lines()[-1].entry.before)
        seconds, alive = desk.killed(action, dice)
        kills[action] += alive
        where = f"after {seconds:.2f} s of {action}"
        desk.seen_by_clients()
        desk.completed(action, words)
        staging, live = desk.consistent()
        assert live is not None, where
        match action:
            case "publish":
                assert fixed(live) == shown[1], where
                assert fixed(staging) != shown[0], where
            case "promote":
                assert fixed(live) == fixed(staging) == shown[0], where
            case "rollback":
                assert fixed(live) == fixed(target), where
            case _:
                assert [fixed(staging), fixed(live)] == shown, where
        if (moment + 1) % VERIFIED == 0:
            desk.verify()
    desk.verify()
    with capsys.disabled():
        print(f"\n{part}: killed {kills}; runs of", {each: round(seconds, 1) for each, seconds in desk.longest.items()})
    assert sum(kills.values()) == MOMENTS
